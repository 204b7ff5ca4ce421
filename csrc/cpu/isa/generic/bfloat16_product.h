// Products of bfloat16 matrices whose rows of x are gathered, in float32: two tiles of rows by a panel of 32 outputs.
// This one is for vectors. x and the weights are widened, which is exact, and multiplied by FMAs; a matrix unit takes
// the same operands as they are.
#pragma once

#include <bfloat16_block.h>
#include <stdint.h>
#include <tile_format.h>

#include "cpu/epilogue.h"
#include "cpu/integers.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

class Product {
 public:
  explicit Product(const ProductSteps& steps) : steps_(steps) {}

  // The result of a row does not depend on the rows beside it.
  void add(const ProductBlock& b) {
    for (int tile = 0; tile < 2; ++tile)
      for (int64_t row = 0; row < steps_.height; row += kRows) multiply(b, tile, row);
  }
  // Stores what has been added.
  void finish() {}

 private:
  static constexpr int kVectors = kProductOutputs / F32::kLanes, kVectorsInHalf = kVectors / 2;
  static constexpr int kRows = F32::kLanes == 16 ? 8 : F32::kLanes == 8 ? 2 : 1;  // accumulators fill the registers
  static constexpr int kPairs = kTileTerms / 2;

  static F32 even(Float32Bits pairs) { return as_float(pairs << 16); }
  static F32 odd(Float32Bits pairs) { return as_float(pairs & 0xffff0000u); }
  static F32 as_float(Float32Bits bits) {
    F32 a;
    __builtin_memcpy(&a, &bits, sizeof a);
    return a;
  }
  static Float32Bits load_pairs(const char* from) {
    Float32Bits pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    return pairs;
  }

  // Rows from `row` on; those behind the last are the last again.
  void multiply(const ProductBlock& b, int tile, int64_t row) {
    const char* x[kRows];
    F32 sums[kRows][kVectors];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      x[m] = b.x[tile] + min(row + m, steps_.height - 1) * steps_.row_bytes;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::load(b.bias + v * F32::kLanes);
    }
    const char* weight = b.weight;
    for (int64_t step = 0; step < steps_.count; ++step, weight += 2 * kTileBytes)
      add_step(sums, x, steps_.offsets[step], weight);
    for (int m = 0; m < kRows && row + m < steps_.height; ++m)
      if (b.places[tile][row + m] >= 0) store(sums[m], b, tile, row + m);
  }

  void add_step(F32 (&sums)[kRows][kVectors], const char* const (&x)[kRows], int64_t offset, const char* weight) {
    alignas(64) float terms[kRows][2][kPairs];  // even and odd ones
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
      for (int i = 0; i < kPairs; i += F32::kLanes) {
        const Float32Bits pairs = load_pairs(x[m] + offset + i * 4);
        even(pairs).store(&terms[m][0][i]);
        odd(pairs).store(&terms[m][1][i]);
      }
    for (int k = 0; k < kPairs; ++k)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int64_t half = v / kVectorsInHalf, part = v % kVectorsInHalf;
        const Float32Bits pairs =
            load_pairs(weight + half * kTileBytes + k * kTileRowBytes + part * static_cast<int64_t>(sizeof(F32)));
        const F32 first = even(pairs), second = odd(pairs);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          accumulate(sums[m][v], &terms[m][0][k], first);
          accumulate(sums[m][v], &terms[m][1][k], second);
        }
      }
  }

  void store(F32 (&sums)[kVectors], const ProductBlock& b, int tile, int64_t row) {
    const auto* residual = reinterpret_cast<const Bfloat16*>(b.residual[tile]);
    auto* y = reinterpret_cast<Bfloat16*>(b.y + b.places[tile][row]);
    const F32 floor = F32::broadcast(floor_of(steps_.relu));
    for (int v = 0; v < kVectors; ++v) {
      if (residual != nullptr) sums[v] = sums[v] + Whole{}.load(residual + row * kProductOutputs + v * F32::kLanes);
      Whole{}.store(max(floor, sums[v]), y + v * F32::kLanes);
    }
  }

  const ProductSteps steps_;
};

}  // namespace lucid::LUCID_ISA
