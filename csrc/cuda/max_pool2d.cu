// Max pooling over windows, and where the largest values are.
//
// Bound by memory: taps of neighbouring windows meet in L1. A thread takes one pixel of y and 16 bytes of channels, and
// clips its window first, so that padding is never read.
#include "cuda/kernels.h"
#include "cuda/pool_taps.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = PixelRows::kThreads;

// A NaN is larger than all before it, so that of several the last one is found, as on the CPU.
template <bool kIndices, class Access>
__global__ void __launch_bounds__(kThreads)
    largest_of_windows(MaxPool2d p, Axis h, Axis w, PixelRows rows_of_y, Access access) {
  constexpr int kWidth = Access::kWidth;
  const PixelRows::Place place = rows_of_y.place();
  if (!place.active) return;
  const uint32_t image = place.row / h.out;
  const Taps rows = h.fixed_taps(place.row % h.out), columns = w.fixed_taps(place.column);
  const int32_t channel = place.vector * kWidth;
  const int64_t row_step = h.dilation * p.w.size * p.c, column_step = w.dilation * p.c;
  int64_t x_row = ((image * p.h.size + rows.first) * p.w.size + columns.first) * p.c + channel;
  float best[kWidth];
  int32_t index[kIndices ? kWidth : 1];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    best[i] = -INFINITY;
    if constexpr (kIndices) index[i] = rows.first * w.size + columns.first;
  }
  for (int32_t i = 0; i < rows.count; ++i, x_row += row_step)
    for (int32_t j = 0; j < columns.count; ++j) {
      float values[kWidth];
      access.load(p.x, x_row + j * column_step, values);
#pragma unroll
      for (int v = 0; v < kWidth; ++v)
        if (values[v] > best[v] || values[v] != values[v]) {
          best[v] = values[v];
          if constexpr (kIndices) index[v] = (rows.first + i * h.dilation) * w.size + columns.first + j * w.dilation;
        }
    }
  const int64_t y = (static_cast<int64_t>(place.row) * p.w.out + place.column) * p.c + channel;
  access.store(p.y, y, best);
  if constexpr (kIndices) {
#pragma unroll
    for (int v = 0; v < kWidth; ++v) p.indices[y + v] = index[v];
  }
}

}  // namespace

Error max_pool2d(const MaxPool2d& p, Stream stream) {
  if (p.h.size * p.w.size > INT32_MAX) return cudaErrorInvalidValue;  // of an image; indices are counted in 32 bits
  return with_access(p.dtype, p.c, {p.x, p.y}, [&](auto access) {
    using Access = decltype(access);
    const auto kernel = p.indices != nullptr ? largest_of_windows<true, Access> : largest_of_windows<false, Access>;
    return launch_rows(kernel, p, p.h.out, p.w.out, stream, access);
  });
}

}  // namespace lucid::cuda
