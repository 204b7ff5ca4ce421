// The geometry of windows over images, which the kernels of every device are given.
#pragma once

#include <cstdint>

namespace lucid {

// Members are inlined even in a debug build: an instance of their own would be built once for each instruction set, and
// the linker keeps one of them for all.
#define LUCID_INLINE [[gnu::always_inline]]

// A convolution without its data.
struct Conv2dShape {
  int64_t n, h, w;                      // images, input size
  int64_t groups, in_group, out_group;  // channels of a group
  int64_t kernel_h, kernel_w, out_h, out_w, stride_h, stride_w;
  int64_t padding_top, padding_left, padding_bottom, padding_right;
  int64_t dilation_h, dilation_w;

  LUCID_INLINE int64_t in_channels() const { return groups * in_group; }
  LUCID_INLINE int64_t out_channels() const { return groups * out_group; }
  LUCID_INLINE int64_t out_rows() const { return n * out_h; }
  LUCID_INLINE int64_t taps() const { return kernel_h * kernel_w; }
  LUCID_INLINE int64_t terms() const { return in_group * taps(); }  // of the sum behind one output
  LUCID_INLINE double multiplications() const {
    return static_cast<double>(out_rows() * out_w) * static_cast<double>(out_channels()) * static_cast<double>(terms());
  }
  LUCID_INLINE bool padded() const {
    return padding_top != 0 || padding_left != 0 || padding_bottom != 0 || padding_right != 0;
  }
};

// Windows along one axis: that of output i begins `padding` before i * stride, and `padding_end` is behind the image.
// Those of adaptive pooling have no kernel, and reach from floor(i * size / out) to ceil((i + 1) * size / out).
struct PoolAxis {
  int64_t size, out, kernel, stride, padding, padding_end, dilation;
};

}  // namespace lucid
