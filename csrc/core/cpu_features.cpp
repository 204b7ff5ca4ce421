#include "core/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lucid {

#if defined(__x86_64__)
namespace {

// Asked of the processor itself: GCC 11 and Clang 14 do not know the features' names.
bool has_avx512_bf16() {
  constexpr unsigned kBf16 = 1u << 5;
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBf16) != 0;
}

bool has_amx() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & (kBf16 | kTile)) == (kBf16 | kTile);
}

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
  if (has_avx512_bf16()) found |= kAvx512Bf16;
  if (has_amx() && tile_registers_granted()) found |= kAmx;
#elif defined(__aarch64__)
  found |= kNeon;  // no AArch64 Linux, macOS or Windows runs without it, and its calling convention passes floats in it
#endif
  return found;
}

}  // namespace lucid
