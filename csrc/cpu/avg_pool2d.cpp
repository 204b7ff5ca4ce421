// Average pooling over windows, fixed or adaptive.
//
// Bound by memory, as max pooling is. Small windows are summed in registers, large ones in double. An average divides
// once, instead of multiplying by a rounded reciprocal: the mean of integers is the one nearest to the truth.
#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/pool_taps.h"
#include "cpu/window_sum.h"

namespace lucid::LUCID_ISA {
namespace {

// Values that are added one by one in float32: an error of at most this many roundings.
constexpr int64_t kSmall = 16;

template <int kVectors, class Element, class Lanes>
inline void average(const Window<Element>& window, F32 divisor, int64_t channel, Element* y, Lanes lanes) {
  F32 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = F32::zero();
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      const Element* tap = window.x + i * window.row_step + j * window.column_step + channel;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[v] = acc[v] + lanes.load(tap + v * F32::kLanes);
    }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) lanes.store(acc[v] / divisor, y + channel + v * F32::kLanes);
}

template <class Element>
void average_small(const Window<Element>& window, double divisor, int64_t c, Element* y) {
  constexpr int kVectors = 4;
  const F32 by = F32::broadcast(static_cast<float>(divisor));
  int64_t i = 0;
  for (; i + kVectors * F32::kLanes <= c; i += kVectors * F32::kLanes) average<kVectors>(window, by, i, y, Whole{});
  for_each_vector(c - i, [&](int64_t j, auto lanes) { average<1>(window, by, i + j, y, lanes); });
}

template <class Element>
void average_large(const Window<Element>& window, double divisor, int64_t c, Element* y) {
  WindowSum sum;
  for (int64_t first = 0; first < c; first += WindowSum::kChannels) {
    const int64_t channels = c - first < WindowSum::kChannels ? c - first : WindowSum::kChannels;
    Window<Element> part = window;
    part.x += first;
    sum.clear(channels);
    sum.add(part, channels);
    sum.store_mean(divisor, channels, y + first);
  }
}

template <class Element>
double divisor_of(const AvgPool2dOf<Element>& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<double>(p.divisor);
  if (p.count_include_pad) return static_cast<double>(rows.padded) * static_cast<double>(columns.padded);
  return static_cast<double>(rows.count) * static_cast<double>(columns.count);
}

template <class Element>
void pool(const AvgPool2dOf<Element>& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h.out, y_row = row % p.h.out;
    const Taps rows = taps_of(p.h, y_row);
    for (int64_t column = 0; column < p.w.out; ++column) {
      const Taps columns = taps_of(p.w, column);
      const Window<Element> window{
          p.x.data + image * p.x.image + rows.first * p.x.row + columns.first * p.x.pixel,
          rows.count,
          columns.count,
          p.x.row,
          p.x.pixel,
      };
      Element* y = p.y.data + image * p.y.image + y_row * p.y.row + column * p.y.pixel;
      const bool small = rows.count <= kSmall && columns.count <= kSmall && rows.count * columns.count <= kSmall;
      (small ? average_small<Element> : average_large<Element>)(window, divisor_of(p, rows, columns), p.c, y);
    }
  }
}

}  // namespace

void avg_pool2d(const AvgPool2d& p, int64_t begin, int64_t end) { pool(p, begin, end); }

void avg_pool2d_bfloat16(const AvgPool2dOf<Bfloat16>& p, int64_t begin, int64_t end) { pool(p, begin, end); }

}  // namespace lucid::LUCID_ISA
