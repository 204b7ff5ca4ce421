// The register tile under every dense convolution: kRows pixels by kVectors vectors of output channels,
//
//   y[m][o] = bias[o] + sum over blocks i, channels j of a[offsets[i] + m * kStep + j] * weight[i * kBlock + j][o]
//
// and then, if asked, + residual[m][o] and max(0, .). A "block" is kBlock channels of a pixel that lie together,
// kStep floats from those of the next pixel. The offset table says where the block of each tap and channel range
// begins, so one tile serves 1x1, 3x3, strided, dilated and stem convolutions without edge code.
// The sum over i and j runs in order into one accumulator, or in runs: a result does not depend on the tile it is in.
#pragma once

#include <blocking.h>
#include <gemm_terms.h>
#include <stdint.h>
#include <vec.h>

#include "cpu/epilogue.h"
#include "cpu/integers.h"

namespace lucid::LUCID_ISA {

// Where a tile's pixels lie in y or in the residual.
struct TileTarget {
  float* data;
  int64_t pixel;       // floats between pixels
  int64_t vector;      // between the vectors of a pixel
  int64_t second_row;  // with kTwoRows: from the first pixel to that of the second half

  template <int kRows, bool kTwoRows>
  float* at(int m, int v) const {
    constexpr int kHalf = kRows / 2;
    const int64_t offset = kTwoRows && m >= kHalf ? second_row + (m - kHalf) * pixel : m * pixel;
    return data + offset + v * vector;
  }
};

// The prefetch address advances once per this many terms of the sum.
constexpr int kPrefetchTerms = 4;

struct GemmTile {
  const float* a;
  int64_t second_row;  // with kTwoRows: floats from the first pixel to that of the second half
  const int64_t* offsets;
  int64_t blocks;
  const float* weight;     // [blocks * kBlock][kVectors * F32::kLanes]
  const float* bias;       // [kVectors * F32::kLanes]
  TileTarget y, residual;  // residual.data may be null
  bool relu;
  // Data that the next tiles need and that is not in L1 or L2 yet: from here, `prefetch_step` bytes further every
  // kPrefetchTerms terms, and `prefetch_block` bytes further every block.
  const char* prefetch;
  int64_t prefetch_step, prefetch_block;
};

// kTwoRows takes the first half of the pixels from one image row and the second from the next: a row of 7 pixels
// would leave half of a 14-row tile empty.
template <int kRows, int kVectors, int kBlock, int kStep, bool kTwoRows>
[[gnu::noinline]] void gemm_tile(const GemmTile& t) {
  constexpr int kUnroll = kBlock % kPrefetchTerms == 0 ? kPrefetchTerms : 1;
  constexpr int kHalf = kRows / 2;
  constexpr int kVectorsInLine = static_cast<int>(min(OutputView::kBlock / F32::kLanes, kVectors));
  const int64_t second_row = t.second_row;
  F32 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::load(t.bias + v * F32::kLanes);
  // A residual from memory arrives while the sums are formed.
  if (t.residual.data != nullptr)
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v += kVectorsInLine)
        __builtin_prefetch(t.residual.template at<kRows, kTwoRows>(m, v));
  const float* weight = t.weight;
  const char* prefetch_block = t.prefetch;
  const int64_t prefetch_step = t.prefetch_step;
  for (int64_t i = 0; i < t.blocks; ++i) {
    const float* a = t.a + t.offsets[i];
    const char* prefetch = prefetch_block;
    prefetch_block += t.prefetch_block;
    for (int j = 0; j < kBlock; j += kUnroll) {
      const auto pixel = [=](int m) [[gnu::always_inline]] {
        return kTwoRows && m >= kHalf ? a + second_row + (m - kHalf) * kStep : a + m * kStep;
      };
      add_terms<kUnroll>(sums, pixel, weight, prefetch, prefetch_step);
      if (kUnroll > 1) prefetch += prefetch_step;
      a += kUnroll;
      weight += kUnroll * kVectors * F32::kLanes;
    }
  }
  if (t.residual.data != nullptr)
    add_residual(sums, [&](int m, int v) { return t.residual.template at<kRows, kTwoRows>(m, v); });
  store_tile(sums, t.relu, [&](int m, int v) { return t.y.template at<kRows, kTwoRows>(m, v); });
}

// Tile heights below the full one. Whole blocks of channels, which nearly every layer has, get all of them; the rest
// make do with halves, since every height costs a second of compilation and a kilobyte.
template <int kBlock>
constexpr int lower_height(int rows) {
  return kBlock == InputView::kBlock ? rows - 1 : rows / 2;
}

// How many of the `left` pixels the next tile takes. A tail shorter than half a tile is evened out over two tiles where
// all heights are there: 8 + 8 rows run faster than 14 + 2.
template <int kBlock>
int64_t next_tile_rows(int64_t left) {
  if (kBlock == InputView::kBlock && left > kTileRows && left < kTileRows + kTileRows / 2) return (left + 1) / 2;
  int rows = kTileRows;
  while (rows > left) rows = lower_height<kBlock>(rows);
  return rows;
}

// Runs the tile of `rows` rows, which next_tile_rows gave.
template <int kVectors, int kBlock, int kStep, int kRows = kTileRows>
void run_gemm_tile(int64_t rows, const GemmTile& t) {
  if constexpr (kRows > 1)
    if (rows < kRows) return run_gemm_tile<kVectors, kBlock, kStep, lower_height<kBlock>(kRows)>(rows, t);
  gemm_tile<kRows, kVectors, kBlock, kStep, false>(t);
}

// The same for sums that are too long for one accumulator (kRunTerms): tile by tile, `run(tile)` adds a run of blocks
// to the totals, of which the first is the bias and the residual. `totals` has room for the tile.
template <int kRows, int kVectors, int kBlock, class Run>
void gemm_in_runs(const GemmTile& t, float* totals, const Run& run) {
  constexpr int64_t kWidth = kVectors * F32::kLanes, kMostBlocks = kRunTerms / kBlock;
  static constexpr float kNoBias[kWidth] = {};
  const int64_t each = ceil_div(t.blocks, ceil_div(t.blocks, kMostBlocks));
  if (each == t.blocks) return run(t);
  GemmTile part = t;
  const TileTarget kept{totals, kWidth, F32::kLanes, kRows / 2 * kWidth};
  for (int64_t first = 0; first < t.blocks; first += each) {
    const bool last = first + each >= t.blocks;
    part.offsets = t.offsets + first;
    part.blocks = min(each, t.blocks - first);
    part.weight = t.weight + first * kBlock * kWidth;
    part.prefetch = t.prefetch + first * t.prefetch_block;
    part.y = last ? t.y : kept;
    part.relu = last && t.relu;
    run(part);
    part.bias = kNoBias;
    part.residual = kept;
  }
}

}  // namespace lucid::LUCID_ISA
