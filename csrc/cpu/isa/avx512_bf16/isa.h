#pragma once
#include "core/cpu_features.h"

namespace lucid::LUCID_ISA {
constexpr const char* kName = "avx512_bf16";
constexpr uint32_t kRequired = kAvx512 | kAvx512Bf16;
}  // namespace lucid::LUCID_ISA
