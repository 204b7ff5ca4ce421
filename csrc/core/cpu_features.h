// The features that this processor and its operating system have, as a bit set.
#pragma once

#include <cstdint>

namespace lucid {

enum CpuFeature : uint32_t {
  kBaseline = 0,
  kAvx2 = 1u << 0,    // avx2, fma
  kAvx512 = 1u << 1,  // f, bw, vl, dq
  kAmx = 1u << 2,     // tile, bf16
  kNeon = 1u << 3,    // Advanced SIMD of AArch64, with FMA
  kAvx512Bf16 = 1u << 4,
};

uint32_t cpu_features();

}  // namespace lucid
