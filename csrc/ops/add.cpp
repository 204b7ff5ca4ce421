// add: y = a + b, all of one shape.
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

lucid_status check_add(const lucid_add_args& args, lucid_shape* y) {
  LUCID_CHECK(check_tensor("add", "a", args.a, 0, kMaxDims));
  LUCID_CHECK(check_sizes("add", "a", *args.a));
  LUCID_CHECK(check_tensor("add", "b", args.b, 0, kMaxDims, args.a->dtype));
  LUCID_CHECK(check_shape("add", "b", *args.b, shape_of(*args.a)));
  *y = shape_of(*args.a);
  return ok();
}

namespace {

lucid_status run_add(const lucid_add_args& args) {
  lucid_shape y;
  lucid_device device;
  LUCID_CHECK(check_add(args, &y));
  LUCID_CHECK(find_device("add", args.context, {{"a", args.a}, {"b", args.b}, {"y", args.y}}, &device));
  LUCID_CHECK(check_data("add", "a", args.a, device));
  LUCID_CHECK(check_data("add", "b", args.b, device));
  LUCID_CHECK(check_output("add", "y", args.y, y, device));
  LUCID_CHECK(check_in_place("add", "a", *args.a, *args.y));
  LUCID_CHECK(check_in_place("add", "b", *args.b, *args.y));
  if (device.type == LUCID_CUDA)
    return run_elementwise_on_cuda("add", cuda::ElementwiseFunction::kAdd, *args.a, *args.b, *args.y, args.context);
  run_elementwise(*args.a, *args.b, *args.y, kernels().add);
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_add(const lucid_add_args* args) {
  return lucid::with_arguments("add", args, lucid::run_add);
}

extern "C" lucid_status lucid_add_output_shape(const lucid_add_args* args, lucid_shape* y) {
  return lucid::output_shape("add", args, lucid::check_add, y);
}
