// Cross entropy over the middle of three dimensions: the loss of a column is minus the sum of f * (x - m - log of the
// sum of exp(x - m)), where m is the largest logit, and f what the target, its smoothing and the weights make of a
// class. And its backward, dx = dy * (softmax(x) * sum of f - f).
//
// Bound by latency, as softmax. A class whose factor is 0 is left out: one masked by minus infinity would make that
// NaN. The host learns nothing of a wrong index, so that it makes its loss NaN. Sums and means of losses are those of a
// single block, whose threads take them in turn: a batch of these networks has some hundreds.
#include "cuda/columns.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = Columns::kThreads;

// One column, of all losses.
__device__ __forceinline__ Columns all_losses() { return {1, 0, 1, 1, kThreads}; }

__device__ __forceinline__ float weight_of(const CrossEntropyTarget& target, int64_t i) {
  return target.weight == nullptr ? 1.0f : target.weight[i];
}

// What is wanted of a column: a class, unless it is to be ignored or out of range, or probabilities.
struct Wanted {
  bool indexed, ignored = false, outside = false;
  int64_t index = 0;

  __device__ __forceinline__ Wanted(const CrossEntropyTarget& target, int64_t column, int64_t size)
      : indexed(target.dtype == Dtype::kInt64) {
    if (!indexed) return;
    index = static_cast<const int64_t*>(target.data)[column];
    ignored = index == target.ignore_index;
    outside = !ignored && (index < 0 || index >= size);
  }
};

// By what the logarithm of the softmax of class i is multiplied.
__device__ __forceinline__ float factor(const CrossEntropyTarget& target, const Wanted& wanted,
                                        const ColumnPlace& place, int64_t i) {
  float share = i == wanted.index ? 1.0f : 0.0f;
  if (!wanted.indexed) share = load_element(target.dtype, target.data, place.first + i * place.step);
  return fmaf(target.kept, share, target.spread) * weight_of(target, i);
}

// By what the mean divides; in every thread.
__device__ __forceinline__ double total_weight(double (&parts)[kThreads], const CrossEntropyTarget& target,
                                               const ColumnPlace& place, int64_t columns, int64_t size) {
  double total = 0.0;
  for (int64_t column = place.row; column < columns; column += kThreads) {
    const Wanted wanted(target, column, size);
    if (wanted.outside)
      total += static_cast<double>(NAN);
    else if (!wanted.ignored)
      total += wanted.indexed ? static_cast<double>(weight_of(target, wanted.index)) : 1.0;
  }
  return sum_over_rows(parts, all_losses(), place, total);
}

__global__ void __launch_bounds__(kThreads) losses_of_columns(CrossEntropy p, float* losses, Columns columns) {
  LUCID_SHARED(float, largest_parts, [kThreads]);
  LUCID_SHARED(double, sum_parts, [kThreads]);
  const ColumnPlace place(columns);
  const int64_t size = place.active ? columns.size : 0;
  const auto x = [&](int64_t i) { return load_element(p.dtype, p.x, place.first + i * place.step); };
  const Exponentials found = exponentials(largest_parts, sum_parts, columns, place, size, x);
  const double logarithm = logarithm_of(sum_parts, place, found.total);
  const Wanted wanted(p.target, place.active ? place.column : 0, columns.size);
  double sum = 0.0;
  for (int64_t i = place.row; i < size; i += columns.rows)
    if (const float f = factor(p.target, wanted, place, i); f != 0.0f)
      sum += static_cast<double>(f) * (static_cast<double>(x(i) - found.largest) - logarithm);
  sum = sum_over_rows(sum_parts, columns, place, sum);
  if (!place.active || place.row != 0) return;
  const float loss = wanted.ignored ? 0.0f : wanted.outside ? NAN : static_cast<float>(-sum);
  if (p.reduction == LossReduction::kNone)
    store_element(p.dtype, p.y, place.column, loss);
  else
    losses[place.column] = loss;
}

__global__ void __launch_bounds__(kThreads) combine_losses(CrossEntropy p, const float* losses) {
  LUCID_SHARED(double, parts, [kThreads]);
  const ColumnPlace place(all_losses());
  const int64_t columns = p.outer * p.inner;
  double sum = 0.0;
  for (int64_t column = place.row; column < columns; column += kThreads) sum += static_cast<double>(losses[column]);
  sum = sum_over_rows(parts, all_losses(), place, sum);
  if (p.reduction == LossReduction::kMean) sum /= total_weight(parts, p.target, place, columns, p.size);
  if (place.row == 0) store_element(p.dtype, p.y, 0, static_cast<float>(sum));
}

__global__ void __launch_bounds__(kThreads) sum_weights(CrossEntropyBackward p, float* divisor) {
  LUCID_SHARED(double, parts, [kThreads]);
  const ColumnPlace place(all_losses());
  const double total = total_weight(parts, p.target, place, p.outer * p.inner, p.size);
  if (place.row == 0) *divisor = static_cast<float>(total);
}

__global__ void __launch_bounds__(kThreads)
    gradients_of_columns(CrossEntropyBackward p, const float* divisor, Columns columns) {
  LUCID_SHARED(float, largest_parts, [kThreads]);
  LUCID_SHARED(double, sum_parts, [kThreads]);
  const ColumnPlace place(columns);
  const int64_t size = place.active ? columns.size : 0;
  const auto x = [&](int64_t i) { return load_element(p.dtype, p.x, place.first + i * place.step); };
  const Exponentials found = exponentials(largest_parts, sum_parts, columns, place, size, x);
  const Wanted wanted(p.target, place.active ? place.column : 0, columns.size);
  double factors = 0.0;
  for (int64_t i = place.row; i < size; i += columns.rows)
    factors += static_cast<double>(factor(p.target, wanted, place, i));
  factors = sum_over_rows(sum_parts, columns, place, factors);
  if (!place.active) return;
  float dy = load_element(p.dtype, p.dy, p.reduction == LossReduction::kNone ? place.column : 0);
  if (p.reduction == LossReduction::kMean) dy /= *divisor;
  if (wanted.outside) dy = NAN;
  const float scale = static_cast<float>(factors) / static_cast<float>(found.total);
  for (int64_t i = place.row; i < size; i += columns.rows) {
    const float slope = scale * expf(x(i) - found.largest) - factor(p.target, wanted, place, i);
    store_element(p.dtype, p.dx, place.first + i * place.step, wanted.ignored ? 0.0f : dy * slope);
  }
}

}  // namespace

// The loss of each column in float32.
size_t cross_entropy_bytes(const CrossEntropy& p) {
  return p.reduction == LossReduction::kNone ? 0 : static_cast<size_t>(p.outer * p.inner) * sizeof(float);
}

// By what the mean divides.
size_t cross_entropy_backward_bytes(const CrossEntropyBackward& p) {
  return p.reduction == LossReduction::kMean ? sizeof(float) : 0;
}

Error cross_entropy(const CrossEntropy& p, Stream stream) {
  float* const losses = static_cast<float*>(p.workspace);
  const Error error = launch_columns(losses_of_columns, columns_of(p.outer, p.size, p.inner), stream, p, losses);
  if (error != cudaSuccess || p.reduction == LossReduction::kNone) return error;
  return launch_blocks(combine_losses, 1, kThreads, 0, stream, p, losses);
}

Error cross_entropy_backward(const CrossEntropyBackward& p, Stream stream) {
  float* const divisor = static_cast<float*>(p.workspace);
  if (p.reduction == LossReduction::kMean) {
    const Error error = launch_blocks(sum_weights, 1, kThreads, 0, stream, p, divisor);
    if (error != cudaSuccess) return error;
  }
  return launch_columns(gradients_of_columns, columns_of(p.outer, p.size, p.inner), stream, p, divisor);
}

}  // namespace lucid::cuda
