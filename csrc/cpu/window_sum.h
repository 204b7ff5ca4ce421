// Sums of the pixels of a window, channel by channel: float32 in pairs over eight pixels, then double. Sums of a
// million values are then as exact as their result can be, for a tenth more time than float32 takes.
#pragma once

#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

// Pixels of a run of channels: rows and columns are steps apart, in elements.
template <class Element>
struct Window {
  const Element* x;
  int64_t rows, columns, row_step, column_step;
};

struct WindowSum {
  static constexpr int64_t kChannels = 256;  // 3 KB of the stack, in L1
  double sums[kChannels];
  float pixels[kChannels];

  void clear(int64_t channels) {
    for (int64_t i = 0; i < channels; ++i) sums[i] = 0.0;
  }

  // The sum of kPixels pixels of at most kChannels channels.
  template <int kPixels, class Element>
  void add_pixels(const Element* x, int64_t step, int64_t channels) {
    for_each_vector(channels, [&](int64_t i, auto lanes) {
      F32 sum[kPixels];
#pragma GCC unroll 8
      for (int m = 0; m < kPixels; ++m) sum[m] = lanes.load(x + m * step + i);
#pragma GCC unroll 4
      for (int width = kPixels / 2; width > 0; width /= 2)
#pragma GCC unroll 4
        for (int m = 0; m < width; ++m) sum[m] = sum[m] + sum[m + width];
      lanes.store(sum[0], pixels + i);
    });
    for (int64_t i = 0; i < channels; ++i) sums[i] += static_cast<double>(pixels[i]);
  }

  template <class Element>
  void add(const Window<Element>& window, int64_t channels) {
    constexpr int kPixels = 8;
    // Rows without gaps between them are one.
    const bool flat = window.row_step == window.columns * window.column_step;
    const int64_t rows = flat ? 1 : window.rows, columns = flat ? window.rows * window.columns : window.columns;
    for (int64_t row = 0; row < rows; ++row) {
      const Element* x = window.x + row * window.row_step;
      int64_t m = 0;
      for (; m + kPixels <= columns; m += kPixels)
        add_pixels<kPixels>(x + m * window.column_step, window.column_step, channels);
      for (; m < columns; ++m) add_pixels<1>(x + m * window.column_step, window.column_step, channels);
    }
  }

  template <class Element>
  void store_mean(double divisor, int64_t channels, Element* y) const {
    for (int64_t i = 0; i < channels; ++i) assign(y[i], static_cast<float>(sums[i] / divisor));
  }
};

}  // namespace lucid::LUCID_ISA
