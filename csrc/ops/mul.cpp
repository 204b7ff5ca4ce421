// mul: y = a * b, an image times a factor for each of its channels.
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

lucid_status check_mul(const lucid_mul_args& args, lucid_shape* y) {
  LUCID_CHECK(check_tensor("mul", "a", args.a, 4, 4));
  LUCID_CHECK(check_sizes("mul", "a", *args.a));
  LUCID_CHECK(check_tensor("mul", "b", args.b, 2, 2, args.a->dtype));
  LUCID_CHECK(check_shape("mul", "b", *args.b, {args.a->shape[0], args.a->shape[1]}));
  *y = shape_of(*args.a);
  return ok();
}

namespace {

lucid_status run_mul(const lucid_mul_args& args) {
  lucid_shape y;
  lucid_device device;
  LUCID_CHECK(check_mul(args, &y));
  LUCID_CHECK(find_device("mul", args.context, {{"a", args.a}, {"b", args.b}, {"y", args.y}}, &device));
  LUCID_CHECK(check_data("mul", "a", args.a, device));
  LUCID_CHECK(check_data("mul", "b", args.b, device));
  LUCID_CHECK(check_output("mul", "y", args.y, y, device));
  LUCID_CHECK(check_in_place("mul", "a", *args.a, *args.y));
  // The factors as an image that has the same pixel everywhere.
  const int64_t strides[4] = {stride_of(*args.b, 0), stride_of(*args.b, 1), 0, 0};
  lucid_tensor factors = *args.b;
  factors.ndim = 4;
  factors.shape = args.a->shape;
  factors.strides = strides;
  LUCID_CHECK(check_in_place("mul", "b", factors, *args.y));
  if (device.type == LUCID_CUDA)
    return run_elementwise_on_cuda("mul", cuda::ElementwiseFunction::kMultiply, *args.a, factors, *args.y,
                                   args.context);
  run_elementwise(*args.a, factors, *args.y, kernels().mul);
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_mul(const lucid_mul_args* args) {
  return lucid::with_arguments("mul", args, lucid::run_mul);
}

extern "C" lucid_status lucid_mul_output_shape(const lucid_mul_args* args, lucid_shape* y) {
  return lucid::output_shape("mul", args, lucid::check_mul, y);
}
