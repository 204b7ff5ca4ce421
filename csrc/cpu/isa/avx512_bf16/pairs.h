// Pairs of bfloat16, one a lane, and their products: VDPBF16PS, which does twice the work of an FMA in the same time.
// Instructions with a memory operand are spelled out, as in vec.h and permute.h of AVX-512.
#pragma once

#include <immintrin.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

struct Pairs {
  __m512i v;
  static Pairs load(const char* p) { return {_mm512_loadu_si512(p)}; }
  static Pairs broadcast(const char* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return {_mm512_set1_epi32(pair)};
  }
  // Lane l takes pair number index[l].
  static Pairs load_permuted(const char* p, Pairs index) {
    struct Block {
      char bytes[64];
    };
    Pairs result;
    asm("vpermd %1, %2, %0" : "=v"(result.v) : "m"(*reinterpret_cast<const Block*>(p)), "v"(index.v));
    return result;
  }
};

// sum[l] += a[l][1] * b[l][1], then += a[l][0] * b[l][0].
inline void accumulate(F32& sum, Pairs a, Pairs b) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum.v) : "v"(a.v), "v"(b.v)); }

// The same pair of x for all lanes, from memory.
inline void accumulate(F32& sum, const char* a, Pairs b) {
  struct Pair {
    char bytes[4];
  };
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum.v) : "v"(b.v), "m"(*reinterpret_cast<const Pair*>(a)));
}

}  // namespace lucid::LUCID_ISA
