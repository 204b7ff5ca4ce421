// See isa/generic/blocking.h. Sizes for the matrix unit, beside those of AVX-512.
#pragma once

#include "cpu/isa/avx512/blocking.h"

namespace lucid::LUCID_ISA {

// conv2d_pointwise_bf16x3.cpp: steps of 32 terms that are multiplied before the others, where x or weights come to
// those that stay, so that they stay in an L1 of 48 KB. With 4 steps of weights, too, the sums that wait take 5 % more
// time.
constexpr int64_t kStepsOfX = 4, kStepsOfWeights = 8;
// Split weights, or split x, that stay in an L2 of 2 MB. 1200 KB of x take 20 % more time at batch 8.
constexpr int64_t kSplitWeightsBytes = 1200 << 10, kSplitInputBytes = 768 << 10;
constexpr int64_t kPlacedPairs = 16;  // of tiles, whose places are known
// Below this many weights splitting costs more than it saves: 64 to 64 channels at 56x56 0.22 ms after 0.15, 64 to 128
// 0.35 after 0.30, but 256 to 64 0.50 after 0.55.
constexpr int64_t kFewestSplitWeights = 16384;

// conv2d_backward_weight_bf16x3.cpp: pixels of a chunk. Of 512 channels each of x and dy, 128 pixels take 0.8 MB beside
// 1 MB of totals. Rows of a window end in zeros, and a chunk in part of a step: longer ones waste less.
constexpr int64_t kPointwisePixels = 128;
constexpr int64_t kWindowPixels = 512;

}  // namespace lucid::LUCID_ISA
