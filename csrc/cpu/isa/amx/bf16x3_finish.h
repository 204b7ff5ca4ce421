// A finished product on its way out: bias, residual and ReLU, row by row.
#pragma once

#include <bf16x3_format.h>
#include <stdint.h>
#include <vec.h>

#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

struct FinishedRows {
  const float *product, *bias;  // [rows][32], [32]
  const float* residual;        // or null
  float* y;
  const int64_t *y_places, *residual_places;  // of the rows, in floats
  int64_t y_block, residual_block;            // floats between the halves of a row
  float floor;                                // see cpu/epilogue.h
  int64_t rows, stored;

  [[gnu::always_inline]] void store_row() {
    const int64_t m = stored++;
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      const F32 sum =
          F32::load(product + m * kProductOutputs + half * F32::kLanes) + F32::load(bias + half * F32::kLanes);
      const float* other = residual != nullptr ? residual + residual_places[m] + half * residual_block : nullptr;
      finish(sum, other, F32::broadcast(floor)).store(y + y_places[m] + half * y_block);
    }
  }
  void store() {
    while (stored < rows) store_row();
  }
};

}  // namespace lucid::LUCID_ISA
