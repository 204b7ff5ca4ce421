// The tile matrix unit as bf16x3_product.h and bfloat16_product.h use it. Its registers hold up to 16 rows of 64 bytes:
//
//   0 1   sums of the first tile of rows, outputs 0 to 15 and 16 to 31
//   2 3   sums of the second tile of rows
//   4 5   a part of x: 32 terms of each row of the first and of the second tile
//   6 7   a part of the weights: 16 pairs of terms by outputs 0 to 15 and 16 to 31
#pragma once

#include <bf16x3_format.h>
#include <immintrin.h>
#include <stdint.h>

namespace lucid::LUCID_ISA {

// Other work between two tile instructions: at least 4 instructions, and 8 between two products. Back to back products
// take 17 ns each, apart 10, wherever a hyperthread shares the core (alone, 7 either way). Other instructions in the
// gap do the same job.
[[gnu::always_inline]] inline void space_out() { asm volatile("nop\nnop\nnop\nnop"); }

// Configures the registers for its lifetime.
class Tiles {
 public:
  // `height` rows of x.
  explicit Tiles(int64_t height) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } tiles;
    for (int i = 0; i < 6; ++i) tiles.rows[i] = static_cast<uint8_t>(height);  // all but those of weights
    asm volatile("ldtilecfg %0" ::"m"(tiles));  // _tile_loadconfig of GCC 12 has 8 bytes written only
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  [[gnu::always_inline]] void clear_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  template <int kTile>
  [[gnu::always_inline]] void load_x(const char* x, int64_t row_bytes) {
    if constexpr (kTile == 0)
      _tile_loadd(4, x, row_bytes);
    else
      _tile_loadd(5, x, row_bytes);
  }
  template <int kHalf>
  [[gnu::always_inline]] void load_weight(const char* weight) {
    if constexpr (kHalf == 0)
      _tile_loadd(6, weight, kTileRowBytes);
    else
      _tile_loadd(7, weight, kTileRowBytes);
  }
  // sums += x * weight
  template <int kTile, int kHalf>
  [[gnu::always_inline]] void multiply() {
    if constexpr (kTile == 0 && kHalf == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTile == 0 && kHalf == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTile == 1 && kHalf == 0) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTile == 1 && kHalf == 1) _tile_dpbf16ps(3, 5, 7);
  }
  // Half of a tile's sums: begins with the same numbers, `from` [16], in every row; y is [height][kProductOutputs].
  template <int kTile, int kHalf>
  [[gnu::always_inline]] void start_sum(const float* from) {
    if constexpr (kTile == 0 && kHalf == 0) _tile_loadd(0, from, 0);
    if constexpr (kTile == 0 && kHalf == 1) _tile_loadd(1, from, 0);
    if constexpr (kTile == 1 && kHalf == 0) _tile_loadd(2, from, 0);
    if constexpr (kTile == 1 && kHalf == 1) _tile_loadd(3, from, 0);
  }
  template <int kTile, int kHalf>
  [[gnu::always_inline]] void store_sum(float* y) {
    constexpr int64_t kBytes = kProductOutputs * sizeof(float);
    if constexpr (kTile == 0 && kHalf == 0) _tile_stored(0, y, kBytes);
    if constexpr (kTile == 0 && kHalf == 1) _tile_stored(1, y + kProductOutputs / 2, kBytes);
    if constexpr (kTile == 1 && kHalf == 0) _tile_stored(2, y, kBytes);
    if constexpr (kTile == 1 && kHalf == 1) _tile_stored(3, y + kProductOutputs / 2, kBytes);
  }
  // y is [height][kProductOutputs].
  template <int kTile>
  [[gnu::always_inline]] void load_sums(const float* y) {
    constexpr int64_t kBytes = kProductOutputs * sizeof(float);
    if constexpr (kTile == 0) {
      _tile_loadd(0, y, kBytes);
      _tile_loadd(1, y + kProductOutputs / 2, kBytes);
    } else {
      _tile_loadd(2, y, kBytes);
      _tile_loadd(3, y + kProductOutputs / 2, kBytes);
    }
  }
  template <int kTile>
  [[gnu::always_inline]] void store_sums(float* y) {
    store_sum<kTile, 0>(y);
    store_sum<kTile, 1>(y);
  }
};

}  // namespace lucid::LUCID_ISA
