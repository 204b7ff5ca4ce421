// See isa/amx/bfloat16_rows.h.
#pragma once

#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

inline void store_rounded(F32 low, F32 high, char* to) {
  auto* y = reinterpret_cast<Bfloat16*>(to);
  Whole{}.store(low, y);
  Whole{}.store(high, y + F32::kLanes);
}

}  // namespace lucid::LUCID_ISA
