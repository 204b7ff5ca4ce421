// The innermost step of gemm_tile.h: some terms of the sum, for every row and vector of the tile.
#pragma once

#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

// sums[m][v] += pixel(m)[u] * weight[u][v] for u = 0 .. kTerms - 1 in order. With more than one term the data at
// `prefetch` is asked for, `prefetch_step` bytes in all.
//
// Where an FMA can broadcast its operand from memory, every other row does that: 2 instructions and 2 loads for a row
// instead of 3 and 1. All rows one way are bound by the loads, all the other way by the front end, which matters where
// hyperthreads share it: 108 GFLOP/s a core against 100 (104 with all loads), on one that does 134 in registers alone.
template <int kTerms, int kRows, int kVectors, class Pixel>
[[gnu::always_inline]] inline void add_terms(F32 (&sums)[kRows][kVectors], const Pixel& pixel, const float* weight,
                                             const char* prefetch, int64_t prefetch_step) {
#pragma GCC unroll 4
  for (int u = 0; u < kTerms; ++u) {
    keep_order();  // GCC would load the next weights early and run out of registers
    F32 w[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) w[v] = F32::load(weight + (u * kVectors + v) * F32::kLanes);
    if (kTerms > 1 && u % 2 == 0) __builtin_prefetch(prefetch + u / 2 * (prefetch_step / 2), 0, 2);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      if (F32::kFoldsBroadcast && m % 2 == 1) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], pixel(m) + u, w[v]);
      } else {
        const F32 all = F32::broadcast(pixel(m)[u]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], all, w[v]);
      }
    }
  }
}

}  // namespace lucid::LUCID_ISA
