// Max and average pooling over windows, and global average pooling of a sum over radix splits.
//
// Bound by memory: a 3x3 window costs nine loads a vector from L1, far less than bringing the rows there. Padding is
// never read: each output pixel clips its window first. An average divides once, instead of multiplying by a rounded
// reciprocal: the mean of integers is the one nearest to the truth.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// The taps of an output index that lie inside the image: `count` of them from index `first`.
struct Taps {
  int64_t first, count;
  int64_t padded;  // how many lie inside the padded image
};

Taps taps_of(const PoolAxis& a, int64_t index) {
  const int64_t start = index * a.stride - a.padding;
  if (start >= 0 && start + (a.kernel - 1) * a.dilation < a.size) return {start, a.kernel, a.kernel};  // no division
  const int64_t skipped = start < 0 ? (a.dilation - 1 - start) / a.dilation : 0;
  int64_t last = start < a.size ? (a.size - 1 - start) / a.dilation + 1 : 0;
  if (last > a.kernel) last = a.kernel;
  int64_t padded = (a.size + a.padding - 1 - start) / a.dilation + 1;
  if (padded > a.kernel) padded = a.kernel;
  // A dilated window can step over a narrow image.
  if (skipped >= last) return {0, 0, padded};
  return {start + skipped * a.dilation, last - skipped, padded};
}

struct Window {
  const float* x;  // the first tap
  int64_t rows, columns, row_step, column_step;
  F32 divisor;
};

template <bool kMax, int kVectors, class Lanes>
inline void pool(const Window& window, int64_t channel, float* y, Lanes lanes) {
  F32 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = kMax ? F32::broadcast(-INFINITY) : F32::zero();
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      const float* tap = window.x + i * window.row_step + j * window.column_step + channel;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F32 value = lanes.load(tap + v * F32::kLanes);
        acc[v] = kMax ? maximum(acc[v], value) : acc[v] + value;
      }
    }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    lanes.store(kMax ? acc[v] : acc[v] / window.divisor, y + channel + v * F32::kLanes);
}

template <bool kMax>
void pool_rows(const Pool2d& p, int64_t begin, int64_t end) {
  constexpr int kVectors = 4;
  for (int64_t row = begin; row < end; ++row) {
    const Taps rows = taps_of(p.h, row % p.h.out);
    const float* image = p.x.data + row / p.h.out * p.x.image;
    for (int64_t column = 0; column < p.w.out; ++column) {
      const Taps columns = taps_of(p.w, column);
      const double area = p.count_include_pad ? static_cast<double>(rows.padded) * static_cast<double>(columns.padded)
                                              : static_cast<double>(rows.count) * static_cast<double>(columns.count);
      const Window window{image + rows.first * p.x.row + columns.first * p.x.pixel,
                          rows.count,
                          columns.count,
                          p.h.dilation * p.x.row,
                          p.w.dilation * p.x.pixel,
                          F32::broadcast(static_cast<float>(area))};
      float* y = p.y.data + row / p.h.out * p.y.image + row % p.h.out * p.y.row + column * p.y.pixel;
      int64_t i = 0;
      for (; i + kVectors * F32::kLanes <= p.c; i += kVectors * F32::kLanes)
        pool<kMax, kVectors>(window, i, y, Whole{});
      for_each_vector(p.c - i, [&](int64_t j, auto lanes) { pool<kMax, 1>(window, i + j, y, lanes); });
    }
  }
}

// y += the sum of kPixels pixels, `step` floats apart, for c channels; in pairs, so that the error grows with their
// number's logarithm.
template <int kPixels>
void add_pixels(const float* x, int64_t step, int64_t c, float* y) {
  for_each_vector(c, [&](int64_t i, auto lanes) {
    F32 sums[kPixels];
#pragma GCC unroll 8
    for (int m = 0; m < kPixels; ++m) sums[m] = lanes.load(x + m * step + i);
#pragma GCC unroll 4
    for (int width = kPixels / 2; width > 0; width /= 2)
#pragma GCC unroll 4
      for (int m = 0; m < width; ++m) sums[m] = sums[m] + sums[m + width];
    lanes.store(lanes.load(y + i) + sums[0], y + i);
  });
}

// Channels [first, first + c) of an image. The running sums are y itself, in L1.
void average_image(const GlobalAvgPool2d& p, int64_t image, int64_t first, int64_t c) {
  constexpr int kPixels = 8;
  float* y = p.y + image * p.y_image + first;
  // Rows without gaps between them are one.
  const bool flat = p.x.row == p.w * p.x.pixel;
  const int64_t rows = flat ? 1 : p.h, columns = flat ? p.h * p.w : p.w, step = p.x.pixel;
  for_each_vector(c, [&](int64_t i, auto lanes) { lanes.store(F32::zero(), y + i); });
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = p.x.data + image * p.x.image + row * p.x.row + first;
    int64_t m = 0;
    for (; m + kPixels <= columns; m += kPixels)
      for (int64_t r = 0; r < p.radix; ++r) add_pixels<kPixels>(x + m * step + r * p.x_radix, step, c, y);
    for (; m < columns; ++m)
      for (int64_t r = 0; r < p.radix; ++r) add_pixels<1>(x + m * step + r * p.x_radix, step, c, y);
  }
  const F32 pixels = F32::broadcast(static_cast<float>(p.h * p.w));
  for_each_vector(c, [&](int64_t i, auto lanes) { lanes.store(lanes.load(y + i) / pixels, y + i); });
}

}  // namespace

void pool2d(const Pool2d& p, int64_t begin, int64_t end) {
  (p.max ? pool_rows<true> : pool_rows<false>)(p, begin, end);
}

// A share's blocks of one image are one run of channels, read pixel by pixel as they lie.
void global_avg_pool2d(const GlobalAvgPool2d& p, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t image = begin / p.channel_blocks, block = begin % p.channel_blocks;
    int64_t blocks = p.channel_blocks - block;
    if (blocks > end - begin) blocks = end - begin;
    const int64_t first = block * p.kChannels;
    int64_t c = blocks * p.kChannels;
    if (c > p.c - first) c = p.c - first;
    average_image(p, image, first, c);
    begin += blocks;
  }
}

}  // namespace lucid::LUCID_ISA
