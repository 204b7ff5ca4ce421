// Every tile and block size of the kernels, for 16 registers: also those of AVX2.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

// gemm_tile.h: rows of pixels by vectors of outputs. 6 x 2 accumulators leave four of 16 registers for two weights and
// two broadcasts (or a broadcast and a product, without FMA).
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

// conv2d_backward_weight.cpp: channels of x by two vectors of dy, or twice as many by one.
constexpr int kGradientRows = 4;

// group_tile.h: pixels of each of two rows: 8 accumulators. sliding_tile.h: pixels of one row.
constexpr int kGroupTile = 4;
constexpr int kSlidingTile = 7;

// linear.cpp: rows, by four outputs.
constexpr int kDotRows = 2;

// conv2d_dense.cpp: an L2 of 1 to 2 MB holds a whole input and a panel, or the weights and a chunk.
constexpr int64_t kWholeInputBytes = 800 << 10;
constexpr int64_t kInputChunkBytes = 192 << 10;
constexpr int64_t kWeightBlockBytes = 1 << 20;
constexpr int64_t kSmallWeightBytes = 256 << 10;

// conv2d_grouped.cpp: one block's chunk; 256 bytes of a pixel are packed at once, whole pairs of cache lines.
constexpr int64_t kGroupedChunkBytes = 64 << 10;
constexpr int64_t kChannelsTogether = 64;

// conv2d_winograd.cpp: transformed input; with the weights and the products it must stay in an L2 of 2 MB.
constexpr int64_t kWinogradInputBytes = 1024 << 10;

// conv2d_winograd.cpp: transformed weights that no cache keeps, from images of so few tiles, are computed for each use.
// At 14x14, the 9.4 MB of 256 to 512 channels in 2 groups are read in 0.34 ms and computed in 0.36, those of 512 to
// 1024 channels in 1.65 and 1.47.
constexpr int64_t kCachedWinogradBytes = 12 << 20;
constexpr int64_t kFewWinogradTiles = 16;

// Fewer outputs than this are not worth the transform of an input of so few tiles. With AVX-512, 32 channels a group at
// 7x7 take 0.085 ms by F(2x2), and 0.061 without.
constexpr int64_t kOutputsOfFewWinogradTiles = 8;

// conv2d_bfloat16.cpp: x of a chunk, which all panels read; with weights and y in an L2 of 2 MB.
constexpr int64_t kBfloat16ChunkBytes = 512 << 10;

// winograd_transform.h, by the size of an output tile: tiles of a chunk, and of an image that is worth it.
template <int kTile>
constexpr int64_t kWinogradChunk = kTile == 4 ? 56 : 112;
template <int kTile>
constexpr int64_t kFewestWinogradTiles = 16;  // 13x13; 7x7

}  // namespace lucid::LUCID_ISA
