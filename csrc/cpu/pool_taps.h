// Which pixels the window of an output index covers, along one axis of a pool; and which windows may cover a pixel.
#pragma once

#include "cpu/kernels.h"

namespace lucid::LUCID_ISA {

// The taps that lie inside the image: `count` of them from index `first`.
struct Taps {
  int64_t first, count;
  int64_t padded;  // how many lie inside the padded image
};

inline Taps taps_of(const PoolAxis& a, int64_t index) {
  if (a.kernel == 0) {  // adaptive; in halves, as index * size may overflow
    const int64_t whole = a.size / a.out, rest = a.size % a.out;
    const int64_t first = index * whole + index * rest / a.out;
    const int64_t end = (index + 1) * whole + ((index + 1) * rest + a.out - 1) / a.out;
    return {first, end - first, end - first};
  }
  const int64_t start = index * a.stride - a.padding;
  if (start >= 0 && start + (a.kernel - 1) * a.dilation < a.size) return {start, a.kernel, a.kernel};  // no division
  const int64_t skipped = start < 0 ? (a.dilation - 1 - start) / a.dilation : 0;
  int64_t last = start < a.size ? (a.size - 1 - start) / a.dilation + 1 : 0;
  if (last > a.kernel) last = a.kernel;
  int64_t padded = (a.size + a.padding_end - 1 - start) / a.dilation + 1;
  if (padded > a.kernel) padded = a.kernel;
  // A dilated window can step over a narrow image.
  if (skipped >= last) return {0, 0, padded};
  return {start + skipped * a.dilation, last - skipped, padded};
}

// The windows whose reach the pixel is in, from `first` to before `end`; one that is dilated may step over it.
struct Windows {
  int64_t first, end;
};

inline Windows windows_of(const PoolAxis& a, int64_t pixel) {
  // The operator has made sure that the number of pixels times that of windows is an int64.
  if (a.kernel == 0) return {pixel * a.out / a.size, ((pixel + 1) * a.out + a.size - 1) / a.size};
  const int64_t before = pixel + a.padding - (a.kernel - 1) * a.dilation, last = (pixel + a.padding) / a.stride;
  return {before > 0 ? (before - 1) / a.stride + 1 : 0, last < a.out ? last + 1 : a.out};
}

}  // namespace lucid::LUCID_ISA
