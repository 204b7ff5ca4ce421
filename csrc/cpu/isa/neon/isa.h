#pragma once
#include "core/cpu_features.h"

namespace lucid::LUCID_ISA {
constexpr const char* kName = "neon";
constexpr uint32_t kRequired = kNeon;
}  // namespace lucid::LUCID_ISA
