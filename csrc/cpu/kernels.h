// Every CPU kernel, as a table of function pointers: one table per instruction set.
//
// A kernel computes tasks [begin, end) of one operator. It owns no threads, allocates nothing and validates nothing;
// the operator in ops/ has done all three. Images are channels-last without gaps, or views in blocks of channels.
#pragma once

#include <cstdint>

#include "core/update.h"
#include "cpu/conv2d_problem.h"

namespace lucid {

// The gradient of the weights, in blocks of channels of dy by blocks of x. A task holds its sums while it goes over all
// images in chunks of rows, so that no sum is cut between tasks. Those of x are numbered fastest, then those of dy,
// then groups.
struct Conv2dBackwardWeight {
  static constexpr int64_t kBlock = 16;
  Conv2dShape shape;
  InputView x, dy;
  float* dweight;  // [groups * out_group, in_group, kernel_h, kernel_w], any strides
  int64_t dweight_k, dweight_c, dweight_h, dweight_w;
  float* dbias;  // or null
  int64_t dbias_stride;
  int64_t lanes;                   // of the instruction set
  int64_t block;                   // channels of a block, as the algorithm has them
  int64_t k_together, c_together;  // blocks of a task, of dy and of x
  char* scratch;                   // of this thread

  // A block holds several groups whole, and none more.
  LUCID_INLINE bool narrow() const {
    const int64_t group = shape.in_group;
    return group == shape.out_group && group <= 8 && group <= lanes && (group & (group - 1)) == 0;
  }
  LUCID_INLINE int64_t k_blocks() const {
    return ((narrow() ? shape.out_channels() : shape.out_group) + block - 1) / block;
  }
  LUCID_INLINE int64_t c_blocks() const { return narrow() ? 1 : (shape.in_group + block - 1) / block; }
  LUCID_INLINE int64_t k_tasks() const { return (k_blocks() + k_together - 1) / k_together; }
  LUCID_INLINE int64_t c_tasks() const { return (c_blocks() + c_together - 1) / c_together; }
  LUCID_INLINE int64_t tasks() const { return (narrow() ? 1 : shape.groups) * k_tasks() * c_tasks(); }
};

struct Conv2dBackwardWeightAlgorithm {
  int64_t block;
  int64_t most_outputs, most_terms;  // of a task: channels of dy, and taps times channels of x
  bool (*accepts)(const Conv2dShape&);
  int64_t (*scratch_bytes)(const Conv2dBackwardWeight&);  // of a thread
  void (*run)(const Conv2dBackwardWeight&, int64_t begin, int64_t end);
};

template <class Element>
struct BatchNormOf {
  const Element* x;                  // [pixels, c]
  const float *mean, *scale, *bias;  // [c] each
  const Element* residual;           // [pixels, c], or null
  Element* y;
  int64_t c;
  bool relu;
};
using BatchNorm = BatchNormOf<float>;

// Two kernels: moments of blocks of pixels, then their combination.
struct BatchNormStatistics {
  static constexpr int64_t kPixels = 64, kChannels = 64;  // of a block
  const float* x;                                         // [pixels, c]
  int64_t pixels, c, pixel_blocks, channel_blocks;
  float* moments;  // [pixel_blocks][3][c]: mean, sum of the deviations from it (it is rounded), sum of their squares
  float *mean, *var;
  int64_t mean_stride, var_stride;
};

// Three kernels: sums over blocks of pixels, their combination, then dx.
struct BatchNormBackward {
  static constexpr int64_t kPixels = 128, kChannels = 512;  // of a block of sums; both a multiple of 16
  const float *dy, *x, *y;                                  // [pixels, c]; y where a ReLU follows, or null
  const float *mean, *inverse, *scale;                      // [c] each; inverse is 1 / sqrt(var + eps)
  float* dresidual;                                         // [pixels, c], which the sums leave; or null
  float* dx;
  int64_t pixels, c, pixel_blocks, channel_blocks;
  float* sums;                  // [pixel_blocks][2][c]: of g, of g * (x - mean)
  float *gradient, *deviation;  // [c] each: the mean of g, and by what a distance from the mean is multiplied
  float *dweight, *dbias;
  int64_t dweight_stride, dbias_stride;
  bool training;
};

template <class Element>
struct MaxPool2dOf {
  BlockedView<const Element> x;  // [n, h.size, w.size, c]
  BlockedView<Element> y;        // [n, h.out, w.out, c]
  int64_t c;
  PoolAxis h, w;
  // Where the largest values are, with any strides; or null.
  int64_t* indices;
  int64_t indices_image, indices_channel, indices_row, indices_pixel;
};
using MaxPool2d = MaxPool2dOf<float>;

template <class Element>
struct AvgPool2dOf {
  BlockedView<const Element> x;  // [n, h.size, w.size, c]
  BlockedView<Element> y;        // [n, h.out, w.out, c]
  int64_t c;
  PoolAxis h, w;
  bool count_include_pad;
  int64_t divisor;  // or 0 for the size of the window
};
using AvgPool2d = AvgPool2dOf<float>;

struct MaxPool2dBackward {
  const float* dy;         // [n, h.out, w.out, c]
  const int64_t* indices;  // with any strides
  int64_t indices_image, indices_channel, indices_row, indices_pixel;
  float* dx;  // [n, h.size, w.size, c]
  int64_t c;
  PoolAxis h, w;
};

struct AvgPool2dBackward {
  const float* dy;  // [n, h.out, w.out, c]
  float* dx;        // [n, h.size, w.size, c]
  int64_t c;
  PoolAxis h, w;
  bool count_include_pad;
  int64_t divisor;
};

template <class Element>
struct RadixSumPoolOf {
  static constexpr int64_t kChannels = 16;  // of a block
  BlockedView<const Element> x;             // [n, h, w, radix * c]
  float* y;                                 // [n, c]
  int64_t h, w, radix, c;
  LUCID_INLINE int64_t channel_blocks() const { return (c + kChannels - 1) / kChannels; }
};
using RadixSumPool = RadixSumPoolOf<float>;

struct RadixSumPoolBackward {
  const float* dy;  // [n, c]
  float* dx;        // [n, h, w, radix * c]
  int64_t h, w, radix, c;
};

// Radix sum pooling of what a convolution has summed up row by row.
struct SumRows {
  const float* sums;  // [images * rows, radix * c]
  float* y;           // [images, c]
  int64_t images, rows, radix, c;
  int64_t pixels;  // of an image
};

// Two kernels: the weights of an image's channels, then the weighted sums of channels [first, last).
template <class Element>
struct SplitAttentionOf {
  BlockedView<const Element> x;  // [n, h, w, radix * c]
  const float* logits;           // [n, cardinality, radix, c / cardinality]
  float* weights;                // [n, radix, c]
  BlockedView<Element> y;        // [n, h, w, c]
  int64_t h, w, radix, c, cardinality, first, last;
};
using SplitAttention = SplitAttentionOf<float>;

// Two kernels behind split_attention_weights: dx with sums over blocks of an image's pixels, then dlogits.
struct SplitAttentionBackward {
  static constexpr int64_t kPixels = 64;  // of a block, which are of one image
  const float *dy, *x;                    // [n, pixels, c], [n, pixels, radix * c]
  const float* weights;                   // [n, radix, c]
  float *dx, *dlogits;
  float* sums;  // [n, blocks, radix, c]: of dy * x
  int64_t pixels, radix, c, cardinality;
  LUCID_INLINE int64_t blocks() const { return (pixels + kPixels - 1) / kPixels; }
};

// In blocks of rows by outputs. Each group takes its slice of x and of the weight.
template <class Element>
struct LinearOf {
  static constexpr int64_t kOutputs = 4, kRows = 64;  // of a block
  const float* x;                                     // [rows, groups * in]
  const Element* weight;                              // [groups * outputs, in]
  const float* bias;                                  // [groups * outputs] or null
  int64_t bias_stride;
  float* y;                   // [rows, groups * outputs]
  int64_t rows, in, outputs;  // of a group
  int64_t groups;
  bool relu;
  LUCID_INLINE int64_t row_blocks() const { return (rows + kRows - 1) / kRows; }
  LUCID_INLINE int64_t tasks() const { return groups * ((outputs + kOutputs - 1) / kOutputs) * row_blocks(); }
};
using Linear = LinearOf<float>;

// Rows with any strides.
struct Softmax {
  const float* x;
  float* y;
  int64_t size;  // of a row
  int64_t x_row, x_step, y_row, y_step;
  bool log;
};

// One row; steps are between its elements.
struct SoftmaxBackward {
  const float *dy, *y;
  float* dx;
  int64_t size, dy_step, y_step, dx_step;
  bool log;
};

// One row of logits and its target: a class index, or probabilities. Steps are between elements.
struct CrossEntropy {
  const float* x;
  const float* probabilities;  // or null
  const float* weight;         // or null
  int64_t classes, x_step, probabilities_step, weight_step;
  int64_t index;  // not read where there are probabilities
  double label_smoothing;
  double* loss;
};
struct CrossEntropyBackward {
  CrossEntropy row;  // of which the loss is not written
  double dy;
  float* dx;
  int64_t dx_step;
};

// Takes any strides; elements are numbered in the order of the dimensions, the last one fastest.
template <class Element>
struct ElementwiseOf {
  static constexpr int kMaxDims = 8;
  const Element *a, *b;  // b is unused by functions of one argument
  Element* y;
  int dims;  // at least 1
  int64_t size[kMaxDims], a_stride[kMaxDims], b_stride[kMaxDims], y_stride[kMaxDims];
};
using Elementwise = ElementwiseOf<float>;

// Images, and the weights of linear, are also in bfloat16 inside a plan: `Of` is by the type of their elements. Rows
// and constants are float32 always.

// Every kernel but those of conv2d: its name, its arguments, and what a task is. cpu/table.cpp declares them from here.
#define LUCID_KERNELS(X) \
  X(adamw_update, AdamwUpdate)                               /* an element */ \
  X(add, Elementwise)                                        /* an element */ \
  X(add_bfloat16, ElementwiseOf<Bfloat16>)                   /* an element */ \
  X(average_update, AverageUpdate)                           /* an element */ \
  X(avg_pool2d, AvgPool2d)                                   /* a row of y */ \
  X(avg_pool2d_bfloat16, AvgPool2dOf<Bfloat16>)              /* a row of y */ \
  X(avg_pool2d_backward, AvgPool2dBackward)                  /* a row of dx */ \
  X(batch_norm, BatchNorm)                                   /* a pixel */ \
  X(batch_norm_bfloat16, BatchNormOf<Bfloat16>)              /* a pixel */ \
  X(batch_norm_backward, BatchNormBackward)                  /* a pixel */ \
  X(batch_norm_backward_combine, BatchNormBackward)          /* a channel */ \
  X(batch_norm_backward_sums, BatchNormBackward)             /* a block, channels fastest */ \
  X(batch_norm_combine, BatchNormStatistics)                 /* a block of channels */ \
  X(batch_norm_moments, BatchNormStatistics)                 /* a block, channels fastest */ \
  X(cross_entropy, CrossEntropy)                             /* the row */ \
  X(cross_entropy_backward, CrossEntropyBackward)            /* the row */ \
  X(linear, Linear)                                          /* a block, rows fastest, then outputs, then groups */ \
  X(linear_bfloat16, LinearOf<Bfloat16>)                     /* a block, rows fastest, then outputs, then groups */ \
  X(max_pool2d, MaxPool2d)                                   /* a row of y */ \
  X(max_pool2d_bfloat16, MaxPool2dOf<Bfloat16>)              /* a row of y */ \
  X(max_pool2d_backward, MaxPool2dBackward)                  /* a row of dx */ \
  X(mul, Elementwise)                                        /* an element */ \
  X(radix_sum_pool, RadixSumPool)                            /* a block of an image's channels */ \
  X(radix_sum_pool_bfloat16, RadixSumPoolOf<Bfloat16>)       /* a block of an image's channels */ \
  X(radix_sum_pool_backward, RadixSumPoolBackward)           /* a row of dx */ \
  X(relu, Elementwise)                                       /* an element */ \
  X(relu_bfloat16, ElementwiseOf<Bfloat16>)                  /* an element */ \
  X(relu_backward, Elementwise)                              /* an element */ \
  X(sgd_update, SgdUpdate)                                   /* an element */ \
  X(sigmoid, Elementwise)                                    /* an element */ \
  X(sigmoid_bfloat16, ElementwiseOf<Bfloat16>)               /* an element */ \
  X(sigmoid_backward, Elementwise)                           /* an element */ \
  X(softmax, Softmax)                                        /* a row */ \
  X(softmax_backward, SoftmaxBackward)                       /* the row */ \
  X(split_attention, SplitAttention)                         /* a row of y */ \
  X(split_attention_bfloat16, SplitAttentionOf<Bfloat16>)    /* a row of y */ \
  X(split_attention_backward, SplitAttentionBackward)        /* a block, of all images */ \
  X(split_attention_backward_logits, SplitAttentionBackward) /* a channel of an image */ \
  X(split_attention_weights, SplitAttention)                 /* a channel of an image */ \
  X(sum_rows, SumRows)                                       /* a channel, of all images */

struct Kernels {
  const char* isa;
  uint32_t required_features;  // CpuFeature bits; the table is usable when all are present

  // Best first, then null.
  const Conv2dAlgorithm* const* conv2d;
  const Conv2dBackwardWeightAlgorithm* const* conv2d_backward_weight;
  const Conv2dAlgorithm* const* conv2d_bfloat16;
  const Conv2dAlgorithm* conv2d_bfloat16_narrow;  // for x in blocks of kNarrowBlock

#define LUCID_KERNEL(name, Arguments) void (*name)(const Arguments&, int64_t begin, int64_t end);
  LUCID_KERNELS(LUCID_KERNEL)
#undef LUCID_KERNEL

  int64_t lanes;  // floats of a vector

  // What bounds all of them, to be measured. Their results only keep the compiler from leaving the work out.
  int64_t (*fma_peak)(int64_t iterations, float factor, float* result);  // gives the floating-point operations done
  float (*read_memory)(const float* x, int64_t size);                    // the sum of x
  int64_t (*matrix_peak)(int64_t iterations, float* result);  // of the matrix unit in bfloat16; null without one
};

// The best table this processor can run, or the one pinned by lucid_set_isa.
const Kernels& kernels();

}  // namespace lucid
