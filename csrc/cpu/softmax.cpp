// Softmax of rows: y[i] = exp(x[i] - m) / sum of exp(x[j] - m), m being the largest, so that no exponential overflows;
// or its logarithm, x[i] - m - log(sum).
//
// Bound by the exponentials. Values are taken in order whatever their strides, so that these do not change the result;
// the sum is double.
#include <math.h>

#include "cpu/kernels.h"

namespace lucid::LUCID_ISA {

void softmax(const Softmax& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = p.x + row * p.x_row;
    float* y = p.y + row * p.y_row;
    float largest = x[0];
    for (int64_t i = 1; i < p.size; ++i)
      if (x[i * p.x_step] > largest) largest = x[i * p.x_step];
    double total = 0.0;
    if (p.log) {
      for (int64_t i = 0; i < p.size; ++i) total += static_cast<double>(expf(x[i * p.x_step] - largest));
      const double logarithm = log(total);
      for (int64_t i = 0; i < p.size; ++i)
        y[i * p.y_step] = static_cast<float>(static_cast<double>(x[i * p.x_step] - largest) - logarithm);
    } else {
      for (int64_t i = 0; i < p.size; ++i) {
        y[i * p.y_step] = expf(x[i * p.x_step] - largest);
        total += static_cast<double>(y[i * p.y_step]);
      }
      for (int64_t i = 0; i < p.size; ++i) y[i * p.y_step] = static_cast<float>(y[i * p.y_step] / total);
    }
  }
}

}  // namespace lucid::LUCID_ISA
