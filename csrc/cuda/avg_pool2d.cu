// Average pooling over windows, fixed or adaptive.
//
// Bound by memory, as max pooling is. A thread sums a small window in registers, a block of threads a large one. An
// average divides once, instead of multiplying by a rounded reciprocal: the mean of integers is the one nearest to the
// truth.
#include "cuda/kernels.h"
#include "cuda/pool_taps.h"
#include "cuda/window_sum.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = PixelRows::kThreads;
constexpr int64_t kSmall = 64;  // taps of a window that a thread sums alone: 7x7 at the end of a network is one
constexpr int kRun = 8;         // of them are added one by one; sums of sums are rounded less often than one long sum

__device__ __forceinline__ float divisor_of(const AvgPool2d& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<float>(p.divisor);
  if (p.count_include_pad) return static_cast<float>(static_cast<int64_t>(rows.padded) * columns.padded);
  return static_cast<float>(rows.count * columns.count);
}

template <class Access>
__global__ void __launch_bounds__(kThreads)
    means_of_windows(AvgPool2d p, Axis h, Axis w, PixelRows rows_of_y, Access access) {
  constexpr int kWidth = Access::kWidth;
  const PixelRows::Place place = rows_of_y.place();
  if (!place.active) return;
  const uint32_t image = place.row / h.out;
  const Taps rows = h.taps(place.row % h.out), columns = w.taps(place.column);
  const int32_t channel = place.vector * kWidth;
  const int64_t x = ((image * p.h.size + rows.first) * p.w.size + columns.first) * p.c + channel;
  float total[kWidth] = {}, run[kWidth] = {};
  int added = 0;
  for (int32_t i = 0; i < rows.count; ++i)
    for (int32_t j = 0; j < columns.count; ++j) {
      float values[kWidth];
      access.load(p.x, x + (i * p.w.size + j) * p.c, values);
#pragma unroll
      for (int v = 0; v < kWidth; ++v) run[v] += values[v];
      if (++added == kRun) {
        added = 0;
#pragma unroll
        for (int v = 0; v < kWidth; ++v) total[v] += run[v], run[v] = 0.0f;
      }
    }
  const float divisor = divisor_of(p, rows, columns);
#pragma unroll
  for (int v = 0; v < kWidth; ++v) total[v] = (total[v] + run[v]) / divisor;
  access.store(p.y, (static_cast<int64_t>(place.row) * p.w.out + place.column) * p.c + channel, total);
}

// Taps of the largest window along an axis; those of adaptive pooling begin and end between pixels.
int64_t most_taps(const PoolAxis& axis) {
  if (axis.kernel != 0) return axis.kernel < axis.size ? axis.kernel : axis.size;
  return axis.size % axis.out == 0 ? axis.size / axis.out : axis.size / axis.out + 2;
}

}  // namespace

Error avg_pool2d(const AvgPool2d& p, Stream stream) {
  if (p.n == 0 || p.c == 0 || p.h.out == 0 || p.w.out == 0) return cudaSuccess;
  const int64_t taps = most_taps(p.h) * most_taps(p.w);
  if (most_taps(p.h) > kSmall || taps > kSmall) return window_sum({p, 1, taps}, stream);
  return with_access(p.dtype, p.c, {p.x, p.y}, [&](auto access) {
    return launch_rows(means_of_windows<decltype(access)>, p, p.h.out, p.w.out, stream, access);
  });
}

}  // namespace lucid::cuda
