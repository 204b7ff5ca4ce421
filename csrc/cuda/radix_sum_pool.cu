// Radix sum pooling: y[n][c] = mean over the pixels of the sum over r of x[n][r * C + c]; and means of large windows.
//
// Bound by reading x once. A block has few channels and many pixels, so that an image alone gives several blocks: four
// vectors are 64 bytes, two sectors of DRAM. It has as many warps as its window has pixels for: one for 7x7, whose sums
// cost more than its loads. Sums are float32 over eight pixels and double from there on: a deep ResNeSt's attention
// amplifies their error a hundred times. Their order depends on the windows' size alone.
#include "cuda/divisor.h"
#include "cuda/kernels.h"
#include "cuda/pool_taps.h"
#include "cuda/window_sum.h"

namespace lucid::cuda {
namespace {

constexpr int kMostThreads = 512, kMostWarps = kMostThreads / 32;
constexpr int kRun = 8;  // pixels that are added in float32

template <class Access>
constexpr int kLanes = Access::kWidth == 1 ? 16 : 4;  // vectors of a pixel; a power of two

struct Window {
  int64_t first;  // offset of its first pixel in x
  uint32_t columns, count;
  int64_t row_step, column_step;
};

// Adds a thread's pixels of one split, which are `step` apart; next() is the offset of one after the other.
template <class Access, class Next>
__device__ __forceinline__ void add_pixels(const Access& access, const void* x, uint32_t count, uint32_t tap,
                                           uint32_t step, Next next, double (&sums)[Access::kWidth]) {
  constexpr int kWidth = Access::kWidth;
  while (tap < count) {
    // The loads of a run wait for memory together. Zeros stand for pixels behind the last.
    typename Access::Bits bits[kRun] = {};
#pragma unroll
    for (int i = 0; i < kRun; ++i, tap += step) {
      const int64_t at = next();
      if (tap < count) bits[i] = access.load_bits(x, at);
    }
    float run[kWidth] = {};
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      float values[kWidth];
      access.unpack(bits[i], values);
#pragma unroll
      for (int v = 0; v < kWidth; ++v) run[v] += values[v];
    }
#pragma unroll
    for (int v = 0; v < kWidth; ++v) sums[v] += static_cast<double>(run[v]);
  }
}

template <class Access>
__device__ __forceinline__ void add_window(const Access& access, const void* x, const Window& window, uint32_t tap,
                                           uint32_t step, double (&sums)[Access::kWidth]) {
  if (window.columns == window.count) {  // no gaps, and nothing to divide
    int64_t at = window.first + tap * window.column_step;
    const int64_t at_step = step * window.column_step;
    const auto next = [&] {
      at += at_step;
      return at - at_step;
    };
    add_pixels(access, x, window.count, tap, step, next, sums);
  } else {
    const auto next = [&, own = tap]() mutable {
      const uint32_t row = own / window.columns, column = own - row * window.columns;
      own += step;
      return window.first + row * window.row_step + column * window.column_step;
    };
    add_pixels(access, x, window.count, tap, step, next, sums);
  }
}

__device__ __forceinline__ double divisor_of(const AvgPool2d& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<double>(p.divisor);
  if (p.count_include_pad) return static_cast<double>(rows.padded) * static_cast<double>(columns.padded);
  return static_cast<double>(rows.count) * static_cast<double>(columns.count);
}

// Windows and channels of the blocks, channels first.
struct Blocks {
  Divisor channels, columns, rows;
};

// A block a window and kLanes vectors of channels.
template <class Access>
__global__ void __launch_bounds__(kMostThreads)
    mean_of_window(WindowSum p, Axis h, Axis w, Blocks blocks, int32_t vectors, Access access) {
  constexpr int kWidth = Access::kWidth, kChannels = kLanes<Access> * kWidth;
  LUCID_SHARED(double, parts, [kMostWarps][kChannels]);
  const AvgPool2d& pool = p.pool;
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int pixel = blocks.channels.quotient(block), y_row = blocks.columns.quotient(pixel);
  const int image = blocks.rows.quotient(y_row),
            first_vector = blocks.channels.remainder(block, pixel) * kLanes<Access>;
  const int lane = thread % kLanes<Access>;
  const Taps rows = h.taps(blocks.rows.remainder(y_row, image)),
             columns = w.taps(blocks.columns.remainder(pixel, y_row));
  const int64_t pixel_step = p.radix * pool.c;
  double sums[kWidth] = {};
  if (first_vector + lane < vectors) {
    const int64_t row = static_cast<int64_t>(image) * pool.h.size + rows.first;
    Window window{(row * pool.w.size + columns.first) * pixel_step + (first_vector + lane) * kWidth,
                  static_cast<uint32_t>(columns.count), static_cast<uint32_t>(rows.count) * columns.count,
                  pool.w.size * pixel_step, pixel_step};
    if (columns.count == w.size) window.columns = window.count;
    for (int64_t r = 0; r < p.radix; ++r, window.first += pool.c)
      add_window(access, pool.x, window, thread / kLanes<Access>, blockDim.x / kLanes<Access>, sums);
  }
#pragma unroll
  for (int offset = 16; offset >= kLanes<Access>; offset /= 2)
#pragma unroll
    for (int v = 0; v < kWidth; ++v) sums[v] += __shfl_xor_sync(0xffffffffu, sums[v], offset);
  if (thread % 32 < kLanes<Access>) {
#pragma unroll
    for (int v = 0; v < kWidth; ++v) parts[thread / 32][lane * kWidth + v] = sums[v];
  }
  __syncthreads();
  // A thread a channel: a division of double takes some seventy instructions.
  if (thread >= kChannels || first_vector + thread / kWidth >= vectors) return;
  double total = 0.0;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) total += parts[warp][thread];
  access.store_one(pool.y, static_cast<int64_t>(pixel) * pool.c + first_vector * kWidth + thread,
                   static_cast<float>(total / divisor_of(pool, rows, columns)));
}

// As many as give each a run of pixels.
template <class Access>
int64_t threads_of(int64_t taps) {
  const int64_t warps = blocks_of(taps, kRun * (32 / kLanes<Access>));
  return 32 * (warps < 1 ? 1 : warps < kMostWarps ? warps : kMostWarps);
}

}  // namespace

Error window_sum(const WindowSum& p, Stream stream) {
  const AvgPool2d& pool = p.pool;
  // Taps of a window are numbered by 32 bits, with room for a step behind the last.
  if (pool.h.size * pool.w.size > INT32_MAX || pool.h.out > INT32_MAX || pool.w.out > INT32_MAX)
    return cudaErrorInvalidValue;
  return with_access(pool.dtype, pool.c, {pool.x, pool.y}, [&](auto access) {
    using Access = decltype(access);
    const int64_t vectors = pool.c / Access::kWidth, channels = blocks_of(vectors, kLanes<Access>);
    const int64_t blocks = pool.n * pool.h.out * pool.w.out * channels;
    if (blocks == 0) return Error{cudaSuccess};
    const Blocks divisors{Divisor(channels), Divisor(pool.w.out), Divisor(pool.h.out)};
    return launch_blocks(mean_of_window<Access>, blocks, threads_of<Access>(p.taps), 0, stream, p, Axis(pool.h),
                         Axis(pool.w), divisors, static_cast<int32_t>(vectors), access);
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
  return window_sum({pool, p.radix, p.pixels}, stream);
}

}  // namespace lucid::cuda
