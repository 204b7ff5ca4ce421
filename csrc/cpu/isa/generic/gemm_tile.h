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

// Where a tile's pixels lie in y or in the residual; from `split` on they are those of the next row of the image, which
// is `gap` floats further than it would be if rows had no halo.
struct TileTarget {
  float* data;
  int64_t pixel;   // floats between pixels
  int64_t vector;  // between the vectors of a pixel
  int64_t split, gap;

  // Calls body(at), where at(m, v) is the place of vector v of pixel m. Few tiles have a gap, and looking for it at
  // each pixel takes 2 % of a sum of 128 terms.
  template <class Body>
  [[gnu::always_inline]] void visit(const Body& body) const {
    float* const first = data;
    const int64_t step = pixel, next = vector, row_end = split, skip = gap;
    if (skip == 0)
      body([=](int m, int v) [[gnu::always_inline]] { return first + m * step + v * next; });
    else
      body([=](int m, int v)
               [[gnu::always_inline]] { return first + m * step + v * next + (m >= row_end ? skip : 0); });
  }
};

// The prefetch address advances once per this many terms of the sum.
constexpr int kPrefetchTerms = 4;

struct GemmTile {
  const float* a;
  int64_t second_row;  // with kTwoRows: floats from the first pixel to that of the second half
  const int64_t* offsets;
  int64_t blocks;
  const float* weight;  // [blocks * kBlock][kVectors * F32::kLanes]
  const float* bias;    // [kVectors * F32::kLanes]
  TileTarget y;
  const TileTarget* residual;  // or null; `y` to add to what lies there
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
  if (t.residual != nullptr)
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v += kVectorsInLine)
        __builtin_prefetch(t.residual->data + m * t.residual->pixel + v * t.residual->vector);
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
  if (t.residual != nullptr) t.residual->visit([&](const auto& at) [[gnu::always_inline]] { add_residual(sums, at); });
  t.y.visit([&](const auto& at) [[gnu::always_inline]] { store_tile(sums, t.relu, at); });
}

// Tile heights below the full one. Whole blocks of channels, which nearly every layer has, get all of them; the rest
// make do with halves, since every height costs a second of compilation and a kilobyte.
template <int kBlock>
constexpr int lower_height(int rows) {
  return kBlock == InputView::kBlock ? rows - 1 : rows / 2;
}

// How many of the `left` pixels the next tile takes: where all heights are there as many as every other one, since
// 8 + 8 rows run faster than 14 + 2, and three rows of two vectors do not keep two FMA units busy.
template <int kBlock>
int64_t next_tile_rows(int64_t left) {
  if (kBlock == InputView::kBlock) return ceil_div(left, ceil_div(left, kTileRows));
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

}  // namespace lucid::LUCID_ISA
