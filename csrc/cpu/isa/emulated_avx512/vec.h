// F32 with 16 lanes of the compiler's own vector type, on any processor: the kernels of AVX-512 can be tested where it
// is not. See isa/generic/vec.h for what each function means.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

struct F32 {
  static constexpr int kLanes = 16;
  static constexpr bool kFoldsBroadcast = true;
  using Register = float __attribute__((vector_size(64)));
  using Unaligned = float __attribute__((vector_size(64), aligned(4), may_alias));
  Register v;
  static F32 zero() { return {Register{}}; }
  static F32 broadcast(float s) { return {Register{} + s}; }
  static F32 load(const float* p) { return {*reinterpret_cast<const Unaligned*>(p)}; }
  void store(float* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
  static F32 load(const float* p, int64_t count) {
    F32 a = zero();
    for (int64_t i = 0; i < count; ++i) a.v[i] = p[i];
    return a;
  }
  void store(float* p, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) p[i] = v[i];
  }
};

inline F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {a.v * b.v + c.v}; }
inline F32 sqrt(F32 a) {
  for (int i = 0; i < F32::kLanes; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
inline F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
inline F32 maximum(F32 a, F32 b) { return {a.v > b.v || a.v != a.v ? a.v : b.v}; }

inline void accumulate(F32& acc, F32 a, F32 b) { acc.v += a.v * b.v; }
inline void accumulate(F32& acc, const float* a, F32 b) { accumulate(acc, F32::broadcast(*a), b); }

inline void keep_order() { asm volatile("" ::: "memory"); }

// Halves, as _mm512_reduce_add_ps has it.
inline float sum(F32 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}

inline void transpose(F32 (&rows)[F32::kLanes]) {
  for (int i = 0; i < F32::kLanes; ++i)
    for (int j = 0; j < i; ++j) {
      const float t = rows[i].v[j];
      rows[i].v[j] = rows[j].v[i];
      rows[j].v[i] = t;
    }
}

}  // namespace lucid::LUCID_ISA
