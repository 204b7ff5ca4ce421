// relu_backward: dx = dy where y is positive, else 0.
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

lucid_status check_relu_backward(const lucid_relu_backward_args& a, lucid_shape* dx) {
  return check_elementwise_backward("relu_backward", a.dy, a.y, dx);
}

lucid_status run_relu_backward(const lucid_relu_backward_args& a) {
  lucid_shape dx;
  LUCID_CHECK(check_relu_backward(a, &dx));
  return run_elementwise_backward("relu_backward", a.dy, a.y, a.dx, a.context, kernels().relu_backward,
                                  cuda::ElementwiseFunction::kReluBackward);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_relu_backward(const lucid_relu_backward_args* args) {
  return lucid::with_arguments("relu_backward", args, lucid::run_relu_backward);
}

extern "C" lucid_status lucid_relu_backward_output_shape(const lucid_relu_backward_args* args, lucid_shape* dx) {
  return lucid::output_shape("relu_backward", args, lucid::check_relu_backward, dx);
}
