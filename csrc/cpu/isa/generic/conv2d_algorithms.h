// The algorithms of conv2d and of its weights' gradient, best first: the first that accepts a problem computes it.
#pragma once

#include "cpu/conv2d_problem.h"
#include "cpu/kernels.h"

namespace lucid::LUCID_BASE {

extern const Conv2dAlgorithm conv2d_grouped_3x3, conv2d_grouped, conv2d_winograd_4x4, conv2d_winograd_2x2, conv2d_dense;

constexpr const Conv2dAlgorithm* kConv2dAlgorithms[] = {
    &conv2d_grouped_3x3,   // 1, 2, 4, 8 or 16 channels a group
    &conv2d_grouped,       // up to 8, with any window
    &conv2d_winograd_4x4,  // 3x3, where a plan allows it
    &conv2d_winograd_2x2,
    &conv2d_dense,  // everything
    nullptr,
};

extern const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_fma;

constexpr const Conv2dBackwardWeightAlgorithm* kConv2dBackwardWeightAlgorithms[] = {&conv2d_backward_weight_fma,
                                                                                    nullptr};

}  // namespace lucid::LUCID_BASE
