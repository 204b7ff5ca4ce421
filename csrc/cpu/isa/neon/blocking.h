// See isa/generic/blocking.h. Tiles for 32 registers of four lanes; sizes of memory are generic, since no AArch64
// processor was there to measure them on.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

// gemm_tile.h: 8 x 2 accumulators, 8 vectors of inputs of which an FMA takes a lane, and two weights at a time.
constexpr int kTileRows = 8;
constexpr int kTileVectors = 2;

constexpr int kGradientRows = 8;

constexpr int kGroupTile = 4;  // 139 loads and stores for 288 FMAs; 7 columns would take 371 for 504, which spill
constexpr int kSlidingTile = 14;

constexpr int kDotRows = 4;

constexpr int64_t kWholeInputBytes = 800 << 10;
constexpr int64_t kInputChunkBytes = 192 << 10;
constexpr int64_t kWeightBlockBytes = 1 << 20;
constexpr int64_t kSmallWeightBytes = 256 << 10;

constexpr int64_t kGroupedChunkBytes = 64 << 10;
constexpr int64_t kChannelsTogether = 64;

constexpr int64_t kWinogradInputBytes = 768 << 10;
constexpr int64_t kCachedWinogradBytes = 8 << 20;
constexpr int64_t kFewWinogradTiles = 16;
constexpr int64_t kOutputsOfFewWinogradTiles = 8;

constexpr int64_t kBfloat16ChunkBytes = 512 << 10;

template <int kTile>
constexpr int64_t kWinogradChunk = kTile == 4 ? 56 : 112;
template <int kTile>
constexpr int64_t kFewestWinogradTiles = kTile == 4 ? 32 : 16;

}  // namespace lucid::LUCID_ISA
