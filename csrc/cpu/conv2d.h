// What every algorithm of conv2d sees of a problem.
#pragma once

#include <cstdint>

#include "cpu/layout.h"

namespace lucid {

// A checked convolution: y = conv(x) + bias + residual, then an optional ReLU.
struct Conv2dProblem {
  int64_t n, h, w;                      // images, input size
  int64_t groups, in_group, out_group;  // channels of a group
  int64_t kernel_h, kernel_w, out_h, out_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;

  // Strides in floats. With x_c = 1, channel c lies at c / 16 * x_block + c % 16.
  const float* x;
  int64_t x_n, x_c, x_h, x_w, x_block;
  bool x_has_halo;  // the padding of x is there, as zeros around every image

  const float* weight;  // [groups * out_group, in_group, kernel_h, kernel_w], any strides
  int64_t weight_k, weight_c, weight_h, weight_w;
  const float* bias;  // or null
  int64_t bias_stride;
  const float* prepared;  // what Conv2dAlgorithm::prepare wrote, or null: weights are packed on the way

  OutputView y;
  OutputView residual;  // data may be null
  bool relu;
  // [rows()][out_channels()] for an algorithm with sums_rows: receives the sums of y over each row's pixels. Or null.
  float* row_sums;
  bool planned;   // for a plan: weights come prepared and x blocked, with its padding, unless it stays outside
  bool winograd;  // whether the faster and less exact algorithms may be chosen

  LUCID_INLINE int64_t in_channels() const { return groups * in_group; }
  LUCID_INLINE int64_t out_channels() const { return groups * out_group; }
  LUCID_INLINE int64_t out_rows() const { return n * out_h; }
  LUCID_INLINE int64_t taps() const { return kernel_h * kernel_w; }
};

// A rectangle of the output: panels (runs of output channels) by rows of pixels, those of all images numbered through;
// both as thick as the algorithm likes.
struct Conv2dShare {
  int64_t panel_begin, panel_end, row_begin, row_end;
  const float* next;  // weights that this thread reads after this share, or null: prefetched under its last panel
  int64_t next_floats;
};

struct Conv2dAlgorithm {
  const char* name;
  int64_t output_tile;  // rows and columns of y computed together; an x that carries its padding carries what they read
  bool sums_rows;       // whether it can sum y up for a global pooling
  bool packs_input;     // whether it takes an x of any strides, without padding; else x must be a plan's
  bool (*accepts)(const Conv2dProblem&);
  int64_t (*panels)(const Conv2dProblem&);
  int64_t (*rows)(const Conv2dProblem&);

  // The weights in the order in which the algorithm reads them: panel after panel, panel_floats() apart.
  int64_t (*panel_floats)(const Conv2dProblem&);
  void (*prepare)(const Conv2dProblem&, int64_t panel, float* prepared);

  int64_t (*scratch_floats)(const Conv2dProblem&, const Conv2dShare&);
  // The result of an element does not depend on the share it is in.
  void (*run)(const Conv2dProblem&, const Conv2dShare&, float* scratch);
};

}  // namespace lucid
