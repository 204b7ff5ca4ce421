#include "core/cpu_features.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lucid {

#if defined(__x86_64__)
namespace {

// Linux hands the 8 KB of tile registers out on request only, and refuses where a thread's signal stack is too small
// to save them (https://docs.kernel.org/arch/x86/xstate.html).
bool tile_registers_granted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

}  // namespace
#endif

// __builtin_cpu_supports also asks XGETBV whether the operating system saves the registers.
uint32_t cpu_features() {
  uint32_t found = kBaseline;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= kAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    found |= kAvx512;
  if (__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") && tile_registers_granted())
    found |= kAmx;
#endif
  return found;
}

}  // namespace lucid
