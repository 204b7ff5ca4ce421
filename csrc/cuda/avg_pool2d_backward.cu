// The gradient of average pooling: dx is the sum of dy / divisor over the windows that cover the pixel.
//
// Bound by memory. A thread takes a pixel of dx and 16 bytes of channels, and goes through its windows in order.
#include "cuda/kernels.h"
#include "cuda/pool_taps.h"

namespace lucid::cuda {
namespace {

__device__ __forceinline__ float divisor_of(const AvgPool2dBackward& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<float>(p.divisor);
  if (p.count_include_pad) return static_cast<float>(static_cast<int64_t>(rows.padded) * columns.padded);
  return static_cast<float>(static_cast<int64_t>(rows.count) * columns.count);
}

template <class Access>
__global__ void __launch_bounds__(PixelRows::kThreads)
    gather_average_gradients(AvgPool2dBackward p, Axis h, Axis w, PixelRows rows_of_x, Access access) {
  constexpr int kWidth = Access::kWidth;
  const PixelRows::Place place = rows_of_x.place();
  if (!place.active) return;
  const uint32_t image = place.row / h.size;
  const Axis::Windows rows = h.windows(place.row % h.size), columns = w.windows(place.column);
  const int32_t channel = place.vector * kWidth;
  float sum[kWidth] = {};
  for (int32_t i = rows.first; i < rows.end; ++i) {
    const Taps row_taps = h.taps(i);
    for (int32_t j = columns.first; j < columns.end; ++j) {
      const float factor = 1.0f / divisor_of(p, row_taps, w.taps(j));
      float dy[kWidth];
      access.load(p.dy, ((image * p.h.out + i) * p.w.out + j) * p.c + channel, dy);
#pragma unroll
      for (int v = 0; v < kWidth; ++v) sum[v] = fmaf(dy[v], factor, sum[v]);
    }
  }
  access.store(p.dx, (static_cast<int64_t>(place.row) * p.w.size + place.column) * p.c + channel, sum);
}

}  // namespace

Error avg_pool2d_backward(const AvgPool2dBackward& p, Stream stream) {
  return with_access(p.dtype, p.c, {p.dy, p.dx}, [&](auto access) {
    return launch_rows(gather_average_gradients<decltype(access)>, p, p.h.size, p.w.size, stream, access);
  });
}

}  // namespace lucid::cuda
