// F32: a vector of floats, and what the kernels ask of one. This is the definition that every other vec.h is tested
// against: four lanes of the compiler's own vector type, which every processor has (SSE2, NEON) or emulates.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

struct F32 {
  static constexpr int kLanes = 4;
  static constexpr bool kFoldsBroadcast = false;  // whether an FMA can broadcast an operand from memory
  using Register = float __attribute__((vector_size(16)));
  using Unaligned = float __attribute__((vector_size(16), aligned(4), may_alias));
  Register v;
  static F32 zero() { return {Register{}}; }
  static F32 broadcast(float s) { return {Register{s, s, s, s}}; }
  static F32 load(const float* p) { return {*reinterpret_cast<const Unaligned*>(p)}; }
  void store(float* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
  // The first `count` lanes only: the others are read as zeros, and not written.
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

// acc += a * b, in program order.
inline void accumulate(F32& acc, F32 a, F32 b) { acc.v += a.v * b.v; }
inline void accumulate(F32& acc, const float* a, F32 b) { accumulate(acc, F32::broadcast(*a), b); }

// The compiler moves no access to memory past this.
inline void keep_order() { asm volatile("" ::: "memory"); }

// The larger of two; b where either is NaN, as the x86 instruction has it: max(0, x) keeps a NaN in x.
inline F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }

// The larger of two; NaN where either is NaN.
inline F32 maximum(F32 a, F32 b) { return {a.v > b.v || a.v != a.v ? a.v : b.v}; }

// The sum of the lanes, in a fixed order.
inline float sum(F32 a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }

// rows[i][j] becomes rows[j][i].
inline void transpose(F32 (&rows)[F32::kLanes]) {
  for (int i = 0; i < F32::kLanes; ++i)
    for (int j = 0; j < i; ++j) {
      const float t = rows[i].v[j];
      rows[i].v[j] = rows[j].v[i];
      rows[j].v[i] = t;
    }
}

}  // namespace lucid::LUCID_ISA
