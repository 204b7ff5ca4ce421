// Weights that an embedder has packed once, for many calls.
#pragma once

#include "core/memory.h"
#include "cpu/conv2d_problem.h"
#include "lucid.h"

struct lucid_conv2d_weights {
  const char* isa;
  const lucid::Conv2dAlgorithm* algorithm;
  lucid::Conv2dShape shape;
  bool has_bias;
  lucid::Scratch<char> packed;
};

namespace lucid {

// The weights fit a call: they were packed for its instruction set, algorithm (null for any) and geometry.
lucid_status check_prepared(const lucid_conv2d_weights& weights, const lucid_conv2d_args& args,
                            const Conv2dShape& shape);

}  // namespace lucid
