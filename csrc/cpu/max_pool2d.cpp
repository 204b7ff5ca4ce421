// Max pooling over windows, and where the largest values are.
//
// Bound by memory: a 3x3 window costs nine loads a vector from L1, far less than bringing the rows there. Padding is
// never read: each output pixel clips its window first.
#include <math.h>

#include "cpu/integers.h"
#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/pool_taps.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kTogether = 16;  // channels whose largest values are looked for at once

template <class Element>
struct Clipped {
  const Element* x;  // the first tap
  int64_t rows, columns, row_step, column_step;
};

template <int kVectors, class Element, class Lanes>
inline void largest(const Clipped<Element>& window, int64_t channel, Element* y, Lanes lanes) {
  F32 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = F32::broadcast(-INFINITY);
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      const Element* tap = window.x + i * window.row_step + j * window.column_step + channel;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[v] = maximum(acc[v], lanes.load(tap + v * F32::kLanes));
    }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) lanes.store(acc[v], y + channel + v * F32::kLanes);
}

// The first of the largest values of `channels` channels; a NaN is larger than all before it. The channels are the
// inner loop, which the compiler makes vectors of, unless it knows their number and unrolls it: an offset in the image
// is as wide as a value. 8 times as fast as a branch for each value.
[[gnu::noinline]] void find_largest(const MaxPool2d& p, const Clipped<float>& window, int64_t first, int64_t channels,
                                    int64_t* indices) {
  float best[kTogether];
  int32_t offset[kTogether];
  for (int64_t c = 0; c < channels; ++c) best[c] = -INFINITY, offset[c] = 0;
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      const float* tap = window.x + i * window.row_step + j * window.column_step;
      const int32_t here = static_cast<int32_t>(i * p.h.dilation * p.w.size + j * p.w.dilation);
      for (int64_t c = 0; c < channels; ++c) {
        const bool larger = (tap[c] > best[c]) | (tap[c] != tap[c]);
        best[c] = larger ? tap[c] : best[c];
        offset[c] = larger ? here : offset[c];
      }
    }
  for (int64_t c = 0; c < channels; ++c) indices[c * p.indices_channel] = first + offset[c];
}

void find_all_largest(const MaxPool2d& p, Clipped<float> window, int64_t first, int64_t* indices) {
  for (int64_t c = 0; c < p.c; c += kTogether, window.x += kTogether)
    find_largest(p, window, first, min(kTogether, p.c - c), indices + c * p.indices_channel);
}

// find(window, first, image, row, column) follows each pixel of y; `first` is the offset of its first tap.
template <class Element, class Find>
void pool(const MaxPool2dOf<Element>& p, int64_t begin, int64_t end, const Find& find) {
  constexpr int kVectors = 4;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h.out, y_row = row % p.h.out;
    const Taps rows = taps_of(p.h, y_row);
    for (int64_t column = 0; column < p.w.out; ++column) {
      const Taps columns = taps_of(p.w, column);
      const Clipped<Element> window{
          p.x.data + image * p.x.image + rows.first * p.x.row + columns.first * p.x.pixel,
          rows.count,
          columns.count,
          p.h.dilation * p.x.row,
          p.w.dilation * p.x.pixel,
      };
      Element* y = p.y.data + image * p.y.image + y_row * p.y.row + column * p.y.pixel;
      int64_t i = 0;
      for (; i + kVectors * F32::kLanes <= p.c; i += kVectors * F32::kLanes) largest<kVectors>(window, i, y, Whole{});
      for_each_vector(p.c - i, [&](int64_t j, auto lanes) { largest<1>(window, i + j, y, lanes); });
      find(window, rows.first * p.w.size + columns.first, image, y_row, column);
    }
  }
}

}  // namespace

void max_pool2d(const MaxPool2d& p, int64_t begin, int64_t end) {
  pool(p, begin, end, [&](const Clipped<float>& window, int64_t first, int64_t image, int64_t row, int64_t column) {
    if (p.indices != nullptr)
      find_all_largest(p, window, first,
                       p.indices + image * p.indices_image + row * p.indices_row + column * p.indices_pixel);
  });
}

void max_pool2d_bfloat16(const MaxPool2dOf<Bfloat16>& p, int64_t begin, int64_t end) {
  pool(p, begin, end, [](const Clipped<Bfloat16>&, int64_t, int64_t, int64_t, int64_t) {});
}

}  // namespace lucid::LUCID_ISA
