// See isa/generic/permute.h.
#pragma once

#include <vec.h>

#include "cpu/permuted_channel.h"

namespace lucid::LUCID_ISA {

template <int kGroup, int R>
F32 load_permuted(const float* p) {
  F32 result = F32::zero();
  for (int l = 0; l < F32::kLanes; ++l) result.v[l] = p[l / kGroup * kGroup + permuted_channel(kGroup, R, l)];
  return result;
}

}  // namespace lucid::LUCID_ISA
