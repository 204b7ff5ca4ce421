// A convolution as its algorithms see it, in four parts, of which a function takes those that it needs; and an
// algorithm.
#pragma once

#include <cstdint>

#include "core/geometry.h"
#include "cpu/layout.h"

namespace lucid {

// A float32 sum of more terms is cut into runs of at most so many, evenly: each is added up by itself, in order, and
// then added to the total. An error that grows with the number of terms stays that of a run.
constexpr int64_t kRunTerms = 256;

// What is read and written.
struct Conv2dOperands {
  InputView x;
  bool x_has_halo;      // the padding of x is there, as zeros around every image
  const float* weight;  // [groups * out_group, in_group, kernel_h, kernel_w], any strides
  int64_t weight_k, weight_c, weight_h, weight_w;
  const char* prepared;  // what Conv2dAlgorithm::prepare wrote, or null: weights are packed on the way
  OutputView y;

  LUCID_INLINE float weight_at(int64_t k, int64_t c, int64_t i, int64_t j) const {
    return weight[k * weight_k + c * weight_c + i * weight_h + j * weight_w];
  }
};

// What follows the sum of products: y = max(0, sum + bias + residual).
struct Conv2dEpilogue {
  const float* bias;  // or null
  int64_t bias_stride;
  OutputView residual;  // data may be null
  bool relu;
  // [rows()][out_channels()] for an algorithm with sums_rows: receives the sums of y over each row's pixels. Or null.
  float* row_sums;

  LUCID_INLINE float bias_at(int64_t k) const { return bias != nullptr ? bias[k * bias_stride] : 0.0f; }
};

// What decides, beside the shape, which algorithms may be chosen.
struct Conv2dOptions {
  bool winograd;  // whether the faster and less exact algorithms may be chosen
};

// Of an algorithm in bfloat16, instead of the float32 x, y and residual above. Channels that the last block of x lacks
// are finite, and those of y become zeros.
struct Conv2dBfloat16 {
  BlockedView<const Bfloat16> x;
  BlockedView<Bfloat16> y, residual;  // data of the residual may be null
};

struct Conv2d {
  Conv2dShape shape;
  Conv2dOperands operands;
  Conv2dEpilogue epilogue;
  Conv2dBfloat16 bfloat16 = {};
};

// A rectangle of the output: panels (runs of output channels) by rows of pixels, those of all images numbered through;
// the algorithm chooses the size of both.
struct Conv2dShare {
  int64_t panel_begin, panel_end, row_begin, row_end;
  const char* next;  // weights that this thread reads after this share, or null: prefetched under its last panel
  int64_t next_bytes;
};

struct Conv2dAlgorithm {
  const char* name;
  int64_t output_tile;  // rows and columns of y computed together: if x has a halo, it must cover whole tiles
  bool sums_rows;       // whether it can sum y up for a global pooling
  // Whether it takes x of any strides and raw weights; else the channels of a block of x must lie side by side, and
  // weights be prepared.
  bool packs_input;
  bool (*accepts)(const Conv2dShape&, const Conv2dOptions&);
  int64_t (*panels)(const Conv2dShape&);
  int64_t (*rows)(const Conv2dShape&);

  // The weights and the bias in the order in which the algorithm reads them: panel after panel, panel_bytes() apart.
  int64_t (*panel_bytes)(const Conv2dShape&);
  void (*prepare)(const Conv2d&, int64_t panel, char* prepared);

  // Reads no data; whether pointers are null, and strides, must be as they are for run.
  int64_t (*scratch_bytes)(const Conv2d&, const Conv2dShare&);
  // The result of an element does not depend on the share it is in.
  void (*run)(const Conv2d&, const Conv2dShare&, char* scratch);
};

}  // namespace lucid
