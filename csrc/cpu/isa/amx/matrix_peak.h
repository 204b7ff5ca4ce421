// See isa/generic/matrix_peak.h.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

int64_t matrix_peak(int64_t iterations, float* result);

constexpr int64_t (*kMatrixPeak)(int64_t, float*) = matrix_peak;

}  // namespace lucid::LUCID_ISA
