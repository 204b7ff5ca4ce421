// 32 float32 rounded to bfloat16, in one instruction of AVX512_BF16: for the instruction sets above that have it.
#pragma once

#include <immintrin.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

[[gnu::always_inline]] inline void store_rounded(F32 low, F32 high, char* to) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v)));
}

// 16 of them.
[[gnu::always_inline]] inline void store_rounded(F32 a, char* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}

}  // namespace lucid::LUCID_ISA
