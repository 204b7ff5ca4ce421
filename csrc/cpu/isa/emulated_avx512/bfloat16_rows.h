// See isa/avx512/bfloat16_rows.h.
#pragma once

#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

inline void store_rounded(F32 low, F32 high, char* to) {
  auto* y = reinterpret_cast<Bfloat16*>(to);
  Whole{}.store(low, y);
  Whole{}.store(high, y + F32::kLanes);
}

inline void store_rounded(F32 a, char* to) { Whole{}.store(a, reinterpret_cast<Bfloat16*>(to)); }

}  // namespace lucid::LUCID_ISA
