// See isa/generic/blocking.h. Sizes for 32 registers.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

// 14 x 2 accumulators leave four of 32 registers for two weights and two broadcasts. 9 x 3 and 6 x 4 tie with it on
// 1x1 convolutions; 6 x 4 loses 12-30 % on 3x3 at 14x14 and 7x7.
constexpr int kTileRows = 14;
constexpr int kTileVectors = 2;

constexpr int kGradientRows = 8;

constexpr int kGroupTile = 7;  // divides the widths 56, 28, 14 and 7
constexpr int kSlidingTile = 14;

constexpr int kDotRows = 4;

constexpr int64_t kWholeInputBytes = 800 << 10;
constexpr int64_t kInputChunkBytes = 192 << 10;
constexpr int64_t kWeightBlockBytes = 1 << 20;
constexpr int64_t kSmallWeightBytes = 256 << 10;

constexpr int64_t kGroupedChunkBytes = 64 << 10;
constexpr int64_t kChannelsTogether = 64;

constexpr int64_t kWinogradInputBytes = 1024 << 10;
constexpr int64_t kCachedWinogradBytes = 8 << 20;
constexpr int64_t kFewWinogradTiles = 16;
constexpr int64_t kOutputsOfFewWinogradTiles = 128;

constexpr int64_t kBfloat16ChunkBytes = 512 << 10;

template <int kTile>
constexpr int64_t kWinogradChunk = kTile == 4 ? 56 : 112;
template <int kTile>
constexpr int64_t kFewestWinogradTiles = kTile == 4 ? 32 : 16;  // more than 20x20; 7x7

}  // namespace lucid::LUCID_ISA
