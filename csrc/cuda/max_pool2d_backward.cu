// The gradient of max pooling: dx is the sum of dy over the windows that found their value at the pixel.
//
// Bound by memory, mostly by the indices of 8 bytes. A thread takes a pixel of dx and asks the windows that may cover
// it, in order: nothing is added by two threads, and the result is always the same.
#include "cuda/kernels.h"
#include "cuda/pool_taps.h"

namespace lucid::cuda {
namespace {

template <class Access>
__global__ void __launch_bounds__(PixelRows::kThreads)
    gather_largest_gradients(MaxPool2dBackward p, Axis h, Axis w, PixelRows rows_of_x, Access access) {
  constexpr int kWidth = Access::kWidth;
  const PixelRows::Place place = rows_of_x.place();
  if (!place.active) return;
  const uint32_t image = place.row / h.size, x_row = place.row % h.size;
  const Axis::Windows rows = h.fixed_windows(x_row), columns = w.fixed_windows(place.column);
  const int32_t channel = place.vector * kWidth;
  const int64_t here = x_row * p.w.size + place.column;
  float sum[kWidth] = {};
  for (int32_t i = rows.first; i < rows.end; ++i)
    for (int32_t j = columns.first; j < columns.end; ++j) {
      const int64_t y = ((image * p.h.out + i) * p.w.out + j) * p.c + channel;
      float dy[kWidth];
      access.load(p.dy, y, dy);
#pragma unroll
      for (int v = 0; v < kWidth; ++v)
        if (p.indices[y + v] == here) sum[v] += dy[v];
    }
  access.store(p.dx, (static_cast<int64_t>(place.row) * p.w.size + place.column) * p.c + channel, sum);
}

}  // namespace

Error max_pool2d_backward(const MaxPool2dBackward& p, Stream stream) {
  return with_access(p.dtype, p.c, {p.dy, p.dx}, [&](auto access) {
    return launch_rows(gather_largest_gradients<decltype(access)>, p, p.h.size, p.w.size, stream, access);
  });
}

}  // namespace lucid::cuda
