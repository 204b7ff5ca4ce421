// Packing: a chunk of a convolution's input, from any strides, into blocks of kBlock channels with its padding spelled
// out as zeros. Microkernels then see one layout and no edges.
//
// The columns of a row are sorted by their remainder modulo the horizontal stride ("phase"), so that the pixels that
// one tap reads for consecutive outputs always lie side by side, whatever the stride.
#pragma once

#include <stddef.h>

#include "cpu/conv2d_problem.h"
#include "cpu/integers.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

// [channel block][input row][phase][column][kBlock]; sizes in floats.
struct PackedRows {
  int64_t phase_pitch, row_pitch, plane;

  // Of `out_rows` rows of output.
  PackedRows(const Conv2dShape& s, int64_t out_rows, int64_t block) {
    const int64_t columns = (s.out_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
    phase_pitch = ceil_div(columns, s.stride_w) * block;
    row_pitch = s.stride_w * phase_pitch;
    plane = odd_lines(in_rows(s, out_rows) * row_pitch);
  }

  static int64_t in_rows(const Conv2dShape& s, int64_t out_rows) {
    return (out_rows - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1;
  }

  // From the first pixel of an output row's window to the pixel under tap (i, j).
  int64_t tap_offset(const Conv2dShape& s, int64_t i, int64_t j, int64_t block) const {
    const int64_t column = j * s.dilation_w;
    return i * s.dilation_h * row_pitch + column % s.stride_w * phase_pitch + column / s.stride_w * block;
  }
};

// `count` pixels of one image row, stride_w apart and beginning at column x0, which may lie in the padding; `source` is
// column 0 of the row, or null for a row in the padding. Takes `channels` channels from `channel`, a multiple of
// kBlock; block b of them goes to packed + b * plane, and the channels that the last block lacks become zeros.
template <int kBlock>
void pack_pixels(const Conv2dShape& s, const InputView& x, const float* source, int64_t channel, int64_t channels,
                 int64_t x0, int64_t count, float* packed, int64_t plane) {
  static_assert(InputView::kBlock % kBlock == 0);
  const int64_t blocks = ceil_div(channels, kBlock), stride = s.stride_w;
  int64_t first = x0 < 0 ? (stride - 1 - x0) / stride : 0;
  int64_t last = min(count, x0 < s.w ? (s.w - 1 - x0) / stride + 1 : 0);
  if (source == nullptr || first >= last) first = last = count;
  for (int64_t b = 0; b < blocks; ++b) {
    float* out = packed + b * plane;
    __builtin_memset(out, 0, static_cast<size_t>(first * kBlock) * sizeof(float));
    __builtin_memset(out + last * kBlock, 0, static_cast<size_t>((count - last) * kBlock) * sizeof(float));
  }
  if (first >= last) return;
  const int64_t step = stride * x.pixel, pixels = last - first, whole = channels / kBlock;
  const float* in = source + (x0 + first * stride) * x.pixel;
  packed += first * kBlock;
  if (x.channel == 1) {
    // A page: the processor's own prefetching ends with each pixel's run of channels. 10 % of a weight gradient.
    const int64_t ahead = max(1, 1024 / max(1, whole * kBlock)) * step;
    for (int64_t m = 0; m < pixels; ++m)
      for (int64_t b = 0; b < whole; ++b) {
        __builtin_prefetch(in + m * step + ahead + x.offset(channel + b * kBlock, 0, 0, 0));
        __builtin_memcpy(packed + b * plane + m * kBlock, in + m * step + x.offset(channel + b * kBlock, 0, 0, 0),
                         kBlock * sizeof(float));
      }
  } else {
    for (int64_t b = 0; b < whole; ++b) {
      float* out = packed + b * plane;
      const float* block = in + (channel + b * kBlock) * x.channel;
      int64_t m = 0;
      if constexpr (kBlock % F32::kLanes == 0)
        if (step == 1)
          for (; m + F32::kLanes <= pixels; m += F32::kLanes)
            for (int j = 0; j < kBlock; j += F32::kLanes) {
              F32 rows[F32::kLanes];
#pragma GCC unroll 16
              for (int i = 0; i < F32::kLanes; ++i) rows[i] = F32::load(block + (j + i) * x.channel + m);
              transpose(rows);
#pragma GCC unroll 16
              for (int i = 0; i < F32::kLanes; ++i) rows[i].store(out + (m + i) * kBlock + j);
            }
      for (; m < pixels; ++m)
        for (int j = 0; j < kBlock; ++j) out[m * kBlock + j] = block[m * step + j * x.channel];
    }
  }
  if (whole == blocks) return;
  float* out = packed + whole * plane;
  for (int64_t m = 0; m < pixels; ++m, out += kBlock) {
    __builtin_memset(out, 0, kBlock * sizeof(float));
    for (int64_t c = whole * kBlock; c < channels; ++c)
      out[c - whole * kBlock] = in[m * step + x.offset(channel + c, 0, 0, 0)];
  }
}

// Column 0 of input row y of an image, or null for a row in the padding.
inline const float* input_row(const Conv2dShape& s, const InputView& x, int64_t image, int64_t y) {
  return y >= 0 && y < s.h ? x.data + image * x.image + y * x.row : nullptr;
}

// The input of `out_rows` rows of output from row `first` of an image, for channels [channel, channel + channels).
template <int kBlock>
void pack_rows(const Conv2dShape& s, const InputView& x, const PackedRows& layout, int64_t image, int64_t first,
               int64_t out_rows, int64_t channel, int64_t channels, float* packed) {
  const int64_t top = first * s.stride_h - s.padding_top, rows = PackedRows::in_rows(s, out_rows);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t phase = 0; phase < s.stride_w; ++phase)
      pack_pixels<kBlock>(s, x, input_row(s, x, image, top + r), channel, channels, phase - s.padding_left,
                          layout.phase_pitch / kBlock, packed + r * layout.row_pitch + phase * layout.phase_pitch,
                          layout.plane);
}

}  // namespace lucid::LUCID_ISA
