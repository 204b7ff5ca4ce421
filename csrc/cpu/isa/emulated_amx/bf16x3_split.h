// See isa/amx/bf16x3_split.h.
#pragma once

#include <bf16x3_format.h>
#include <stdint.h>
#include <vec.h>

namespace lucid::LUCID_ISA {

inline void split(F32 even, F32 odd, char* to, int64_t part_bytes) {
  using Bits = uint32_t __attribute__((vector_size(64)));
  const auto cut = [](F32& x) {
    const Bits high = reinterpret_cast<Bits>(x.v) & 0xffff0000u;
    x.v -= reinterpret_cast<F32::Register>(high);
    return high;
  };
  for (int part = 0; part < kSplitParts; ++part) {
    const Bits low = cut(even) >> 16, pairs = cut(odd) | low;
    __builtin_memcpy(to + part * part_bytes, &pairs, sizeof pairs);
  }
}

inline bool any_nan(F32 x) {
  float lanes[F32::kLanes];
  x.store(lanes);
  for (const float lane : lanes)
    if (lane != lane) return true;
  return false;
}

}  // namespace lucid::LUCID_ISA
