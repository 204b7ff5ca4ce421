// F32 with 8 lanes. See isa/generic/vec.h for what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace lucid::LUCID_ISA {

struct F32 {
  static constexpr int kLanes = 8;
  static constexpr bool kFoldsBroadcast = false;
  __m256 v;
  static F32 zero() { return {_mm256_setzero_ps()}; }
  static F32 broadcast(float s) { return {_mm256_set1_ps(s)}; }
  static F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  static F32 load(const float* p, int64_t count) { return {_mm256_maskload_ps(p, first(count))}; }
  void store(float* p, int64_t count) const { _mm256_maskstore_ps(p, first(count), v); }
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline F32 maximum(F32 a, F32 b) {
  return {_mm256_blendv_ps(_mm256_max_ps(a.v, b.v), a.v, _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q))};
}

// Spelled as one instruction, because GCC 12 reorders the intrinsic's loads and spills accumulators.
inline void accumulate(F32& acc, F32 a, F32 b) { asm("vfmadd231ps %2, %1, %0" : "+x"(acc.v) : "x"(a.v), "x"(b.v)); }

inline void accumulate(F32& acc, const float* a, F32 b) { accumulate(acc, F32::broadcast(*a), b); }

inline void keep_order() { asm volatile("" ::: "memory"); }

inline float sum(F32 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline void transpose(F32 (&rows)[F32::kLanes]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // pairs of rows, then pairs of pairs, inside the 128-bit lanes
    t[2 * i] = _mm256_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    t[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
  __m256 q[8];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(t[4 * i]), b = _mm256_castps_pd(t[4 * i + 1]);
    const __m256d c = _mm256_castps_pd(t[4 * i + 2]), d = _mm256_castps_pd(t[4 * i + 3]);
    q[4 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    q[4 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    q[4 * i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    q[4 * i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i].v = _mm256_permute2f128_ps(q[i], q[i + 4], 0x20);
    rows[i + 4].v = _mm256_permute2f128_ps(q[i], q[i + 4], 0x31);
  }
}

}  // namespace lucid::LUCID_ISA
