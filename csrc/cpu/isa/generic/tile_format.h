// Sizes of the products of bfloat16 matrices: those of the tile registers of a matrix unit.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

constexpr int64_t kTileTerms = 32;       // of the sum, that a tile instruction adds up
constexpr int64_t kMostTileRows = 16;    // that a tile can have
constexpr int64_t kProductOutputs = 32;  // two tiles side by side
constexpr int64_t kTileRowBytes = 64, kTileBytes = kMostTileRows * kTileRowBytes;

}  // namespace lucid::LUCID_ISA
