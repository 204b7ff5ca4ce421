// Sizes of tiles and of split operands.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

constexpr int64_t kTileTerms = 32;       // of the sum, that a tile instruction adds up
constexpr int64_t kMostTileRows = 16;    // that a tile can have
constexpr int64_t kProductOutputs = 32;  // two tiles side by side
constexpr int64_t kTileRowBytes = 64, kTileBytes = kMostTileRows * kTileRowBytes;
constexpr int64_t kSplitParts = 3;  // of a float32: high, mid and low

// Of a step of 32 terms: two tiles of x; two of weights, side by side.
constexpr int64_t kSplitXBytes = 2 * kSplitParts * kTileBytes, kSplitWeightBytes = kSplitXBytes;

}  // namespace lucid::LUCID_ISA
