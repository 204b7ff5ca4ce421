#pragma once
#include "core/cpu_features.h"

namespace lucid::LUCID_ISA {
constexpr const char* kName = "amx";
constexpr uint32_t kRequired = kAvx512 | kAvx512Bf16 | kAmx;
}  // namespace lucid::LUCID_ISA
