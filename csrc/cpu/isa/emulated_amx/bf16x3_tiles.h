// See isa/amx/bf16x3_tiles.h. What the matrix unit does, in plain C++: TDPBF16PS of Intel's manual, which adds up the
// even terms and the odd ones of a tile, each by fused multiply-adds, and then both to the sum; subnormal numbers are
// zeros, going in and coming out.
#pragma once

#include <bf16x3_format.h>
#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

inline void space_out() {}

class Tiles {
 public:
  explicit Tiles(int64_t height) : height_(height) {}

  void clear_sums() { __builtin_memset(sums_, 0, sizeof sums_); }
  template <int kTile>
  void load_x(const char* x, int64_t row_bytes) {
    load(x, row_bytes, height_, x_[kTile]);
  }
  template <int kHalf>
  void load_weight(const char* weight) {
    load(weight, kTileRowBytes, kMostTileRows, weight_[kHalf]);
  }
  template <int kTile, int kHalf>
  void multiply() {
    for (int64_t m = 0; m < height_; ++m) {
      F32 even = F32::zero(), odd = F32::zero();
      for (int64_t k = 0; k < kTileTerms / 2; ++k) {
        even = normal(fma(F32::broadcast(x_[kTile].even[m][k]), F32::load(weight_[kHalf].even[k]), even));
        odd = normal(fma(F32::broadcast(x_[kTile].odd[m][k]), F32::load(weight_[kHalf].odd[k]), odd));
      }
      float* sums = sums_[kTile][kHalf][m];
      normal(F32::load(sums) + normal(even + odd)).store(sums);
    }
  }
  template <int kTile, int kHalf>
  void start_sum(const float* from) {
    for (int64_t m = 0; m < height_; ++m) F32::load(from).store(sums_[kTile][kHalf][m]);
  }
  template <int kTile, int kHalf>
  void store_sum(float* y) {
    for (int64_t m = 0; m < height_; ++m)
      F32::load(sums_[kTile][kHalf][m]).store(y + m * kProductOutputs + kHalf * F32::kLanes);
  }
  template <int kTile>
  void load_sums(const float* y) {
    for (int64_t m = 0; m < height_; ++m)
      for (int64_t half = 0; half < 2; ++half)
        F32::load(y + m * kProductOutputs + half * F32::kLanes).store(sums_[kTile][half][m]);
  }
  template <int kTile>
  void store_sums(float* y) {
    store_sum<kTile, 0>(y);
    store_sum<kTile, 1>(y);
  }

 private:
  // A tile of pairs of bfloat16, as the float32 that they are.
  struct Pairs {
    alignas(64) float even[kMostTileRows][F32::kLanes], odd[kMostTileRows][F32::kLanes];
  };
  using Bits = uint32_t __attribute__((vector_size(64)));

  static void load(const char* from, int64_t row_bytes, int64_t rows, Pairs& to) {
    for (int64_t row = 0; row < rows; ++row) {
      Bits pairs;
      __builtin_memcpy(&pairs, from + row * row_bytes, sizeof pairs);
      normal({reinterpret_cast<F32::Register>(pairs << 16)}).store(to.even[row]);
      normal({reinterpret_cast<F32::Register>(pairs & 0xffff0000u)}).store(to.odd[row]);
    }
  }
  // Zero for a subnormal number.
  static F32 normal(F32 a) {
    const F32::Register smallest = F32::broadcast(0x1p-126f).v;
    return {a.v < smallest && a.v > -smallest ? a.v * 0.0f : a.v};
  }

  int64_t height_;
  alignas(64) float sums_[2][2][kMostTileRows][F32::kLanes];
  Pairs x_[2], weight_[2];
};

}  // namespace lucid::LUCID_ISA
