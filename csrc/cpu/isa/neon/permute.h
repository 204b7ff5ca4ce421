// See isa/generic/permute.h.
#pragma once

#include <vec.h>

#include "cpu/permuted_channel.h"

namespace lucid::LUCID_ISA {

template <int kGroup, int R>
inline F32 load_permuted(const float* p) {
  if constexpr (kGroup == 1) return F32::load(p);
  static_assert(kGroup <= 4, "a vector holds whole groups");
  const float32x4_t x = vld1q_f32(p), pairs = R < 2 ? x : vextq_f32(x, x, 2);
  return {R % 2 == 0 ? vtrn1q_f32(pairs, pairs) : vtrn2q_f32(pairs, pairs)};
}

}  // namespace lucid::LUCID_ISA
