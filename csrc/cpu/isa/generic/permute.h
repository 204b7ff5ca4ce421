// Loads that permute channels inside groups of kGroup lanes, for the grouped kernels (see cpu/group_tile.h):
// lane l of load_permuted<kGroup, R> is the channel permuted_channel(kGroup, R, l) of its group.
#pragma once

#include <vec.h>

#include "cpu/permuted_channel.h"

namespace lucid::LUCID_ISA {

template <int kGroup, int R>
F32 load_permuted(const float* p) {
  const auto lane = [p](int l) { return p[l / kGroup * kGroup + permuted_channel(kGroup, R, l)]; };
  return {F32::Register{lane(0), lane(1), lane(2), lane(3)}};
}

}  // namespace lucid::LUCID_ISA
