// Products of bfloat16 matrices whose rows of x are gathered, on the tile matrix unit: it loads rows at any distance.
//
// A product has as few as two steps, and what surrounds it must not cost more than they do. So
// * its sums are stored one by one in the first step of the next product, each just before it is begun anew: 35 ns for
//   two steps, and 49 with the stores at the end;
// * sums begin with the bias, by a load of one row at a distance of 0;
// * a residual is one more step, times the identity, which is exact: 104 ns instead of 137 for a product of two steps;
// * rows are rounded and stored between the steps of the next product.
#pragma once

#include <bf16x3_tiles.h>
#include <bfloat16_block.h>
#include <bfloat16_rows.h>
#include <tile_format.h>

#include "cpu/epilogue.h"
#include "cpu/integers.h"
#include "cpu/layout.h"

namespace lucid::LUCID_ISA {

// Weights of a step that copies 32 channels.
struct IdentityWeights {
  alignas(64) uint16_t bits[2][kMostTileRows][kMostTileRows][2] = {};

  constexpr IdentityWeights() {
    for (int64_t i = 0; i < kProductOutputs; ++i) bits[i / 16][i / 2][i % 16][i % 2] = 0x3f80;
  }
  [[gnu::always_inline]] const char* bytes() const { return reinterpret_cast<const char*>(bits); }
};

class Product {
 public:
  explicit Product(const ProductSteps& steps) : steps_(steps), tiles_(steps.height) {
    groups_ = ceil_div(steps.height, kGroup);
    for (int64_t g = 0; g < 2 * groups_; ++g)
      between_[g] = (g + 1) * (steps.count - 1) / (2 * groups_) - g * (steps.count - 1) / (2 * groups_);
  }

  void add(const ProductBlock& b) {
    const bool adds = b.residual[0] != nullptr;
    if (waits_)
      adds ? multiply<true, true>(b) : multiply<false, true>(b);
    else
      adds ? multiply<true, false>(b) : multiply<false, false>(b);
    y_ = b.y, places_[0] = b.places[0], places_[1] = b.places[1];
    waits_ = true;
  }

  void finish() {
    if (!waits_) return;
    tiles_.store_sums<0>(sums_[0]);
    tiles_.store_sums<1>(sums_[1]);
    keep_order();
    for (int64_t g = 0; g < 2 * groups_; ++g) store_group(g);
    waits_ = false;
  }

 private:
  static constexpr int64_t kGroup = 4;  // rows that are stored between two steps

  // Rows of the product before.
  [[gnu::always_inline]] void store_group(int64_t group) {
    const int64_t tile = group >= groups_, row = (group - tile * groups_) * kGroup;
    const float* sums = sums_[tile] + row * kProductOutputs;
    const int64_t* places = places_[tile] + row;
    const F32 floor = F32::broadcast(floor_of(steps_.relu));
#pragma GCC unroll 4
    for (int64_t m = 0; m < kGroup; ++m, sums += kProductOutputs) {
      char* to = places[m] < 0 ? nowhere_ : y_ + places[m];
      store_rounded(max(floor, F32::load(sums)), max(floor, F32::load(sums + F32::kLanes)), to);
    }
  }

  template <int kTile, int kHalf, bool kStores>
  [[gnu::always_inline]] void begin(const float* bias) {
    if constexpr (kStores) tiles_.store_sum<kTile, kHalf>(sums_[kTile]);
    tiles_.start_sum<kTile, kHalf>(bias + kHalf * kProductOutputs / 2);
    tiles_.multiply<kTile, kHalf>();
  }

  [[gnu::always_inline]] void step(const char* x0, const char* x1, int64_t row_bytes, const char* weight) {
    tiles_.load_weight<0>(weight);
    tiles_.load_x<0>(x0, row_bytes);
    tiles_.multiply<0, 0>();
    tiles_.load_weight<1>(weight + kTileBytes);
    tiles_.multiply<0, 1>();
    tiles_.load_x<1>(x1, row_bytes);
    tiles_.multiply<1, 0>();
    tiles_.multiply<1, 1>();
  }

  template <bool kResidual, bool kStores>
  [[gnu::noinline]] void multiply(const ProductBlock& b) {
    const int64_t* offset = steps_.offsets;
    const int64_t row_bytes = steps_.row_bytes;
    const char *x0 = b.x[0], *x1 = b.x[1], *weight = b.weight;
    keep_order();
    tiles_.load_weight<0>(weight);
    tiles_.load_x<0>(x0 + *offset, row_bytes);
    begin<0, 0, kStores>(b.bias);
    tiles_.load_weight<1>(weight + kTileBytes);
    begin<0, 1, kStores>(b.bias);
    tiles_.load_x<1>(x1 + *offset, row_bytes);
    begin<1, 0, kStores>(b.bias);
    begin<1, 1, kStores>(b.bias);
    ++offset, weight += 2 * kTileBytes;
    if constexpr (kResidual) step(b.residual[0], b.residual[1], kTileRowBytes, kIdentity.bytes());
    for (int64_t g = 0; g < 2 * groups_; ++g) {
      for (int64_t i = between_[g]; i > 0; --i, ++offset, weight += 2 * kTileBytes)
        step(x0 + *offset, x1 + *offset, row_bytes, weight);
      if constexpr (kStores) store_group(g);
    }
    keep_order();
  }

  static constexpr IdentityWeights kIdentity{};

  const ProductSteps steps_;
  Tiles tiles_;
  int64_t groups_, between_[2 * kMostTileRows / kGroup];  // of rows; the steps before each
  alignas(64) float sums_[2][kMostTileRows * kProductOutputs] = {};
  alignas(64) char nowhere_[kTileRowBytes];
  bool waits_ = false;  // whether the product before is not stored yet: where it goes
  char* y_ = nullptr;
  const int64_t* places_[2] = {};
};

}  // namespace lucid::LUCID_ISA
