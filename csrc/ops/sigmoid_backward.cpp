// sigmoid_backward: dx = dy * y * (1 - y).
#include "core/status.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

lucid_status check_sigmoid_backward(const lucid_sigmoid_backward_args& a, lucid_shape* dx) {
  return check_elementwise_backward("sigmoid_backward", a.dy, a.y, dx);
}

lucid_status run_sigmoid_backward(const lucid_sigmoid_backward_args& a) {
  lucid_shape dx;
  LUCID_CHECK(check_sigmoid_backward(a, &dx));
  return run_elementwise_backward("sigmoid_backward", a.dy, a.y, a.dx, a.context, kernels().sigmoid_backward,
                                  cuda::ElementwiseFunction::kSigmoidBackward);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_sigmoid_backward(const lucid_sigmoid_backward_args* args) {
  return lucid::with_arguments("sigmoid_backward", args, lucid::run_sigmoid_backward);
}

extern "C" lucid_status lucid_sigmoid_backward_output_shape(const lucid_sigmoid_backward_args* args, lucid_shape* dx) {
  return lucid::output_shape("sigmoid_backward", args, lucid::check_sigmoid_backward, dx);
}
