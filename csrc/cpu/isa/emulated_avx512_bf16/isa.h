#pragma once
#include "core/cpu_features.h"

namespace lucid::LUCID_ISA {
constexpr const char* kName = "emulated_avx512_bf16";
constexpr uint32_t kRequired = kAvx2;
}  // namespace lucid::LUCID_ISA
