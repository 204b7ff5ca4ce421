// Products of float32 matrices on the tile matrix unit, which multiplies bfloat16 and adds up in float32.
//
// A float32 has 24 significant bits and a bfloat16 has 8, so x = high + mid + low, exactly: each is what remains, cut
// off after 8 bits. Of the nine products of two such sums the six largest are formed; what is left out is below 2^-21
// of the whole, about as large as what rounding to float32 loses (Henry, Tang & Heinecke 2019,
// https://arxiv.org/abs/1904.06376; "bf16x3" is its name in BLAS libraries). Measured against float64, the error is
// half of an FMA loop's: a tile adds 32 terms before it rounds. An infinity gives NaN, being inf - inf.
//
// Six products take 3/8 of the time that FMAs would at their peak. Both operands are split beforehand. Loads, also from
// L2, and up to 30 other vector instructions a product cost nothing, as long as what they touch is in L1; a store to a
// line of L2 costs some 4 cycles, of the 16 that a product takes.
#pragma once

#include <bf16x3_format.h>
#include <bf16x3_tiles.h>
#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

// Where 32 terms of a split operand lie, in bytes from each to the next: in three parts, two tiles each. A row of x has
// 32 terms of a pixel, one of the weights two of 16 outputs.
struct SplitTerms {
  const char* data = nullptr;
  int64_t row = 0, part = 0, tile = 0;

  [[gnu::always_inline]] const char* at(int64_t of_tile, int64_t of_part) const {
    return data + of_tile * tile + of_part * part;
  }
};
// Of kSplitXBytes and of kSplitWeightBytes, without gaps.
[[gnu::always_inline]] inline SplitTerms split_x_at(const char* data) {
  return {data, kTileRowBytes, kTileBytes, kSplitParts * kTileBytes};
}
[[gnu::always_inline]] inline SplitTerms split_weight_at(const char* data) {
  return {data, kTileRowBytes, 2 * kTileBytes, kTileBytes};
}

// The six products of one step, smallest first; after each product of two tiles, `gap(i)` does other work.
template <int kTiles, class Gap>
struct Bf16x3Step {
  Tiles& tiles;
  const Gap& gap;
  const SplitTerms x, weight;  // rows of weights lie side by side

  [[gnu::always_inline]] void load_x(int part) const {
    tiles.load_x<0>(x.at(0, part), x.row);
    space_out();
    if constexpr (kTiles == 2) {
      tiles.load_x<1>(x.at(1, part), x.row);
      space_out();
    }
  }
  [[gnu::always_inline]] void load_weight(int part) const {
    tiles.load_weight<0>(weight.at(0, part));
    space_out();
    tiles.load_weight<1>(weight.at(1, part));
    space_out();
  }
  [[gnu::always_inline]] void fill(int64_t i) const {
    gap(i);
    keep_order();
  }
  [[gnu::always_inline]] void multiply(int64_t product) const {
    const int64_t i = 2 * kTiles * product;
    tiles.multiply<0, 0>();
    fill(i);
    tiles.multiply<0, 1>();
    fill(i + 1);
    if constexpr (kTiles == 2) {
      tiles.multiply<1, 0>();
      fill(i + 2);
      tiles.multiply<1, 1>();
      fill(i + 3);
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

}  // namespace lucid::LUCID_ISA
