// The gradient of softmax along a row: dx = y * (dy - sum of dy * y), or of its logarithm dx = dy - exp(y) * sum of dy.
//
// Values are taken in order whatever their strides, and the sum is double, as in softmax.
#include <math.h>

#include "cpu/kernels.h"

namespace lucid::LUCID_ISA {

void softmax_backward(const SoftmaxBackward& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    double total = 0.0;
    for (int64_t i = 0; i < p.size; ++i) {
      const double dy = static_cast<double>(p.dy[i * p.dy_step]);
      total += p.log ? dy : dy * static_cast<double>(p.y[i * p.y_step]);
    }
    for (int64_t i = 0; i < p.size; ++i) {
      const double dy = static_cast<double>(p.dy[i * p.dy_step]);
      const float y = p.y[i * p.y_step];
      p.dx[i * p.dx_step] =
          static_cast<float>(p.log ? dy - static_cast<double>(expf(y)) * total : static_cast<double>(y) * (dy - total));
    }
  }
}

}  // namespace lucid::LUCID_ISA
