// The measurement of the matrix unit's peak, for instruction sets that have one.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

constexpr int64_t (*kMatrixPeak)(int64_t, float*) = nullptr;

}  // namespace lucid::LUCID_ISA
