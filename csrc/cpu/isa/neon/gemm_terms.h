// See isa/generic/gemm_terms.h. An FMA takes a lane of a vector as a factor for all lanes, so four terms of a pixel are
// one load and no broadcast: 16 loads serve 64 FMAs of a tile of 8 x 2.
#pragma once

#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

template <int kTerms, int kRows, int kVectors, class Pixel>
[[gnu::always_inline]] inline void add_terms(F32 (&sums)[kRows][kVectors], const Pixel& pixel, const float* weight,
                                             const char* prefetch, int64_t prefetch_step) {
  static_assert(kTerms == 1 || kTerms == F32::kLanes);
  if constexpr (kTerms == 1) {
    F32 w[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) w[v] = F32::load(weight + v * F32::kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[m][v].v = vfmaq_n_f32(sums[m][v].v, w[v].v, *pixel(m));
  } else {
    F32 x[kRows];
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) x[m] = F32::load(pixel(m));
#pragma GCC unroll 4
    for (int u = 0; u < kTerms; ++u) {
      keep_order();  // GCC would load all weights early and run out of registers
      F32 w[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) w[v] = F32::load(weight + (u * kVectors + v) * F32::kLanes);
      if (u % 2 == 0) __builtin_prefetch(prefetch + u / 2 * (prefetch_step / 2), 0, 2);
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums[m][v].v = vfmaq_n_f32(sums[m][v].v, w[v].v, x[m].v[u]);
    }
  }
}

}  // namespace lucid::LUCID_ISA
