// Columns of values: the middle of three dimensions without gaps. A block has a few of them, one a lane, and as many
// rows of threads as leave each a few values. Sums are double and in an order that the size alone decides.
#pragma once

#include "cuda/elements.h"

namespace lucid::cuda {

struct Columns {
  static constexpr int kThreads = 256;
  int64_t outer, size, inner;
  int32_t lanes, rows;  // powers of two, kThreads together
};

// As many rows as there are values; columns side by side come first where values of one are far apart.
inline Columns columns_of(int64_t outer, int64_t size, int64_t inner) {
  const int64_t most = inner >= 32 ? Columns::kThreads / 32 : Columns::kThreads;
  int32_t rows = 1;
  while (rows < size && rows < most) rows *= 2;
  return {outer, size, inner, Columns::kThreads / rows, rows};
}

Error launch_columns(auto kernel, const Columns& columns, Stream stream, const auto&... arguments) {
  if (columns.size == 0) return cudaSuccess;
  return launch_blocks(kernel, blocks_of(columns.outer * columns.inner, columns.lanes), Columns::kThreads, 0, stream,
                       arguments..., columns);
}

// Where a thread stands, and what it reads: values from `row` on, columns.rows apart.
struct ColumnPlace {
  bool active;
  int lane, row;
  int64_t column, first, step;  // of all columns; of the column's values

  __device__ __forceinline__ explicit ColumnPlace(const Columns& c) {
    lane = static_cast<int>(threadIdx.x) % c.lanes;
    row = static_cast<int>(threadIdx.x) / c.lanes;
    column = static_cast<int64_t>(blockIdx.x) * c.lanes + lane;
    active = column < c.outer * c.inner;
    first = column / c.inner * c.size * c.inner + column % c.inner;
    step = c.inner;
  }
};

// Combines the rows of threads; each gets the result. `parts` may be used again at once.
template <class T, class Function>
__device__ __forceinline__ T over_rows(T (&parts)[Columns::kThreads], const Columns& columns, const ColumnPlace& place,
                                       T value, Function combine) {
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

__device__ __forceinline__ double sum_over_rows(double (&parts)[Columns::kThreads], const Columns& columns,
                                                const ColumnPlace& place, double value) {
  return over_rows(parts, columns, place, value, [](double a, double b) { return a + b; });
}

// Of a column of x, the largest value and the sum of exp(x - that), which no exponential overflows.
struct Exponentials {
  float largest;
  double total;
};

template <class X>
__device__ __forceinline__ Exponentials exponentials(float (&largest_parts)[Columns::kThreads],
                                                     double (&sum_parts)[Columns::kThreads], const Columns& columns,
                                                     const ColumnPlace& place, int64_t size, X x) {
  float largest = -INFINITY;  // a NaN makes the sum NaN, and needs no care here
  for (int64_t i = place.row; i < size; i += columns.rows) largest = x(i) > largest ? x(i) : largest;
  largest = over_rows(largest_parts, columns, place, largest, [](float a, float b) { return a > b ? a : b; });
  double total = 0.0;
  for (int64_t i = place.row; i < size; i += columns.rows) total += static_cast<double>(expf(x(i) - largest));
  return {largest, sum_over_rows(sum_parts, columns, place, total)};
}

// The logarithm of a sum that all rows have, taken once a column: double precision is slow where no science is done.
__device__ __forceinline__ double logarithm_of(double (&parts)[Columns::kThreads], const ColumnPlace& place,
                                               double total) {
  if (place.row == 0) parts[place.lane] = log(total);
  __syncthreads();
  const double logarithm = parts[place.lane];
  __syncthreads();
  return logarithm;
}

}  // namespace lucid::cuda
