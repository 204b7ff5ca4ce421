// Weights that an embedder has packed once, for many calls.
#pragma once

#include <memory>

#include "core/memory.h"
#include "cpu/conv2d_problem.h"
#include "lucid.h"
#include "ops/conv2d_cuda.h"

struct lucid_conv2d_weights {
  const char* isa;
  const lucid::Conv2dAlgorithm* algorithm;
  lucid::Conv2dShape shape;
  bool has_bias;
  lucid::Scratch<char> packed;
  std::unique_ptr<lucid::CudaConv2dWeights> on_cuda;  // instead of isa, algorithm and packed; or null
};

namespace lucid {

// The weights fit a call: they were packed for its device, instruction set, dtype, algorithm (null for any) and
// geometry.
lucid_status check_prepared(const lucid_conv2d_weights& weights, const lucid_conv2d_args& args,
                            const Conv2dShape& shape);

}  // namespace lucid
