// Cross entropy of a row of logits: minus the sum of f * (x - m - log of the sum of exp(x - m)), where m is the largest
// logit, and f what the target, its smoothing and the weights make of a class. And its gradient.
//
// Bound by the exponentials. A class whose factor is 0 is left out: one masked by minus infinity would make that NaN.
// Values are taken in order whatever their strides, and all but the exponentials is double.
#include <math.h>

#include "cpu/kernels.h"

namespace lucid::LUCID_ISA {
namespace {

float largest_of(const CrossEntropy& p) {
  float largest = p.x[0];
  for (int64_t i = 1; i < p.classes; ++i)
    if (p.x[i * p.x_step] > largest) largest = p.x[i * p.x_step];
  return largest;
}

double factor(const CrossEntropy& p, int64_t i) {
  double target = i == p.index ? 1.0 : 0.0;
  if (p.probabilities != nullptr) target = static_cast<double>(p.probabilities[i * p.probabilities_step]);
  const double smoothed = (1.0 - p.label_smoothing) * target + p.label_smoothing / static_cast<double>(p.classes);
  return p.weight != nullptr ? smoothed * static_cast<double>(p.weight[i * p.weight_step]) : smoothed;
}

}  // namespace

void cross_entropy(const CrossEntropy& p, int64_t, int64_t) {
  const float largest = largest_of(p);
  double total = 0.0, sum = 0.0;
  for (int64_t i = 0; i < p.classes; ++i) total += static_cast<double>(expf(p.x[i * p.x_step] - largest));
  const double logarithm = log(total);
  const bool one = p.probabilities == nullptr && p.label_smoothing == 0.0;
  for (int64_t i = one ? p.index : 0; i < (one ? p.index + 1 : p.classes); ++i) {
    const double f = factor(p, i);
    if (f != 0.0) sum += f * (static_cast<double>(p.x[i * p.x_step] - largest) - logarithm);
  }
  *p.loss = -sum;
}

void cross_entropy_backward(const CrossEntropyBackward& p, int64_t, int64_t) {
  const CrossEntropy& row = p.row;
  const float largest = largest_of(row);
  double total = 0.0, factors = 0.0;
  for (int64_t i = 0; i < row.classes; ++i) {
    const float exponential = expf(row.x[i * row.x_step] - largest);
    p.dx[i * p.dx_step] = exponential;
    total += static_cast<double>(exponential);
    factors += factor(row, i);
  }
  const double scale = factors / total;
  for (int64_t i = 0; i < row.classes; ++i) {
    const double exponential = static_cast<double>(p.dx[i * p.dx_step]);
    p.dx[i * p.dx_step] = static_cast<float>(p.dy * (scale * exponential - factor(row, i)));
  }
}

}  // namespace lucid::LUCID_ISA
