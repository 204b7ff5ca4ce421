// bfloat16: the upper half of a float32. Values are stored in it, and computed with in float32.
#pragma once

#include <cstdint>

#include "core/geometry.h"

namespace lucid {

struct Bfloat16 {
  uint16_t bits;
};

// Exact.
LUCID_INLINE inline float to_float(float a) { return a; }
LUCID_INLINE inline float to_float(Bfloat16 a) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(a.bits) << 16);
}

// The nearest, of two the even one; a NaN stays one.
LUCID_INLINE inline Bfloat16 to_bfloat16(float a) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, a);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = is_nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  return {static_cast<uint16_t>(rounded >> 16)};
}

// In the type of an element.
LUCID_INLINE inline void assign(float& to, float a) { to = a; }
LUCID_INLINE inline void assign(Bfloat16& to, float a) { to = to_bfloat16(a); }

}  // namespace lucid
