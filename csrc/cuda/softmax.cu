// Softmax over the middle of three dimensions: y = exp(x - m) / sum of exp(x - m), m being the largest, so that no
// exponential overflows; or its logarithm, x - m - log(sum). And its backward.
//
// Bound by latency: these networks have one a batch.
#include "cuda/columns.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = Columns::kThreads;

__global__ void __launch_bounds__(kThreads) softmax_columns(Softmax p, Columns columns) {
  LUCID_SHARED(float, largest_parts, [kThreads]);
  LUCID_SHARED(double, sum_parts, [kThreads]);
  const ColumnPlace place(columns);
  const int64_t size = place.active ? columns.size : 0;
  const auto x = [&](int64_t i) { return load_element(p.dtype, p.x, place.first + i * place.step); };
  const Exponentials found = exponentials(largest_parts, sum_parts, columns, place, size, x);
  const double logarithm = p.log ? logarithm_of(sum_parts, place, found.total) : 0.0;
  const float sum = static_cast<float>(found.total);
  for (int64_t i = place.row; i < size; i += columns.rows) {
    const float shifted = x(i) - found.largest;
    const float y = p.log ? static_cast<float>(static_cast<double>(shifted) - logarithm) : expf(shifted) / sum;
    store_element(p.dtype, p.y, place.first + i * place.step, y);
  }
}

__global__ void __launch_bounds__(kThreads) softmax_backward_columns(SoftmaxBackward p, Columns columns) {
  LUCID_SHARED(double, parts, [kThreads]);
  const ColumnPlace place(columns);
  const int64_t size = place.active ? columns.size : 0;
  const auto at = [&](const void* base, int64_t i) {
    return load_element(p.dtype, base, place.first + i * place.step);
  };
  double total = 0.0;
  for (int64_t i = place.row; i < size; i += columns.rows)
    total += static_cast<double>(at(p.dy, i)) * (p.log ? 1.0 : static_cast<double>(at(p.y, i)));
  const float sum = static_cast<float>(sum_over_rows(parts, columns, place, total));
  for (int64_t i = place.row; i < size; i += columns.rows) {
    const float y = at(p.y, i), dy = at(p.dy, i);
    store_element(p.dtype, p.dx, place.first + i * place.step, p.log ? dy - expf(y) * sum : y * (dy - sum));
  }
}

}  // namespace

Error softmax(const Softmax& p, Stream stream) {
  return launch_columns(softmax_columns, columns_of(p.outer, p.size, p.inner), stream, p);
}

Error softmax_backward(const SoftmaxBackward& p, Stream stream) {
  return launch_columns(softmax_backward_columns, columns_of(p.outer, p.size, p.inner), stream, p);
}

}  // namespace lucid::cuda
