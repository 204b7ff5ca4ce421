// Elements as they are stored (float, __half, __nv_bfloat16), and in float32, in which every sum is formed.
#pragma once

#include <type_traits>

#include "cuda/cuda_compat.h"

namespace lucid::cuda {

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16(value);
}

template <class To, class From>
__device__ __forceinline__ To convert_to(From value) {
  if constexpr (std::is_same_v<To, From>) return value;
  return from_float<To>(to_float(value));
}

// Neighbours that are loaded and stored together; their address must be a multiple of their size, or of 16 bytes, which
// is the most that one instruction moves.
template <class T, int kCount>
struct alignas(kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16) Elements {
  T at[kCount];
};

template <int kCount, class T>
__device__ __forceinline__ void load_floats(const T* from, float (&values)[kCount]) {
  const auto loaded = *reinterpret_cast<const Elements<T, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = to_float(loaded.at[i]);
}

// Whether the device that is compiled for has tensor cores for the type.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <class T>
constexpr bool kHasTensorCores = std::is_same_v<T, __half>;
#else
template <class T>
constexpr bool kHasTensorCores = true;
#endif

inline bool is_aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

}  // namespace lucid::cuda
