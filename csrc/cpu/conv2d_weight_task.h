// What a task of conv2d_backward_weight computes.
#pragma once

#include <stdint.h>

#include "cpu/integers.h"
#include "cpu/kernels.h"

namespace lucid::LUCID_ISA {

// Channels of a group, or in narrow groups of several.
struct WeightTask {
  int64_t group, k_block, k_blocks, c_block, c_blocks;  // blocks of the group
  int64_t outputs, inputs;                              // channels of those blocks
  int64_t k, c;                                         // the first of them in dy and x

  WeightTask(const Conv2dBackwardWeight& p, int64_t index) {
    const Conv2dShape& s = p.shape;
    c_block = index % p.c_tasks() * p.c_together;
    k_block = index / p.c_tasks() % p.k_tasks() * p.k_together;
    group = index / p.c_tasks() / p.k_tasks();
    k_blocks = min(p.k_together, p.k_blocks() - k_block);
    outputs = min(k_blocks * p.block, (p.narrow() ? s.out_channels() : s.out_group) - k_block * p.block);
    k = group * s.out_group + k_block * p.block;
    if (p.narrow()) {
      c_blocks = k_blocks, inputs = outputs, c = k;
    } else {
      c_blocks = min(p.c_together, p.c_blocks() - c_block);
      inputs = min(c_blocks * p.block, s.in_group - c_block * p.block);
      c = group * s.in_group + c_block * p.block;
    }
  }
};

}  // namespace lucid::LUCID_ISA
