// Every CPU kernel, as a table of function pointers: one table per instruction set.
//
// A kernel computes tasks [begin, end) of one operator. It owns no threads, allocates nothing and validates nothing;
// the operator in ops/ has done all three. Images arrive channels-last and without gaps, except where a kernel says
// that it takes any strides.
#pragma once

#include <cstdint>

#include "cpu/conv2d.h"

namespace lucid {

struct BatchNorm {
  const float *x, *mean, *scale, *bias;  // [pixels, c], then [c] each
  float* y;
  int64_t c;
  bool relu;
};

// Two kernels: moments of blocks of pixels, then their combination.
struct BatchNormStatistics {
  static constexpr int64_t kPixels = 64, kChannels = 64;  // of a block
  const float* x;                                         // [pixels, c]
  int64_t pixels, c, pixel_blocks, channel_blocks;
  float* moments;  // [pixel_blocks][3][c]: mean, sum of the deviations from it (it is rounded), sum of their squares
  float *mean, *var;
  int64_t mean_stride, var_stride;
};

struct PoolAxis {
  int64_t size, out, kernel, stride, padding, dilation;
};

// An image whose channels are contiguous; strides in floats. That of a plan is one such for each block of channels.
template <class Float>
struct Channels {
  Float* data;
  int64_t image, row, pixel;
};

struct Pool2d {
  Channels<const float> x;  // [n, h.size, w.size, c]
  Channels<float> y;        // [n, h.out, w.out, c]
  int64_t c;
  PoolAxis h, w;
  bool max, count_include_pad;
};

struct GlobalAvgPool2d {
  static constexpr int64_t kChannels = 16;  // of a block
  Channels<const float> x;                  // [n, h, w, c] of the first split
  int64_t x_radix;                          // floats to the next split
  float* y;                                 // [n, c], images y_image apart
  int64_t y_image, h, w, radix, c, channel_blocks;
};

// Two kernels: the weights of an image's channels, then the weighted sums.
struct SplitAttention {
  Channels<const float> x;  // [n, h, w, channels] of the first split
  int64_t x_radix;          // floats to the next split
  const float* logits;      // [n, cardinality, radix, c / cardinality]
  float* weights;           // [n, radix, c]
  Channels<float> y;        // [n, h, w, channels]
  int64_t h, w, radix, c, channels, cardinality;
};

struct Linear {
  static constexpr int64_t kOutputs = 4, kRows = 64;  // of a block
  const float *x, *weight, *bias;                     // [rows, in], [outputs, in], [outputs] or null
  int64_t bias_stride;
  float* y;  // [rows, outputs]
  int64_t rows, in, outputs;
  int64_t x_row, y_row;  // floats between rows
  int64_t row_blocks;
  bool relu;
};

// Takes any strides; elements are numbered in the order of the dimensions, the last one fastest.
struct Elementwise {
  static constexpr int kMaxDims = 8;
  const float *a, *b;  // b is unused by functions of one argument
  float* y;
  int dims;  // at least 1
  int64_t size[kMaxDims], a_stride[kMaxDims], b_stride[kMaxDims], y_stride[kMaxDims];
};

struct Kernels {
  const char* isa;
  uint32_t required_features;  // CpuFeature bits; the table is usable when all are present

  const Conv2dAlgorithm* const* conv2d;  // best first, then null

  void (*batch_norm)(const BatchNorm&, int64_t begin, int64_t end);                    // task: a pixel
  void (*batch_norm_moments)(const BatchNormStatistics&, int64_t begin, int64_t end);  // a block, channels fastest
  void (*batch_norm_combine)(const BatchNormStatistics&, int64_t begin, int64_t end);  // a block of channels
  void (*pool2d)(const Pool2d&, int64_t begin, int64_t end);                           // a row of y
  void (*global_avg_pool2d)(const GlobalAvgPool2d&, int64_t begin, int64_t end);       // a block of an image's channels
  void (*split_attention_weights)(const SplitAttention&, int64_t begin, int64_t end);  // a channel of an image
  void (*split_attention)(const SplitAttention&, int64_t begin, int64_t end);          // a row of y
  void (*linear)(const Linear&, int64_t begin, int64_t end);                           // a block, rows fastest
  void (*relu)(const Elementwise&, int64_t begin, int64_t end);                        // an element
  void (*add)(const Elementwise&, int64_t begin, int64_t end);                         // an element

  // What bounds all of them, to be measured. Their results only keep the compiler from leaving the work out.
  int64_t (*fma_peak)(int64_t iterations, float factor, float* result);  // gives the floating-point operations done
  float (*read_memory)(const float* x, int64_t size);                    // the sum of x
};

// The best table this processor can run, or the one pinned by lucid_set_isa.
const Kernels& kernels();

}  // namespace lucid
