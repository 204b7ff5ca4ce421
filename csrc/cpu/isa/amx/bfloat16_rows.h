// 32 float32 rounded to bfloat16, in one instruction of AVX512_BF16, which every processor with AMX has.
#pragma once

#include <immintrin.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

[[gnu::always_inline]] inline void store_rounded(F32 low, F32 high, char* to) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v)));
}

}  // namespace lucid::LUCID_ISA
