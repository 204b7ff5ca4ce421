// Radix sum pooling: y[n][c] = mean over the pixels of the sum over r of x[n][r * C + c]; and means of large windows.
//
// Bound by reading x once. A block has few channels and many pixels, so that an image alone gives several blocks: four
// vectors are 64 bytes, two sectors of DRAM. Sums are float32 over eight pixels and double from there on: a deep
// ResNeSt's attention amplifies their error a hundred times. Their order depends on the window alone.
#include <type_traits>

#include "cuda/kernels.h"
#include "cuda/pool_taps.h"
#include "cuda/window_sum.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kRun = 8;  // pixels that are added in float32

template <class Access>
constexpr int kLanes = Access::kWidth == 1 ? 16 : 4;  // vectors of a pixel; a power of two

struct Window {
  int64_t first;  // offset of its first pixel in x
  uint32_t columns, count;
  int64_t row_step, column_step;

  __device__ __forceinline__ int64_t at(uint32_t tap) const {
    if (columns == count) return first + tap * column_step;
    return first + tap / columns * row_step + tap % columns * column_step;
  }
};

// Adds the thread's pixels of one split, which are `step` apart.
template <class Access>
__device__ __forceinline__ void add_pixels(const Access& access, const void* x, const Window& window, uint32_t tap,
                                           uint32_t step, double (&sums)[Access::kWidth]) {
  constexpr int kWidth = Access::kWidth;
  const auto add_run = [&](auto pixels) {
    float run[kWidth] = {};
#pragma unroll
    for (int i = 0; i < decltype(pixels)::value; ++i) {
      float values[kWidth];
      access.load(x, window.at(tap + i * step), values);
#pragma unroll
      for (int v = 0; v < kWidth; ++v) run[v] += values[v];
    }
#pragma unroll
    for (int v = 0; v < kWidth; ++v) sums[v] += static_cast<double>(run[v]);
    tap += decltype(pixels)::value * step;
  };
  // Whole runs ask nothing between their loads, which therefore wait for memory together.
  while (tap + (kRun - 1) * step < window.count) add_run(std::integral_constant<int, kRun>{});
  while (tap < window.count) add_run(std::integral_constant<int, 1>{});
}

__device__ __forceinline__ double divisor_of(const AvgPool2d& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<double>(p.divisor);
  if (p.count_include_pad) return static_cast<double>(rows.padded) * static_cast<double>(columns.padded);
  return static_cast<double>(rows.count) * static_cast<double>(columns.count);
}

// A block a window and kLanes vectors of channels.
template <class Access>
__global__ void __launch_bounds__(kThreads)
    mean_of_window(WindowSum p, Axis h, Axis w, uint32_t vectors, Access access) {
  constexpr int kWidth = Access::kWidth;
  LUCID_SHARED(double, parts, [kWarps][kLanes<Access>][kWidth]);
  const AvgPool2d& pool = p.pool;
  const uint32_t channel_blocks = (vectors + kLanes<Access> - 1) / kLanes<Access>;
  const uint32_t lane = threadIdx.x % kLanes<Access>, vector = blockIdx.x % channel_blocks * kLanes<Access> + lane;
  const uint32_t pixel = blockIdx.x / channel_blocks, y_row = pixel / w.out, image = y_row / h.out;
  const Taps rows = h.taps(y_row % h.out), columns = w.taps(pixel % w.out);
  const int64_t pixel_step = p.radix * pool.c;
  const bool active = vector < vectors;
  double sums[kWidth] = {};
  if (active) {
    Window window{((image * pool.h.size + rows.first) * pool.w.size + columns.first) * pixel_step + vector * kWidth,
                  static_cast<uint32_t>(columns.count), static_cast<uint32_t>(rows.count) * columns.count,
                  pool.w.size * pixel_step, pixel_step};
    if (columns.count == w.size) window.columns = window.count;  // rows without gaps between them
    for (int64_t r = 0; r < p.radix; ++r, window.first += pool.c)
      add_pixels(access, pool.x, window, threadIdx.x / kLanes<Access>, kThreads / kLanes<Access>, sums);
  }
#pragma unroll
  for (int offset = 16; offset >= kLanes<Access>; offset /= 2)
#pragma unroll
    for (int v = 0; v < kWidth; ++v) sums[v] += __shfl_xor_sync(0xffffffffu, sums[v], offset);
  if (threadIdx.x % 32 < kLanes<Access>) {
#pragma unroll
    for (int v = 0; v < kWidth; ++v) parts[threadIdx.x / 32][lane][v] = sums[v];
  }
  __syncthreads();
  if (threadIdx.x >= kLanes<Access> || !active) return;
  float mean[kWidth];
#pragma unroll
  for (int v = 0; v < kWidth; ++v) {
    double total = 0.0;
    for (int warp = 0; warp < kWarps; ++warp) total += parts[warp][lane][v];
    mean[v] = static_cast<float>(total / divisor_of(pool, rows, columns));
  }
  access.store(pool.y, static_cast<int64_t>(pixel) * pool.c + vector * kWidth, mean);
}

}  // namespace

Error window_sum(const WindowSum& p, Stream stream) {
  const AvgPool2d& pool = p.pool;
  // Taps of a window are numbered by 32 bits, with room for a step behind the last.
  if (pool.h.size * pool.w.size > INT32_MAX || pool.h.out > INT32_MAX || pool.w.out > INT32_MAX)
    return cudaErrorInvalidValue;
  return with_access(pool.dtype, pool.c, {pool.x, pool.y}, [&](auto access) {
    using Access = decltype(access);
    const int64_t vectors = pool.c / Access::kWidth;
    const int64_t blocks = pool.n * pool.h.out * pool.w.out * blocks_of(vectors, kLanes<Access>);
    return launch_blocks(mean_of_window<Access>, blocks, kThreads, 0, stream, p, Axis(pool.h), Axis(pool.w),
                         static_cast<uint32_t>(vectors), access);
  });
}

Error radix_sum_pool(const RadixSumPool& p, Stream stream) {
  const PoolAxis one{.size = 1, .out = 1, .kernel = 1, .stride = 1, .padding = 0, .padding_end = 0, .dilation = 1};
  PoolAxis all = one;
  all.size = all.kernel = p.pixels;
  const AvgPool2d pool{.dtype = p.dtype,
                       .n = p.n,
                       .c = p.c,
                       .h = one,
                       .w = all,
                       .count_include_pad = false,
                       .divisor = p.pixels,
                       .x = p.x,
                       .y = p.y};
  return window_sum({pool, p.radix}, stream);
}

}  // namespace lucid::cuda
