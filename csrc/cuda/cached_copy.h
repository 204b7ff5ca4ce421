// Asynchronous copies to shared memory by way of the first cache (cp.async.ca), or zeros: __pipeline_memcpy_async() has
// 16 bytes pass that cache by, and no zeros that a thread decides on. They are committed and awaited as its copies are.
#pragma once

#include "cuda/cuda_compat.h"

namespace lucid::cuda {

// Of 8 or 16 bytes, from kFrom bytes behind `from` to kTo behind `to`: offsets that the instruction has. Where nothing
// is loaded, `from` may be anywhere.
template <int kBytes, int kTo = 0, int kFrom = 0>
__device__ __forceinline__ void copy_cached(void* to, const void* from, bool exists) {
  static_assert(kTo % kBytes == 0 && kFrom % kBytes == 0);
#ifdef LUCID_CUDA_HOST
  __pipeline_memcpy_async(static_cast<char*>(to) + kTo, static_cast<const char*>(from) + kFrom, kBytes,
                          exists ? 0 : kBytes);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  using Vector = std::conditional_t<kBytes == 16, uint4, uint2>;
  static_cast<Vector*>(to)[kTo / kBytes] = exists ? static_cast<const Vector*>(from)[kFrom / kBytes] : Vector{};
#else
  asm volatile("cp.async.ca.shared.global [%0 + %4], [%1 + %5], %2, %3;" ::"r"(unsigned(__cvta_generic_to_shared(to))),
               "l"(from), "n"(kBytes), "r"(exists ? kBytes : 0), "n"(kTo), "n"(kFrom)
               : "memory");
#endif
}

}  // namespace lucid::cuda
