// One loop body for whole vectors and for the channels left over. Both are the same vector instructions, so a channel's
// result does not depend on its place, as it would where a scalar tail rounds a product that the vector's FMA does not.
#pragma once

#include "core/bfloat16.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

// A vector of bfloat16 in memory, and the float32 of the same bits. They are the compiler's own types: every
// instruction set has shifts, and narrows integers.
using Float32Bits = uint32_t __attribute__((vector_size(sizeof(F32))));
using Bfloat16Bits = uint16_t __attribute__((vector_size(sizeof(F32) / 2)));

inline F32 widened(Bfloat16Bits a) {
  const Float32Bits bits = __builtin_convertvector(a, Float32Bits) << 16;
  F32 wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// See to_bfloat16 in core/bfloat16.h.
inline Bfloat16Bits rounded(F32 a) {
  Float32Bits bits;
  __builtin_memcpy(&bits, &a, sizeof bits);
  const auto is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const Float32Bits nearest = bits + 0x7fffu + (bits >> 16 & 1u);
  return __builtin_convertvector((is_nan ? bits | 0x400000u : nearest) >> 16, Bfloat16Bits);
}

struct Whole {
  F32 load(const float* p) const { return F32::load(p); }
  F32 load(const Bfloat16* p) const {
    Bfloat16Bits bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return widened(bits);
  }
  void store(F32 a, float* p) const { a.store(p); }
  void store(F32 a, Bfloat16* p) const {
    const Bfloat16Bits bits = rounded(a);
    __builtin_memcpy(p, &bits, sizeof bits);
  }
};

struct Part {
  int64_t count;
  F32 load(const float* p) const { return F32::load(p, count); }
  F32 load(const Bfloat16* p) const {
    Bfloat16Bits bits{};
    for (int64_t i = 0; i < count; ++i) bits[i] = p[i].bits;
    return widened(bits);
  }
  void store(F32 a, float* p) const { a.store(p, count); }
  void store(F32 a, Bfloat16* p) const {
    const Bfloat16Bits bits = rounded(a);
    for (int64_t i = 0; i < count; ++i) p[i].bits = bits[i];
  }
};

// body(i, lanes) for i = 0, kLanes, 2 kLanes, ... < size.
template <class Body>
inline void for_each_vector(int64_t size, const Body& body) {
  int64_t i = 0;
  for (; i + F32::kLanes <= size; i += F32::kLanes) body(i, Whole{});
  if (i < size) body(i, Part{size - i});
}

}  // namespace lucid::LUCID_ISA
