// relu: y = max(x, 0).
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

lucid_status check_relu(const lucid_relu_args& a, lucid_shape* y) { return check_elementwise("relu", a.x, y); }

namespace {

lucid_status run_relu(const lucid_relu_args& a) {
  lucid_shape y;
  lucid_device device;
  LUCID_CHECK(check_relu(a, &y));
  LUCID_CHECK(find_device("relu", a.context, {{"x", a.x}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data("relu", "x", a.x, device));
  LUCID_CHECK(check_output("relu", "y", a.y, y, device));
  LUCID_CHECK(check_in_place("relu", "x", *a.x, *a.y));
  if (device.type == LUCID_CUDA)
    return run_elementwise_on_cuda("relu", cuda::ElementwiseFunction::kRelu, *a.x, *a.x, *a.y, a.context);
  run_elementwise(*a.x, *a.x, *a.y, kernels().relu);
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_relu(const lucid_relu_args* args) {
  return lucid::with_arguments("relu", args, lucid::run_relu);
}

extern "C" lucid_status lucid_relu_output_shape(const lucid_relu_args* args, lucid_shape* y) {
  return lucid::output_shape("relu", args, lucid::check_relu, y);
}
