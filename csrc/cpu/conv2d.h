// What every algorithm of conv2d sees of a problem.
#pragma once

#include <cstdint>

namespace lucid {

// A checked convolution. x and weight may have any strides (in elements); y is channels-last without gaps.
struct Conv2dProblem {
  int64_t n, h, w;                       // images, input size
  int64_t groups, in_group, out_group;   // channels of a group
  int64_t kernel_h, kernel_w, out_h, out_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  const float* x;
  int64_t x_n, x_c, x_h, x_w;            // strides
  const float* weight;                   // [groups * out_group, in_group, kernel_h, kernel_w]
  int64_t weight_k, weight_c, weight_h, weight_w;
  const float* bias;                     // or null
  int64_t bias_stride;
  float* y;                              // [n, out_h, out_w, groups * out_group]

  int64_t out_channels() const { return groups * out_group; }
  int64_t out_rows() const { return n * out_h; }
  int64_t taps() const { return kernel_h * kernel_w; }
};

// A rectangle of the output: panels (runs of output channels, as wide as the algorithm likes) by rows of pixels, the
// rows of all images numbered through.
struct Conv2dShare {
  int64_t panel_begin, panel_end, row_begin, row_end;
};

struct Conv2dAlgorithm {
  const char* name;
  bool (*accepts)(const Conv2dProblem&);
  int64_t (*panels)(const Conv2dProblem&);
  int64_t (*scratch_floats)(const Conv2dProblem&, const Conv2dShare&);
  // The result of an element does not depend on the share it is in.
  void (*run)(const Conv2dProblem&, const Conv2dShare&, float* scratch);
};

}  // namespace lucid
