// F32 with 4 lanes. See isa/generic/vec.h for what each function means.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace lucid::LUCID_ISA {

struct F32 {
  static constexpr int kLanes = 4;
  static constexpr bool kFoldsBroadcast = false;
  float32x4_t v;
  static F32 zero() { return {float32x4_t{}}; }
  static F32 broadcast(float s) { return {vdupq_n_f32(s)}; }
  static F32 load(const float* p) { return {vld1q_f32(p)}; }
  void store(float* p) const { vst1q_f32(p, v); }
  // NEON has no masked access: what lies behind `count` lanes must not be touched.
  static F32 load(const float* p, int64_t count) {
    if (count >= 4) return load(p);
    float32x4_t a{};
    if (count >= 1) a = vld1q_lane_f32(p, a, 0);
    if (count >= 2) a = vld1q_lane_f32(p + 1, a, 1);
    if (count >= 3) a = vld1q_lane_f32(p + 2, a, 2);
    return {a};
  }
  void store(float* p, int64_t count) const {
    if (count >= 4) return store(p);
    if (count >= 1) vst1q_lane_f32(p, v, 0);
    if (count >= 2) vst1q_lane_f32(p + 1, v, 1);
    if (count >= 3) vst1q_lane_f32(p + 2, v, 2);
  }
};

inline F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline F32 sqrt(F32 a) { return {vsqrtq_f32(a.v)}; }

inline void accumulate(F32& acc, F32 a, F32 b) { acc.v = vfmaq_f32(acc.v, a.v, b.v); }
inline void accumulate(F32& acc, const float* a, F32 b) { accumulate(acc, F32::broadcast(*a), b); }

inline void keep_order() { asm volatile("" ::: "memory"); }

// FMAX would give NaN where either is NaN.
inline F32 max(F32 a, F32 b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
inline F32 maximum(F32 a, F32 b) { return {vmaxq_f32(a.v, b.v)}; }

inline float sum(F32 a) {
  const float32x2_t pairs = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(pairs, 0) + vget_lane_f32(pairs, 1);
}

inline void transpose(F32 (&rows)[F32::kLanes]) {
  const auto low = [](float32x4_t a, float32x4_t b) {
    return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
  };
  const auto high = [](float32x4_t a, float32x4_t b) {
    return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
  };
  const float32x4_t a = vtrn1q_f32(rows[0].v, rows[1].v), b = vtrn2q_f32(rows[0].v, rows[1].v),
                    c = vtrn1q_f32(rows[2].v, rows[3].v), d = vtrn2q_f32(rows[2].v, rows[3].v);
  rows[0].v = low(a, c);
  rows[1].v = low(b, d);
  rows[2].v = high(a, c);
  rows[3].v = high(b, d);
}

}  // namespace lucid::LUCID_ISA
