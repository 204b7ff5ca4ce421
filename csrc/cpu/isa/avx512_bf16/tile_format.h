// See isa/generic/tile_format.h. Two tiles of 7 rows of x are the 14 x 2 accumulators of gemm_tile.h.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

constexpr int64_t kTileTerms = 32;
constexpr int64_t kMostTileRows = 7;  // divides the widths 56, 28, 14 and 7
constexpr int64_t kProductOutputs = 32;
constexpr int64_t kTileRowBytes = 64, kTileBytes = kTileTerms / 2 * kTileRowBytes;  // of weights

}  // namespace lucid::LUCID_ISA
