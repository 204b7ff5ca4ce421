#include "core/cpu_features.h"

namespace lucid {

// __builtin_cpu_supports also asks XGETBV whether the operating system saves the registers.
uint32_t cpu_features() {
  uint32_t found = kBaseline;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= kAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    found |= kAvx512;
#endif
  return found;
}

}  // namespace lucid
