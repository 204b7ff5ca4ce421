// F32 with 16 lanes. See isa/generic/vec.h for what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace lucid::LUCID_ISA {

struct F32 {
  static constexpr int kLanes = 16;
  static constexpr bool kFoldsBroadcast = true;
  __m512 v;
  static F32 zero() { return {_mm512_setzero_ps()}; }
  static F32 broadcast(float s) { return {_mm512_set1_ps(s)}; }
  static F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  static F32 load(const float* p, int64_t count) { return {_mm512_maskz_loadu_ps(first(count), p)}; }
  void store(float* p, int64_t count) const { _mm512_mask_storeu_ps(p, first(count), v); }
  static __mmask16 first(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
};

inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 maximum(F32 a, F32 b) {
  return {_mm512_mask_mov_ps(_mm512_max_ps(a.v, b.v), _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), a.v)};
}

// Spelled as one instruction, because GCC 12 moves the next step's loads up and spills two accumulators a step.
inline void accumulate(F32& acc, F32 a, F32 b) { asm("vfmadd231ps %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v)); }

inline void accumulate(F32& acc, const float* a, F32 b) {
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc.v) : "v"(b.v), "m"(*a));
}

inline void keep_order() { asm volatile("" ::: "memory"); }

inline float sum(F32 a) { return _mm512_reduce_add_ps(a.v); }

inline void transpose(F32 (&rows)[F32::kLanes]) {
  const auto unpack_low = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  const auto unpack_high = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  __m512 t[16], q[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pairs of rows, then pairs of pairs, inside the 128-bit lanes
    t[2 * i] = _mm512_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    t[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    q[i] = unpack_low(t[i], t[i + 2]);
    q[i + 1] = unpack_high(t[i], t[i + 2]);
    q[i + 2] = unpack_low(t[i + 1], t[i + 3]);
    q[i + 3] = unpack_high(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // then the 128-bit lanes themselves
    t[i] = _mm512_shuffle_f32x4(q[i], q[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(q[i], q[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(q[i + 8], q[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(q[i + 8], q[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i].v = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    rows[i + 8].v = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    rows[i + 4].v = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    rows[i + 12].v = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace lucid::LUCID_ISA
