// See isa/generic/conv2d_algorithms.h.
#pragma once

#include "cpu/conv2d_problem.h"
#include "cpu/kernels.h"

namespace lucid::LUCID_BASE {

extern const Conv2dAlgorithm conv2d_grouped_3x3, conv2d_grouped, conv2d_pointwise_bf16x3, conv2d_winograd_4x4,
    conv2d_winograd_2x2, conv2d_dense;

constexpr const Conv2dAlgorithm* kConv2dAlgorithms[] = {
    &conv2d_grouped_3x3,      &conv2d_grouped,
    &conv2d_pointwise_bf16x3,  // 1x1 on the matrix unit
    &conv2d_winograd_4x4,     &conv2d_winograd_2x2, &conv2d_dense, nullptr,
};

extern const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_bf16x3, conv2d_backward_weight_fma;

constexpr const Conv2dBackwardWeightAlgorithm* kConv2dBackwardWeightAlgorithms[] = {
    &conv2d_backward_weight_bf16x3,  // on the matrix unit
    &conv2d_backward_weight_fma,
    nullptr,
};

}  // namespace lucid::LUCID_BASE
