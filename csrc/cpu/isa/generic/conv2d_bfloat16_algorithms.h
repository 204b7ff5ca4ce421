// The algorithms of conv2d in a plan of bfloat16, best first; the last accepts every shape.
#pragma once

#include "cpu/conv2d_problem.h"

namespace lucid::LUCID_ISA {

extern const Conv2dAlgorithm conv2d_bfloat16, conv2d_bfloat16_narrow;

constexpr const Conv2dAlgorithm* kConv2dBfloat16Algorithms[] = {&conv2d_bfloat16};

}  // namespace lucid::LUCID_ISA
