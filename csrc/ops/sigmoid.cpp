// sigmoid: y = 1 / (1 + exp(-x)).
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

lucid_status check_sigmoid(const lucid_sigmoid_args& a, lucid_shape* y) { return check_elementwise("sigmoid", a.x, y); }

namespace {

lucid_status run_sigmoid(const lucid_sigmoid_args& a) {
  lucid_shape y;
  lucid_device device;
  LUCID_CHECK(check_sigmoid(a, &y));
  LUCID_CHECK(find_device("sigmoid", a.context, {{"x", a.x}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data("sigmoid", "x", a.x, device));
  LUCID_CHECK(check_output("sigmoid", "y", a.y, y, device));
  LUCID_CHECK(check_in_place("sigmoid", "x", *a.x, *a.y));
  if (device.type == LUCID_CUDA)
    return run_elementwise_on_cuda("sigmoid", cuda::ElementwiseFunction::kSigmoid, *a.x, *a.x, *a.y, a.context);
  // An exponential and a division take as long as moving some 20 floats.
  run_elementwise(*a.x, *a.x, *a.y, kernels().sigmoid, 20);
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_sigmoid(const lucid_sigmoid_args* args) {
  return lucid::with_arguments("sigmoid", args, lucid::run_sigmoid);
}

extern "C" lucid_status lucid_sigmoid_output_shape(const lucid_sigmoid_args* args, lucid_shape* y) {
  return lucid::output_shape("sigmoid", args, lucid::check_sigmoid, y);
}
