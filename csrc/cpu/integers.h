// Arithmetic on sizes.
#pragma once

#include <stdint.h>

#include "cpu/layout.h"

namespace lucid::LUCID_ISA {

constexpr int64_t kFloatBytes = sizeof(float);

constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// At least `floats`, and an odd number of cache lines: at distances of 4 KB all would fall into one set of L1.
constexpr int64_t odd_lines(int64_t floats) { return (ceil_div(floats, kBlockOf<float>) | 1) * kBlockOf<float>; }

}  // namespace lucid::LUCID_ISA
