// Sizes of split operands.
#pragma once

#include <tile_format.h>

namespace lucid::LUCID_ISA {

constexpr int64_t kSplitParts = 3;  // of a float32: high, mid and low

// Of a step of 32 terms: two tiles of x; two of weights, side by side.
constexpr int64_t kSplitXBytes = 2 * kSplitParts * kTileBytes, kSplitWeightBytes = kSplitXBytes;

}  // namespace lucid::LUCID_ISA
