// Max pooling over windows, and where the largest values are.
//
// Bound by memory: a 3x3 window costs nine loads a vector from L1, far less than bringing the rows there. Padding is
// never read: each output pixel clips its window first.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/pool_taps.h"

namespace lucid::LUCID_ISA {
namespace {

struct Clipped {
  const float* x;  // the first tap
  int64_t rows, columns, row_step, column_step;
};

template <int kVectors, class Lanes>
inline void largest(const Clipped& window, int64_t channel, float* y, Lanes lanes) {
  F32 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = F32::broadcast(-INFINITY);
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      const float* tap = window.x + i * window.row_step + j * window.column_step + channel;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[v] = maximum(acc[v], lanes.load(tap + v * F32::kLanes));
    }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) lanes.store(acc[v], y + channel + v * F32::kLanes);
}

// The first of the largest values; a NaN is larger than all before it.
void find_largest(const MaxPool2d& p, const Clipped& window, const Taps& rows, const Taps& columns, int64_t* indices) {
  for (int64_t c = 0; c < p.c; ++c) {
    float best = -INFINITY;
    int64_t index = rows.first * p.w.size + columns.first;
    for (int64_t i = 0; i < rows.count; ++i)
      for (int64_t j = 0; j < columns.count; ++j) {
        const float value = window.x[i * window.row_step + j * window.column_step + c];
        if (value > best || value != value) {
          best = value;
          index = (rows.first + i * p.h.dilation) * p.w.size + columns.first + j * p.w.dilation;
        }
      }
    indices[c * p.indices_channel] = index;
  }
}

}  // namespace

void max_pool2d(const MaxPool2d& p, int64_t begin, int64_t end) {
  constexpr int kVectors = 4;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h.out, y_row = row % p.h.out;
    const Taps rows = taps_of(p.h, y_row);
    for (int64_t column = 0; column < p.w.out; ++column) {
      const Taps columns = taps_of(p.w, column);
      const Clipped window{
          p.x.data + image * p.x.image + rows.first * p.x.row + columns.first * p.x.pixel,
          rows.count,
          columns.count,
          p.h.dilation * p.x.row,
          p.w.dilation * p.x.pixel,
      };
      float* y = p.y.data + image * p.y.image + y_row * p.y.row + column * p.y.pixel;
      int64_t i = 0;
      for (; i + kVectors * F32::kLanes <= p.c; i += kVectors * F32::kLanes) largest<kVectors>(window, i, y, Whole{});
      for_each_vector(p.c - i, [&](int64_t j, auto lanes) { largest<1>(window, i + j, y, lanes); });
      if (p.indices != nullptr)
        find_largest(p, window, rows, columns,
                     p.indices + image * p.indices_image + y_row * p.indices_row + column * p.indices_pixel);
    }
  }
}

}  // namespace lucid::LUCID_ISA
