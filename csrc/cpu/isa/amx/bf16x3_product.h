// Products of float32 matrices on the tile matrix unit, which multiplies bfloat16 and adds up in float32.
//
// A float32 has 24 significant bits and a bfloat16 has 8, so x = high + mid + low, exactly: each is what remains, cut
// off after 8 bits. Of the nine products of two such sums the six largest are formed; what is left out is below 2^-21
// of the whole, about as large as what rounding to float32 loses (Henry, Tang & Heinecke 2019,
// https://arxiv.org/abs/1904.06376; "bf16x3" is its name in BLAS libraries). Measured against float64, the error is
// half of an FMA loop's: a tile adds 32 terms before it rounds. An infinity gives NaN, being inf - inf.
//
// Six products take 3/8 of the time that FMAs would at their peak. Splitting 32 numbers takes 14 vector instructions;
// that of one step's operands stands between the tile instructions of the step before, while the unit is busy.
#pragma once

#include <bf16x3_finish.h>
#include <bf16x3_format.h>
#include <bf16x3_split.h>
#include <bf16x3_tiles.h>
#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

// y = x * weight, for one or two tiles of rows.
struct Bf16x3Product {
  Tiles* tiles;
  const float* x;
  const int64_t* places;   // [tiles * height]: where each row begins, floats from x; of every tile 16 are read
  int64_t block;           // floats from 16 terms of a row to the next 16
  int64_t height;          // rows of a tile
  int64_t steps;           // of 32 terms
  const float* weight;     // [steps * 32][32]
  char* split_x;           // [steps][tiles][3][16][32] of bfloat16
  char* split_weight;      // [steps][3][2][16][32]
  float* y;                // [tiles * height][32]
  FinishedRows* finished;  // of the product before: stored meanwhile
};

constexpr int64_t kSplitWeightBytes = 2 * kSplitParts * kTileBytes;  // of a step
template <int kTiles>
constexpr int64_t kSplitXBytes = kTiles * kSplitParts * kTileBytes;

// The gap `gap` of `kGaps` in the splitting of a step's operands.
template <int kGaps>
[[gnu::always_inline]] inline void split_weight(const Bf16x3Product& p, int64_t step, int64_t gap) {
#pragma GCC unroll 3
  for (int64_t i = 32 * gap / kGaps; i < 32 * (gap + 1) / kGaps; ++i) {
    const int64_t row = i / 2, half = i % 2;
    const float* even = p.weight + (step * kTileTerms + row) * kProductOutputs + half * 16;
    const float* odd = even + 16 * kProductOutputs;
    __builtin_prefetch(even + 2 * kTileTerms * kProductOutputs, 0, 2);
    __builtin_prefetch(odd + 2 * kTileTerms * kProductOutputs, 0, 2);
    split(F32::load(even), F32::load(odd),
          p.split_weight + step * kSplitWeightBytes + half * kTileBytes + row * kTileRowBytes, 2 * kTileBytes);
  }
}

template <int kGaps, int kTiles>
[[gnu::always_inline]] inline void split_x(const Bf16x3Product& p, int64_t step, int64_t gap) {
#pragma GCC unroll 3
  for (int64_t i = kTiles * 16 * gap / kGaps; i < kTiles * 16 * (gap + 1) / kGaps; ++i) {
    const int64_t tile = i / 16, row = i % 16;
    const float* even = p.x + p.places[tile * p.height + row] + 2 * step * p.block;
    const float* odd = even + p.block;
    __builtin_prefetch(odd + p.block);
    __builtin_prefetch(odd + 2 * p.block);
    split(F32::load(even), F32::load(odd),
          p.split_x + step * kSplitXBytes<kTiles> + tile * kSplitParts * kTileBytes + row * kTileRowBytes, kTileBytes);
  }
}

template <int kGaps>
[[gnu::always_inline]] inline void prefetch_some(const char* step, int64_t bytes, int64_t gap) {
  const int64_t lines = bytes / 64 / kGaps;
#pragma GCC unroll 8
  for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(step + (gap * lines + i) * 64);
}

// One gap after each product of two tiles: there the next step is split, or fetched if it is split already, and rows
// that are finished are stored.
template <int kTiles, bool kSplitX, bool kSplitWeight>
struct Gaps {
  static constexpr int kGaps = 12 * kTiles;
  const Bf16x3Product& p;
  FinishedRows& finished;

  [[gnu::always_inline]] void split_some(int64_t step, int64_t gap) const {
    if constexpr (kSplitWeight) split_weight<kGaps>(p, step, gap);
    if constexpr (kSplitX) split_x<kGaps, kTiles>(p, step, gap);
    keep_order();
  }
  [[gnu::always_inline]] void fill(int64_t step, int64_t gap) const {
    constexpr int64_t kX = kSplitXBytes<kTiles>;
    if (!kSplitX) prefetch_some<kGaps>(p.split_x + step * kX, kX, gap);
    if (!kSplitWeight) prefetch_some<kGaps>(p.split_weight + step * kSplitWeightBytes, kSplitWeightBytes, gap);
    if (!kSplitX && !kSplitWeight) space_out();
    if ((kSplitX || kSplitWeight) && step < p.steps) split_some(step, gap);
    if (finished.stored < finished.rows) finished.store_row();
    keep_order();
  }
};

// The six products of one step, smallest first, with what stands between them.
template <int kTiles, class Gap>
struct Bf16x3Step {
  Tiles& tiles;
  const Gap& gaps;
  const char *x, *weight;
  int64_t next;

  [[gnu::always_inline]] void load_x(int part) const {
    tiles.load_x<0>(x + part * kTileBytes);
    space_out();
    if constexpr (kTiles == 2) {
      tiles.load_x<1>(x + (kSplitParts + part) * kTileBytes);
      space_out();
    }
  }
  [[gnu::always_inline]] void load_weight(int part) const {
    tiles.load_weight<0>(weight + 2 * part * kTileBytes);
    space_out();
    tiles.load_weight<1>(weight + (2 * part + 1) * kTileBytes);
    space_out();
  }
  [[gnu::always_inline]] void multiply(int64_t group) const {
    const int64_t gap = 2 * kTiles * group;
    tiles.multiply<0, 0>();
    gaps.fill(next, gap);
    tiles.multiply<0, 1>();
    gaps.fill(next, gap + 1);
    if constexpr (kTiles == 2) {
      tiles.multiply<1, 0>();
      gaps.fill(next, gap + 2);
      tiles.multiply<1, 1>();
      gaps.fill(next, gap + 3);
    }
  }
  [[gnu::always_inline]] void run() const {
    load_x(0);
    load_weight(2);
    multiply(0);  // high * low
    load_weight(1);
    multiply(1);  // high * mid
    load_x(1);
    multiply(2);  // mid * mid
    load_weight(0);
    multiply(3);  // mid * high
    load_x(2);
    multiply(4);  // low * high
    load_x(0);
    multiply(5);  // high * high
  }
};

// With kSplitX and kSplitWeight, the split operands are formed on the way; else they are there already.
template <int kTiles, bool kSplitX, bool kSplitWeight>
[[gnu::noinline]] void bf16x3_product(const Bf16x3Product& p) {
  const Gaps<kTiles, kSplitX, kSplitWeight> gaps{p, *p.finished};
  if (kSplitX || kSplitWeight)
#pragma GCC unroll 24
    for (int64_t gap = 0; gap < gaps.kGaps; ++gap) gaps.split_some(0, gap);
  Tiles& tiles = *p.tiles;
  tiles.clear_sums();
  const char *x = p.split_x, *weight = p.split_weight;
  for (int64_t next = 1; next <= p.steps; ++next) {
    Bf16x3Step<kTiles, decltype(gaps)>{tiles, gaps, x, weight, next}.run();
    x += kSplitXBytes<kTiles>;
    weight += kSplitWeightBytes;
  }
  gaps.finished.store();
  tiles.store_sums<0>(p.y);
  if constexpr (kTiles == 2) tiles.store_sums<1>(p.y + p.height * kProductOutputs);
  keep_order();
}

template <int kTiles>
void run_bf16x3_product(const Bf16x3Product& p, bool split_x, bool split_weight) {
  if (split_x)
    split_weight ? bf16x3_product<kTiles, true, true>(p) : bf16x3_product<kTiles, true, false>(p);
  else
    split_weight ? bf16x3_product<kTiles, false, true>(p) : bf16x3_product<kTiles, false, false>(p);
}

}  // namespace lucid::LUCID_ISA
