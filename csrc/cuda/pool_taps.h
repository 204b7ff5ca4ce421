// Which pixels the window of an output index covers along one axis of a pool, and which windows cover a pixel.
#pragma once

#include "cuda/elements.h"

namespace lucid::cuda {

// The taps that lie inside the image: `count` of them from index `first`.
struct Taps {
  int32_t first, count;
  int32_t padded;  // how many lie inside the padded image
};

// A PoolAxis in 32 bits.
struct Axis {
  int32_t size, out, kernel, stride, padding, padding_end, dilation;

  explicit Axis(const PoolAxis& a)
      : size(static_cast<int32_t>(a.size)),
        out(static_cast<int32_t>(a.out)),
        kernel(static_cast<int32_t>(a.kernel)),
        stride(static_cast<int32_t>(a.stride)),
        padding(static_cast<int32_t>(a.padding)),
        padding_end(static_cast<int32_t>(a.padding_end)),
        dilation(static_cast<int32_t>(a.dilation)) {}

  __device__ __forceinline__ Taps fixed_taps(int32_t index) const {
    const int32_t start = index * stride - padding;
    if (start >= 0 && start + (kernel - 1) * dilation < size) return {start, kernel, kernel};  // no division
    const int32_t skipped = start < 0 ? (dilation - 1 - start) / dilation : 0;
    int32_t last = start < size ? (size - 1 - start) / dilation + 1 : 0;
    if (last > kernel) last = kernel;
    int32_t padded = (size + padding_end - 1 - start) / dilation + 1;
    if (padded > kernel) padded = kernel;
    // A dilated window can step over a narrow image.
    if (skipped >= last) return {0, 0, padded};
    return {start + skipped * dilation, last - skipped, padded};
  }

  // From floor(index * size / out) to ceil((index + 1) * size / out).
  __device__ __forceinline__ Taps adaptive_taps(int32_t index) const {
    const int64_t first = static_cast<int64_t>(index) * size / out;
    const int64_t end = (static_cast<int64_t>(index + 1) * size + out - 1) / out;
    return {static_cast<int32_t>(first), static_cast<int32_t>(end - first), static_cast<int32_t>(end - first)};
  }

  __device__ __forceinline__ Taps taps(int32_t index) const {
    return kernel == 0 ? adaptive_taps(index) : fixed_taps(index);
  }

  // Windows [first, end) of those that may cover a pixel: between the taps of a dilated one it may lie uncovered.
  struct Windows {
    int32_t first, end;
  };

  __device__ __forceinline__ Windows fixed_windows(int32_t pixel) const {
    const int32_t from_start = pixel + padding, from_end = from_start - (kernel - 1) * dilation;
    const int32_t last = from_start / stride;
    return {from_end > 0 ? (from_end + stride - 1) / stride : 0, last < out ? last + 1 : out};
  }

  __device__ __forceinline__ Windows windows(int32_t pixel) const {
    if (kernel != 0) return fixed_windows(pixel);
    const int64_t first = static_cast<int64_t>(pixel) * out / size;
    const int64_t end = (static_cast<int64_t>(pixel + 1) * out + size - 1) / size;
    return {static_cast<int32_t>(first), static_cast<int32_t>(end)};
  }
};

// Blocks of threads that cover rows of images: a thread takes a vector of channels of one pixel.
struct PixelRows {
  static constexpr int kThreads = 256;
  uint32_t vectors, units;  // of a pixel, of a row
  uint32_t parts, threads;  // blocks of a row, threads of a block

  // Where a thread stands: which row of all images, which pixel in it, which vector of channels.
  struct Place {
    bool active;
    uint32_t row;
    int32_t column, vector;
  };

  __device__ __forceinline__ Place place() const {
    const uint32_t unit = blockIdx.x % parts * threads + threadIdx.x;
    return {unit < units, blockIdx.x / parts, static_cast<int32_t>(unit / vectors),
            static_cast<int32_t>(unit % vectors)};
  }
};

// Launches kernel(arguments, h, w, rows, access) over the rows of images of `size` pixels.
template <class Kernel, class Arguments, class Access>
Error launch_rows(Kernel kernel, const Arguments& p, int64_t rows_of_image, int64_t columns, Stream stream,
                  Access access) {
  const auto fits = [](const PoolAxis& a) {
    return a.size + a.padding + a.padding_end + a.kernel * a.dilation + a.stride <= INT32_MAX && a.out < INT32_MAX;
  };
  const int64_t vectors = p.c / Access::kWidth, units = columns * vectors;
  if (units == 0) return cudaSuccess;
  if (!fits(p.h) || !fits(p.w) || units > INT32_MAX - PixelRows::kThreads) return cudaErrorInvalidValue;
  const int64_t parts = blocks_of(units, PixelRows::kThreads), threads = blocks_of(blocks_of(units, parts), 32) * 32;
  const PixelRows rows{static_cast<uint32_t>(vectors), static_cast<uint32_t>(units), static_cast<uint32_t>(parts),
                       static_cast<uint32_t>(threads)};
  return launch_blocks(kernel, p.n * rows_of_image * parts, threads, 0, stream, p, Axis(p.h), Axis(p.w), rows, access);
}

}  // namespace lucid::cuda
