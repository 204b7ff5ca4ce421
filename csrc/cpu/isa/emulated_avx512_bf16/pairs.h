// See isa/avx512_bf16/pairs.h. VDPBF16PS as Intel's manual has it: subnormal numbers are zeros, going in and coming
// out, and both products are rounded to the sum one after the other. Not inlined: a tile would take a minute to
// compile.
#pragma once

#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

struct Pairs {
  using Register = uint32_t __attribute__((vector_size(64)));
  Register v;
  static Pairs load(const char* p) {
    Pairs a;
    __builtin_memcpy(&a.v, p, sizeof a.v);
    return a;
  }
  static Pairs broadcast(const char* p) {
    uint32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return {Register{} + pair};
  }
  static Pairs load_permuted(const char* p, Pairs index) {
    const Pairs pairs = load(p);
    for (int l = 0; l < F32::kLanes; ++l) index.v[l] = pairs.v[index.v[l]];
    return index;
  }
};

inline F32 normal(Pairs::Register bits) {
  bits = (bits & 0x7f800000u) != 0 ? bits : bits & 0x80000000u;
  F32 a;
  __builtin_memcpy(&a.v, &bits, sizeof bits);
  return a;
}
inline F32 normal(F32 a) {
  Pairs::Register bits;
  __builtin_memcpy(&bits, &a.v, sizeof bits);
  return normal(bits);
}

[[gnu::noinline]] inline void accumulate(F32& sum, Pairs a, Pairs b) {
  sum = normal(normal(sum) + normal(normal(a.v & 0xffff0000u) * normal(b.v & 0xffff0000u)));
  sum = normal(sum + normal(normal(a.v << 16) * normal(b.v << 16)));
}
inline void accumulate(F32& sum, const char* a, Pairs b) { accumulate(sum, Pairs::broadcast(a), b); }

}  // namespace lucid::LUCID_ISA
