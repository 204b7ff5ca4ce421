// The operands of a call outside of a plan, as an algorithm takes them that packs none itself.
#pragma once

#include "core/memory.h"
#include "cpu/conv2d_problem.h"

namespace lucid {

class PackedOperands {
 public:
  // Memory for x in blocks of channels, with its padding and what the last tiles reach beyond it, unless it is read
  // where it lies: channels-last, without a block that is not full. And for the weights, unless they are prepared.
  PackedOperands(const Conv2d& p, const Conv2dAlgorithm& algorithm);
  bool allocated() const { return x_.data() != nullptr && weights_.data() != nullptr; }

  // Copies them on the threads that there are; p with the copies for operands.
  Conv2d pack(const Conv2d& p, const Conv2dAlgorithm& algorithm) const;

 private:
  void pack_weights(const Conv2d& p, const Conv2dAlgorithm& algorithm) const;
  InputView pack_x(const Conv2d& p) const;
  void pack_row(const Conv2d& p, int64_t channel, int64_t image, int64_t row) const;

  bool x_in_place_;
  int64_t h_, w_;  // of an image with its padding
  Scratch<float> x_;
  Scratch<char> weights_;
};

}  // namespace lucid
