// A float32 as the sum of three bfloat16: each is what remains, cut off after 8 bits.
#pragma once

#include <bf16x3_format.h>
#include <immintrin.h>
#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

// Splits 16 pairs of terms into kSplitParts vectors, `part_bytes` apart; of a pair, `even` comes into the lower half of
// 32 bits and `odd` into the upper.
[[gnu::always_inline]] inline void split(F32 even, F32 odd, char* to, int64_t part_bytes) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  __m512i a = _mm512_castps_si512(even.v), b = _mm512_castps_si512(odd.v);
  const auto pack = [&] { return _mm512_ternarylogic_epi32(upper, b, _mm512_srli_epi32(a, 16), 0xca); };
  const auto cut_off = [&](__m512i x) {
    return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(_mm512_and_si512(x, upper))));
  };
  _mm512_storeu_si512(to, pack());
  a = cut_off(a), b = cut_off(b);
  _mm512_storeu_si512(to + part_bytes, pack());
  a = cut_off(a), b = cut_off(b);
  _mm512_storeu_si512(to + 2 * part_bytes, pack());
}

[[gnu::always_inline]] inline bool any_nan(F32 x) { return _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q) != 0; }

}  // namespace lucid::LUCID_ISA
