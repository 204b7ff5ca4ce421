// Kernels read and write channels-last images without gaps; these stand between them and a caller's strides.
#pragma once

#include "core/memory.h"
#include "core/tensor_view.h"
#include "cpu/layout.h"

namespace lucid {

// An image of these sizes at `data`, channels-last without gaps, for a kernel.
template <class Float>
BlockedView<Float> channels_last(Float* data, const ImageView& v) {
  return {.data = data, .block = BlockedView<Float>::kBlock, .image = v.h * v.w * v.c, .row = v.w * v.c, .pixel = v.c};
}

// A view's own memory where it is channels-last already, else a copy in that order; null when there was no memory.
class StagedInput {
 public:
  explicit StagedInput(const ImageView& view);
  const float* data() const { return data_; }

 private:
  Scratch<float> copy_;
  const float* data_;
};

// Where a kernel writes; finish() brings it to the view if the view is laid out otherwise.
class StagedOutput {
 public:
  explicit StagedOutput(const ImageView& view);
  float* data() const { return data_; }
  void finish() const;

 private:
  ImageView view_;
  Scratch<float> copy_;
  float* data_;
};

}  // namespace lucid
