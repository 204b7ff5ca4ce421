// A finished product on its way out: bias, residual and ReLU, row by row. A sum that is NaN is formed once more, of the
// float32 themselves: an infinity is no sum of three bfloat16.
#pragma once

#include <bf16x3_format.h>
#include <bf16x3_split.h>
#include <stdint.h>
#include <vec.h>

#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

struct FinishedRows {
  const float *product, *bias;  // [rows][32], [32], and behind the bias the weights [terms][32]
  const float* x;
  const int64_t* x_places;  // of the rows, in floats
  int64_t x_block, terms;   // floats from 16 terms of a row to the next; terms of the sum
  const float* residual;    // or null
  float* y;
  const int64_t *y_places, *residual_places;  // of the rows, in floats
  int64_t y_block, residual_block;            // floats between the halves of a row
  float floor;                                // see cpu/epilogue.h
  int64_t rows, stored;

  [[gnu::always_inline]] void store_row() {
    const int64_t m = stored++;
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      F32 sum = F32::load(product + m * kProductOutputs + half * F32::kLanes);
      if (__builtin_expect(any_nan(sum), 0)) sum = sum_of_float32(m, half);
      sum = sum + F32::load(bias + half * F32::kLanes);
      const float* other = residual != nullptr ? residual + residual_places[m] + half * residual_block : nullptr;
      finish(sum, other, F32::broadcast(floor)).store(y + y_places[m] + half * y_block);
    }
  }
  void store() {
    while (stored < rows) store_row();
  }

 private:
  [[gnu::noinline]] F32 sum_of_float32(int64_t m, int64_t half) const {
    constexpr int64_t kBlock = InputView::kBlock;
    const float* weight = bias + kProductOutputs + half * F32::kLanes;
    F32 sum = F32::zero();
    for (int64_t c = 0; c < terms; ++c, weight += kProductOutputs)
      sum = fma(F32::broadcast(x[x_places[m] + c / kBlock * x_block + c % kBlock]), F32::load(weight), sum);
    return sum;
  }
};

}  // namespace lucid::LUCID_ISA
