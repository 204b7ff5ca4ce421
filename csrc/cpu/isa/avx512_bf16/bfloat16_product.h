// Products of bfloat16 matrices whose rows of x are gathered, by VDPBF16PS: the register tile of gemm_tile.h, of which
// each tile of rows is a half. A term of the sum is a pair of channels, which lie side by side in x and in the weights.
#pragma once

#include <bfloat16_block.h>
#include <bfloat16_rows.h>
#include <pairs.h>
#include <stdint.h>
#include <tile_format.h>

#include "cpu/epilogue.h"
#include "cpu/lanes.h"
#include "cpu/narrow_block.h"

namespace lucid::LUCID_ISA {

class Product {
 public:
  explicit Product(const ProductSteps& steps) : steps_(steps) { choose<kMostTileRows>(); }

  // The result of a row does not depend on the rows beside it.
  void add(const ProductBlock& b) { (b.x[0] == b.x[1] ? multiply_one_ : multiply_two_)(steps_, b); }
  // Stores what has been added.
  void finish() {}

 private:
  using Multiply = void (*)(const ProductSteps&, const ProductBlock&);
  static constexpr int kVectors = kProductOutputs / F32::kLanes;
  static constexpr int kPairs = kTileTerms / 2, kUnroll = 4;
  static constexpr int64_t kNarrowPixel = kNarrowBlock * sizeof(Bfloat16);

  template <int kRows>
  void choose() {
    if constexpr (kRows > 1)
      if (steps_.height < kRows) return choose<kRows - 1>();
    switch (steps_.row_bytes) {
      case kTileRowBytes: return take<kRows, kTileRowBytes>();
      case 2 * kNarrowPixel: return take<kRows, 2 * kNarrowPixel>();
      default: take<kRows, 0>();
    }
  }

  template <int kRows, int64_t kDistance>
  void take() {
    multiply_one_ = multiply<kRows, 1, kDistance>;
    multiply_two_ = multiply<kRows, 2, kDistance>;
  }

  // The first of the rows, and sums of distances: x86 adds 1, 2 or 4 times a register to an address.
  struct Rows {
    const char* first;
    int64_t one, three, five;

    [[gnu::always_inline]] const char* at(int m) const {
      return first + (m == 3 ? three : m == 5 ? five : m == 6 ? 2 * three : m * one);
    }
  };

  // kDistance is that of the rows, or 0 where it is not known before: neighbours, and those of a photograph at a stride
  // of 2, are addressed without registers.
  template <int kRows, int kTiles, int64_t kDistance>
  [[gnu::noinline]] static void multiply(const ProductSteps& steps, const ProductBlock& b) {
    F32 sums[kTiles * kRows][kVectors];
#pragma GCC unroll 14
    for (int m = 0; m < kTiles * kRows; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::load(b.bias + v * F32::kLanes);
    if (b.residual[0] != nullptr)  // from memory it arrives while the sums are formed
#pragma GCC unroll 14
      for (int m = 0; m < kTiles * kRows; ++m) __builtin_prefetch(b.residual[m / kRows] + m % kRows * kTileRowBytes);
    const int64_t distance = kDistance != 0 ? kDistance : steps.row_bytes;
    const char *weight = b.weight, *prefetch = b.prefetch;
    const int64_t prefetch_bytes = b.prefetch_bytes * kUnroll / kPairs;
    for (int64_t step = 0; step < steps.count; ++step, weight += kTileBytes) {
      const int64_t offset = steps.offsets[step];
      Rows rows[] = {{b.x[0] + offset, distance, 3 * distance, 5 * distance},
                     {b.x[1] + offset, distance, 3 * distance, 5 * distance}};
      if (b.first_use)  // of the pixels behind these, too
#pragma GCC unroll 14
        for (int m = 0; m < kTiles * kRows; ++m)
          __builtin_prefetch(rows[m / kRows].at(m % kRows) + kTiles * kRows * distance);
      for (int pair = 0; pair < kPairs; pair += kUnroll) {
        add_pairs<kRows>(sums, rows, weight);
        __builtin_prefetch(prefetch, 0, 2);
        __builtin_prefetch(prefetch + prefetch_bytes / 2, 0, 2);
        prefetch += prefetch_bytes;
        weight += kUnroll * kTileRowBytes;
        rows[0].first += kUnroll * 4, rows[1].first += kUnroll * 4;
      }
    }
#pragma GCC unroll 14
    for (int m = 0; m < kTiles * kRows; ++m) store(sums[m], steps, b, m / kRows, m % kRows);
  }

  // Every other row broadcasts in the instruction, as in gemm_terms.h.
  template <int kRows, int kAll>
  [[gnu::always_inline]] static void add_pairs(F32 (&sums)[kAll][kVectors], const Rows (&rows)[2], const char* weight) {
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      keep_order();
      Pairs w[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) w[v] = Pairs::load(weight + v * kTileBytes + u * kTileRowBytes);
#pragma GCC unroll 14
      for (int m = 0; m < kAll; ++m) {
        const char* x = rows[m / kRows].at(m % kRows) + u * 4;
        if (m % 2 == 1) {
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], x, w[v]);
        } else {
          const Pairs all = Pairs::broadcast(x);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], all, w[v]);
        }
      }
    }
  }

  [[gnu::always_inline]] static void store(const F32 (&sums)[kVectors], const ProductSteps& steps,
                                           const ProductBlock& b, int tile, int row) {
    const int64_t place = b.places[tile][row];
    if (place < 0) return;
    F32 low = sums[0], high = sums[1];
    if (b.residual[tile] != nullptr) {
      const auto* residual = reinterpret_cast<const Bfloat16*>(b.residual[tile] + row * kTileRowBytes);
      low = low + Whole{}.load(residual);
      high = high + Whole{}.load(residual + F32::kLanes);
    }
    const F32 floor = F32::broadcast(floor_of(steps.relu));
    store_rounded(max(floor, low), max(floor, high), b.y + place);
  }

  const ProductSteps steps_;
  Multiply multiply_one_, multiply_two_;
};

}  // namespace lucid::LUCID_ISA
