// Softmax over the middle of three dimensions: y = exp(x - m) / sum of exp(x - m), m being the largest, so that no
// exponential overflows; or its logarithm, x - m - log(sum). And its backward.
//
// Bound by latency: these networks have one a batch. A block has a few columns of values, one a lane, and as many rows
// of threads as leave each a few values. Sums are double and in an order that the size alone decides.
#include "cuda/elements.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

struct Columns {
  int64_t outer, size, inner;
  int32_t lanes, rows;  // powers of two, kThreads together
};

// As many rows as there are values; columns side by side come first where values of one are far apart.
Columns columns_of(int64_t outer, int64_t size, int64_t inner) {
  const int64_t most = inner >= 32 ? kThreads / 32 : kThreads;
  int32_t rows = 1;
  while (rows < size && rows < most) rows *= 2;
  return {outer, size, inner, kThreads / rows, rows};
}

Error launch_columns(auto kernel, const Columns& columns, const auto& arguments, Stream stream) {
  if (columns.size == 0) return cudaSuccess;
  return launch_blocks(kernel, blocks_of(columns.outer * columns.inner, columns.lanes), kThreads, 0, stream, arguments,
                       columns);
}

// Where a thread stands, and what it reads: values from `row` on, columns.rows apart.
struct ColumnPlace {
  bool active;
  int lane, row;
  int64_t first, step;  // of the column's values

  __device__ __forceinline__ explicit ColumnPlace(const Columns& c) {
    lane = static_cast<int>(threadIdx.x) % c.lanes;
    row = static_cast<int>(threadIdx.x) / c.lanes;
    const int64_t column = static_cast<int64_t>(blockIdx.x) * c.lanes + lane;
    active = column < c.outer * c.inner;
    first = column / c.inner * c.size * c.inner + column % c.inner;
    step = c.inner;
  }
};

// Combines the rows of threads; each gets the result. `parts` may be used again at once.
template <class T, class Function>
__device__ __forceinline__ T over_rows(T (&parts)[kThreads], const Columns& columns, const ColumnPlace& place, T value,
                                       Function combine) {
  parts[threadIdx.x] = value;
  __syncthreads();
  for (int rows = columns.rows / 2; rows > 0; rows /= 2) {
    if (place.row < rows)
      parts[threadIdx.x] = combine(parts[threadIdx.x], parts[static_cast<int>(threadIdx.x) + rows * columns.lanes]);
    __syncthreads();
  }
  const T result = parts[place.lane];
  __syncthreads();
  return result;
}

__global__ void __launch_bounds__(kThreads) softmax_columns(Softmax p, Columns columns) {
  LUCID_SHARED(float, largest_parts, [kThreads]);
  LUCID_SHARED(double, sum_parts, [kThreads]);
  const ColumnPlace place(columns);
  const int64_t size = place.active ? columns.size : 0;
  const auto x = [&](int64_t i) { return load_element(p.dtype, p.x, place.first + i * place.step); };
  float largest = -INFINITY;  // a NaN makes the sum NaN, and needs no care here
  for (int64_t i = place.row; i < size; i += columns.rows) largest = x(i) > largest ? x(i) : largest;
  largest = over_rows(largest_parts, columns, place, largest, [](float a, float b) { return a > b ? a : b; });
  double total = 0.0;
  for (int64_t i = place.row; i < size; i += columns.rows) total += static_cast<double>(expf(x(i) - largest));
  total = over_rows(sum_parts, columns, place, total, [](double a, double b) { return a + b; });
  // One logarithm a column: double precision is slow where no science is done.
  if (p.log && place.row == 0) sum_parts[place.lane] = log(total);
  __syncthreads();
  const double logarithm = sum_parts[place.lane];
  const float sum = static_cast<float>(total);
  for (int64_t i = place.row; i < size; i += columns.rows) {
    const float shifted = x(i) - largest;
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
  total = over_rows(parts, columns, place, total, [](double a, double b) { return a + b; });
  const float sum = static_cast<float>(total);
  for (int64_t i = place.row; i < size; i += columns.rows) {
    const float y = at(p.y, i), dy = at(p.dy, i);
    store_element(p.dtype, p.dx, place.first + i * place.step, p.log ? dy - expf(y) * sum : y * (dy - sum));
  }
}

}  // namespace

Error softmax(const Softmax& p, Stream stream) {
  return launch_columns(softmax_columns, columns_of(p.outer, p.size, p.inner), p, stream);
}

Error softmax_backward(const SoftmaxBackward& p, Stream stream) {
  return launch_columns(softmax_backward_columns, columns_of(p.outer, p.size, p.inner), p, stream);
}

}  // namespace lucid::cuda
