// Where the pixels of a register tile lie in an image whose rows may have a halo.
#pragma once

#include "cpu/conv2d_problem.h"
#include "gemm_tile.h"

namespace lucid::LUCID_ISA {

// An output pixel, to be stepped along rows and images.
struct Pixel {
  int64_t n, h, w;

  Pixel(const Conv2dShape& s, int64_t row) : n(row / s.out_h), h(row % s.out_h), w(0) {}
  void advance(const Conv2dShape& s, int64_t count) {
    for (w += count; w >= s.out_w; w -= s.out_w)
      if (++h == s.out_h) h = 0, ++n;
  }
};

// Where `count` pixels lie, which may go on in the next row. Written field by field: what is copied as a whole just
// after it was written is loaded when all stores before it are done, 70 ns after a tile's.
[[gnu::always_inline]] inline void place(const OutputView& image, const Conv2dShape& s, int64_t channel,
                                         const Pixel& pixel, int64_t count, TileTarget* to) {
  const int64_t split = s.out_w - pixel.w;
  float* const first = image.at(channel, pixel.n, pixel.h, pixel.w);
  to->data = first;
  to->split = split;
  to->gap = 0;
  if (count <= split) return;
  const bool last_row = pixel.h + 1 == s.out_h;
  const float* second = image.at(channel, pixel.n + last_row, last_row ? 0 : pixel.h + 1, 0);
  to->gap = second - (first + split * image.pixel);
}

}  // namespace lucid::LUCID_ISA
