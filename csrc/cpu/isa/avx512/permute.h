// See isa/generic/permute.h. The instructions with a memory operand are spelled out: GCC would load each vector once,
// keep it for all permutations, spill it, and use the register forms, which wait for the shuffle port.
#pragma once

#include <vec.h>

#include "cpu/permuted_channel.h"

namespace lucid::LUCID_ISA {

template <int kGroup, int R>
inline F32 load_permuted(const float* p) {
  if constexpr (kGroup == 1) return F32::load(p);
  struct Lanes {
    float f[16];
  };
  const Lanes& memory = *reinterpret_cast<const Lanes*>(p);
  F32 result;
  if constexpr (R == 0) {
    asm("vmovsldup %1, %0" : "=v"(result.v) : "m"(memory));
  } else if constexpr (R == 1) {
    asm("vmovshdup %1, %0" : "=v"(result.v) : "m"(memory));
  } else if constexpr (R == 2) {
    asm("vpermilps $0x0A, %1, %0" : "=v"(result.v) : "m"(memory));  // 2 2 0 0
  } else if constexpr (R == 3) {
    asm("vpermilps $0x5F, %1, %0" : "=v"(result.v) : "m"(memory));  // 3 3 1 1
  } else {
    constexpr auto c = [](int l) { return l / 8 * 8 + permuted_channel(8, R, l); };
    const __m512i index = _mm512_setr_epi32(c(0), c(1), c(2), c(3), c(4), c(5), c(6), c(7), c(8), c(9), c(10), c(11),
                                            c(12), c(13), c(14), c(15));
    asm("vpermps %1, %2, %0" : "=v"(result.v) : "m"(memory), "v"(index));
  }
  return result;
}

}  // namespace lucid::LUCID_ISA
