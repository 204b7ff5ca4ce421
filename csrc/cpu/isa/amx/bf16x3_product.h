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

#include <immintrin.h>
#include <stdint.h>

#include "vec.h"

namespace lucid::LUCID_ISA {

constexpr int64_t kTileTerms = 32;                     // of the sum, that a tile instruction adds up
constexpr int64_t kMostTileRows = 16;                  // that a tile can have
constexpr int64_t kProductOutputs = 32;                // two tiles side by side
constexpr int64_t kTileBytes = 1024, kSplitParts = 3;  // of bfloat16; high, mid and low

// How many rows the tiles should have that hold `rows` in all. An instruction takes the time of its rows and of about
// four more (7.4 ns for 16, 6.3 for 12, 4.9 for 8).
inline int64_t tile_height(int64_t rows) {
  int64_t best = kMostTileRows, lowest = INT64_MAX;
  for (int64_t height = kMostTileRows; height >= kMostTileRows / 2; --height) {
    const int64_t time = (rows + height - 1) / height * (height + 4);
    if (time < lowest) lowest = time, best = height;
  }
  return best;
}

// Sets the matrix unit up for tiles of `height` rows, as long as it lives.
class TileConfiguration {
 public:
  explicit TileConfiguration(int64_t height) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } tiles;
    for (int i = 0; i < 6; ++i) tiles.rows[i] = static_cast<uint8_t>(height);  // all but those of weights
    asm volatile("ldtilecfg %0" ::"m"(tiles));  // _tile_loadconfig of GCC 12 has 8 bytes written only
  }
  ~TileConfiguration() { _tile_release(); }
  TileConfiguration(const TileConfiguration&) = delete;
  TileConfiguration& operator=(const TileConfiguration&) = delete;
};

// Splits 16 pairs of terms; of a pair, `even` comes into the lower half of 32 bits and `odd` into the upper.
[[gnu::always_inline]] inline void split(F32 even, F32 odd, char* to, int64_t part_bytes) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  __m512i a = _mm512_castps_si512(even.v), b = _mm512_castps_si512(odd.v);
  const auto pack = [&] { return _mm512_ternarylogic_epi32(upper, b, _mm512_srli_epi32(a, 16), 0xca); };
  const auto cut_off = [&](__m512i x) {
    return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(_mm512_and_si512(x, upper))));
  };
  _mm512_storeu_si512(to, pack());
  a = cut_off(a), b = cut_off(b);
  _mm512_storeu_si512(to + part_bytes, pack());
  a = cut_off(a), b = cut_off(b);
  _mm512_storeu_si512(to + 2 * part_bytes, pack());
}

// A finished product on its way out: y = max(floor, product + bias + residual), row by row.
struct FinishedRows {
  const float *product, *bias;  // [rows][32], [32]
  const float* residual;        // or null
  float* y;
  const int64_t *y_places, *residual_places;  // of the rows, in floats
  int64_t y_block, residual_block;            // floats between the halves of a row
  float floor;
  int64_t rows, stored;

  [[gnu::always_inline]] void store_row() {
    const int64_t m = stored++;
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      F32 value = F32::load(product + m * kProductOutputs + half * 16) + F32::load(bias + half * 16);
      if (residual != nullptr) value = value + F32::load(residual + residual_places[m] + half * residual_block);
      max(F32::broadcast(floor), value).store(y + y_places[m] + half * y_block);
    }
  }
  void store() {
    while (stored < rows) store_row();
  }
};

// y = x * weight, for one or two tiles of rows.
struct Bf16x3Product {
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

// With kSplitX and kSplitWeight, the split operands are formed on the way; else they are there already.
template <int kTiles, bool kSplitX, bool kSplitWeight>
[[gnu::noinline]] void bf16x3_product(const Bf16x3Product& p) {
  constexpr int64_t kStepX = kTiles * kSplitParts * kTileBytes, kStepWeight = 2 * kSplitParts * kTileBytes;
  constexpr int64_t kGaps = 12 * kTiles;  // one after each product of tiles
  FinishedRows& finished = *p.finished;

  // The share of a gap in the splitting of a step.
  const auto split_some = [&](int64_t step, int64_t gap) __attribute__((always_inline)) {
    if constexpr (kSplitWeight) {
#pragma GCC unroll 3
      for (int64_t i = 32 * gap / kGaps; i < 32 * (gap + 1) / kGaps; ++i) {
        const int64_t row = i / 2, half = i % 2;
        const float* even = p.weight + (step * kTileTerms + row) * kProductOutputs + half * 16;
        const float* odd = even + 16 * kProductOutputs;
        __builtin_prefetch(even + 2 * kTileTerms * kProductOutputs, 0, 2);
        __builtin_prefetch(odd + 2 * kTileTerms * kProductOutputs, 0, 2);
        split(F32::load(even), F32::load(odd), p.split_weight + step * kStepWeight + half * kTileBytes + row * 64,
              2 * kTileBytes);
      }
    }
    if constexpr (kSplitX) {
#pragma GCC unroll 3
      for (int64_t i = kTiles * 16 * gap / kGaps; i < kTiles * 16 * (gap + 1) / kGaps; ++i) {
        const int64_t tile = i / 16, row = i % 16;
        const float* even = p.x + p.places[tile * p.height + row] + 2 * step * p.block;
        const float* odd = even + p.block;
        __builtin_prefetch(odd + p.block);
        __builtin_prefetch(odd + 2 * p.block);
        split(F32::load(even), F32::load(odd), p.split_x + step * kStepX + tile * kSplitParts * kTileBytes + row * 64,
              kTileBytes);
      }
    }
    keep_order();
  };
  const auto prefetch_some = [&](const char* step, int64_t bytes, int64_t gap) __attribute__((always_inline)) {
    const int64_t lines = bytes / 64 / kGaps;
#pragma GCC unroll 8
    for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(step + (gap * lines + i) * 64);
  };
  // Between two tile instructions stand at least 4 others, between two products 8: back to back these take 17 ns each,
  // apart 10, wherever a hyperthread shares the core (alone, 7 either way). What stands there otherwise serves as well.
  const auto space_out = [] __attribute__((always_inline)) { asm volatile("nop\nnop\nnop\nnop"); };
  const auto fill_gap = [&](int64_t step, int64_t gap) __attribute__((always_inline)) {
    if (!kSplitX) prefetch_some(p.split_x + step * kStepX, kStepX, gap);
    if (!kSplitWeight) prefetch_some(p.split_weight + step * kStepWeight, kStepWeight, gap);
    if (!kSplitX && !kSplitWeight) space_out();
    if ((kSplitX || kSplitWeight) && step < p.steps) split_some(step, gap);
    if (finished.stored < finished.rows) finished.store_row();
    keep_order();
  };
  const char *x = p.split_x, *weight = p.split_weight;
  const auto load_x = [&](int part) __attribute__((always_inline)) {
    _tile_loadd(4, x + part * kTileBytes, 64);
    space_out();
    if (kTiles == 2) {
      _tile_loadd(5, x + (kSplitParts + part) * kTileBytes, 64);
      space_out();
    }
  };
  const auto load_weight = [&](int part) __attribute__((always_inline)) {
    _tile_loadd(6, weight + 2 * part * kTileBytes, 64);
    space_out();
    _tile_loadd(7, weight + (2 * part + 1) * kTileBytes, 64);
    space_out();
  };
  const auto multiply = [&](int64_t next_step, int64_t group) __attribute__((always_inline)) {
    const int64_t gap = 2 * kTiles * group;
    _tile_dpbf16ps(0, 4, 6);
    fill_gap(next_step, gap);
    _tile_dpbf16ps(1, 4, 7);
    fill_gap(next_step, gap + 1);
    if (kTiles == 2) {
      _tile_dpbf16ps(2, 5, 6);
      fill_gap(next_step, gap + 2);
      _tile_dpbf16ps(3, 5, 7);
      fill_gap(next_step, gap + 3);
    }
  };

  if (kSplitX || kSplitWeight)
#pragma GCC unroll 24
    for (int64_t gap = 0; gap < kGaps; ++gap) split_some(0, gap);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t next_step = 1; next_step <= p.steps; ++next_step) {
    load_x(0);
    load_weight(2);
    multiply(next_step, 0);  // high * low
    load_weight(1);
    multiply(next_step, 1);  // high * mid
    load_x(1);
    multiply(next_step, 2);  // mid * mid
    load_weight(0);
    multiply(next_step, 3);  // mid * high
    load_x(2);
    multiply(next_step, 4);  // low * high
    load_x(0);
    multiply(next_step, 5);  // high * high
    x += kStepX;
    weight += kStepWeight;
  }
  finished.store();
  constexpr int64_t kRowBytes = kProductOutputs * sizeof(float);
  _tile_stored(0, p.y, kRowBytes);
  _tile_stored(1, p.y + 16, kRowBytes);
  if (kTiles == 2) {
    float* second = p.y + p.height * kProductOutputs;
    _tile_stored(2, second, kRowBytes);
    _tile_stored(3, second + 16, kRowBytes);
  }
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
