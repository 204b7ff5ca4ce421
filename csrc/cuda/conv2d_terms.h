// The sum behind an output as one axis, tap after tap and channel after channel: where its terms lie, and where the
// window of a pixel begins. With both in tables, loops over terms divide nothing and know no taps.
#pragma once

#include "cuda/backend.h"
#include "cuda/cuda_compat.h"

namespace lucid::cuda {

// A term of the sum, from the first element of the window on: elements, rows and columns.
struct alignas(16) Conv2dTerm {
  int64_t offset;
  int32_t h, w;
};

// Where the window of an output pixel begins, perhaps in the padding. `offset` counts bytes of x, for the loops over
// terms to multiply nothing.
struct alignas(16) Conv2dWindow {
  int64_t offset;
  int32_t h, w;
};

// Rows beyond every image: of a window of no pixel, and of a term behind the last.
constexpr int32_t kNoPixel = -(1 << 30), kNoTerm = 1 << 29;

// A tap has `channels` terms, in_group or more; those behind the last channel are not there.
__device__ __forceinline__ Conv2dTerm conv2d_term(const Conv2dShape& s, int64_t channels, int64_t term) {
  const int64_t tap = term / channels, channel = term % channels;
  if (tap >= s.kernel_h * s.kernel_w || channel >= s.in_group) return {0, kNoTerm, 0};
  const int64_t h = tap / s.kernel_w * s.dilation_h, w = tap % s.kernel_w * s.dilation_w;
  return {(h * s.w + w) * (s.groups * s.in_group) + channel, int32_t(h), int32_t(w)};
}

template <class T>
__device__ __forceinline__ Conv2dWindow conv2d_window(const Conv2dShape& s, int64_t pixel) {
  if (pixel >= s.n * s.out_h * s.out_w) return {0, kNoPixel, 0};
  const int64_t row = pixel / s.out_w, image = row / s.out_h;
  const int64_t h = (row - image * s.out_h) * s.stride_h - s.padding_top;
  const int64_t w = (pixel - row * s.out_w) * s.stride_w - s.padding_left;
  return {((image * s.h + h) * s.w + w) * (s.groups * s.in_group) * int64_t(sizeof(T)), int32_t(h), int32_t(w)};
}

}  // namespace lucid::cuda
