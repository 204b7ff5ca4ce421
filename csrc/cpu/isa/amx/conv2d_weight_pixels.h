// The pixels that a sum of conv2d_backward_weight_bf16x3.cpp runs over.
#pragma once

#include <bf16x3_format.h>
#include <blocking.h>
#include <stdint.h>

#include "cpu/conv2d_problem.h"
#include "cpu/integers.h"
#include "cpu/pack.h"

namespace lucid::LUCID_ISA {

// How they are numbered. A chunk is some rows of an image, with `pitch` pixels from one row to the next; of a pointwise
// convolution it is some pixels, those of all images numbered through.
struct PixelNumbers {
  bool pointwise;
  int64_t pitch, chunk;         // pixels; pixels or rows
  int64_t phase_rows;           // of x, for each remainder modulo the stride
  int64_t x_pixels, dy_pixels;  // of a chunk, in whole steps of 32
  int64_t copies;               // of x: 2 if pairs of pixels begin at even places and at odd ones

  explicit PixelNumbers(const Conv2dShape& s) : pointwise(s.taps() == 1) {
    const int64_t below = (s.kernel_h - 1) * s.dilation_h, right = (s.kernel_w - 1) * s.dilation_w;
    // The zeros on the right of a row are those on the left of the next.
    const int64_t shared = s.stride_w == 1 ? min(s.padding_left, s.padding_right) : 0;
    pitch = pointwise ? 1 : max(s.out_w, s.out_w + right / s.stride_w - shared);
    const int64_t most = max(1, kWindowPixels / pitch);
    chunk = pointwise ? kPointwisePixels : ceil_div(s.out_h, ceil_div(s.out_h, most));
    phase_rows = chunk + below / s.stride_h;
    dy_pixels = round_up(chunk * pitch, kTileTerms);
    x_pixels = pointwise ? 0 : s.stride_h * s.stride_w * phase_rows * pitch;
    copies = 1;
    for (int64_t tap = 0; tap < s.taps(); ++tap) {
      const int64_t distance = tap_distance(s, tap);
      x_pixels = max(x_pixels, distance + dy_pixels);
      if (distance % 2 == 1) copies = 2;
    }
    x_pixels = round_up(x_pixels + copies - 1, kTileTerms);
  }

  // Pixels from the one under a window's first tap to that under another.
  int64_t tap_distance(const Conv2dShape& s, int64_t tap) const {
    const int64_t row = tap / s.kernel_w * s.dilation_h, column = tap % s.kernel_w * s.dilation_w;
    const int64_t phase = row % s.stride_h * s.stride_w + column % s.stride_w;
    return (phase * phase_rows + row / s.stride_h) * pitch + column / s.stride_w;
  }
};

// Whether the channels of a pixel lie side by side; else they are packed so.
inline bool channels_last(const InputView& v) { return v.channel == 1 && v.block == InputView::kBlock; }

// Where the first channel of each pixel lies, and how far 16 channels are behind the 16 before.
struct Pixels {
  const float** places;
  int64_t block;  // floats
};

// Lists the pixels of a chunk, row after row.
class PixelList {
 public:
  static constexpr int64_t kBlock = InputView::kBlock;

  // `places` has room for `most` pixels. `zeros` are as many as there are channels; `packed` is used for strides that
  // are not channels-last.
  PixelList(const Conv2dShape& s, const InputView& view, int64_t channel, int64_t channels, int64_t most,
            const float** places, const float* zeros, float* packed)
      : s_(s),
        view_(view),
        channel_(channel),
        channels_(channels),
        zeros_(zeros),
        packed_(packed),
        pixels_{.places = places, .block = channels_last(view) ? kBlock : most * kBlock} {}

  // `count` pixels of a row from column x0 on; zeros where there is no row, or no column.
  void add_row(const float* row, int64_t x0, int64_t count) {
    if (!channels_last(view_)) {
      pack_pixels<kBlock>(s_, view_, row, channel_, channels_, x0, count, packed_ + size_ * kBlock, pixels_.block);
      for (int64_t m = 0; m < count; ++m, ++size_) pixels_.places[size_] = packed_ + size_ * kBlock;
      return;
    }
    for (int64_t m = 0, x = x0; m < count; ++m, x += s_.stride_w)
      pixels_.places[size_++] = row != nullptr && x >= 0 && x < s_.w ? row + channel_ + x * view_.pixel : zeros_;
  }

  // Of a pointwise convolution, pixels [first, first + count) of all images.
  void add_pixels(int64_t first, int64_t count) {
    for (const int64_t end = first + count; first < end;) {
      const int64_t row = first / s_.out_w, column = first % s_.out_w, columns = min(s_.out_w - column, end - first);
      add_row(input_row(s_, view_, row / s_.out_h, row % s_.out_h * s_.stride_h), column * s_.stride_w, columns);
      first += columns;
    }
  }

  // Zeros up to `size` pixels.
  const Pixels& fill(int64_t size) {
    add_row(nullptr, 0, size - size_);
    return pixels_;
  }

 private:
  const Conv2dShape& s_;
  const InputView& view_;
  const int64_t channel_, channels_;
  const float* const zeros_;
  float* const packed_;
  const Pixels pixels_;
  int64_t size_ = 0;
};

}  // namespace lucid::LUCID_ISA
