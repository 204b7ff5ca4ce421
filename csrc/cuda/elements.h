// Loads and stores of elements of any dtype as float32: sixteen bytes at a time, or one element.
//
// A kernel is a template over the way it reads its elements, of which there are three. Which dtype of 16 bits it has is
// asked at run time: all threads take the same branch, memory bounds these kernels, and a quarter of the instances
// goes.
#pragma once

#include <math.h>

#include <initializer_list>

#include "cuda/backend.h"
#include "cuda/cuda_compat.h"

namespace lucid::cuda {

__device__ __forceinline__ float element_of_bits(Dtype dtype, uint16_t bits) {
  if (dtype == Dtype::kBfloat16) return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  __half value;
  memcpy(&value, &bits, sizeof value);
  return __half2float(value);
}

__device__ __forceinline__ uint16_t bits_of_element(Dtype dtype, float element) {
  uint16_t bits;
  if (dtype == Dtype::kBfloat16) {
    const __nv_bfloat16 value = __float2bfloat16(element);
    memcpy(&bits, &value, sizeof bits);
  } else {
    const __half value = __float2half_rn(element);
    memcpy(&bits, &value, sizeof bits);
  }
  return bits;
}

__device__ __forceinline__ float load_element(Dtype dtype, const void* base, int64_t index) {
  if (dtype == Dtype::kFloat32) return static_cast<const float*>(base)[index];
  return element_of_bits(dtype, static_cast<const uint16_t*>(base)[index]);
}

__device__ __forceinline__ void store_element(Dtype dtype, void* base, int64_t index, float element) {
  if (dtype == Dtype::kFloat32)
    static_cast<float*>(base)[index] = element;
  else
    static_cast<uint16_t*>(base)[index] = bits_of_element(dtype, element);
}

// `Bits` are elements as they come from memory; zeros are zeros in every dtype. Indices count elements; those of
// several elements are multiples of kWidth, and the base is a multiple of 16 bytes.

struct FourFloats {
  static constexpr int kWidth = 4;

  using Bits = float4;

  __device__ __forceinline__ Bits load_bits(const void* base, int64_t index) const {
    return *reinterpret_cast<const float4*>(static_cast<const float*>(base) + index);
  }
  __device__ __forceinline__ void unpack(const Bits& v, float (&values)[kWidth]) const {
    values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
  }
  __device__ __forceinline__ void load(const void* base, int64_t index, float (&values)[kWidth]) const {
    unpack(load_bits(base, index), values);
  }
  __device__ __forceinline__ void store(void* base, int64_t index, const float (&values)[kWidth]) const {
    *reinterpret_cast<float4*>(static_cast<float*>(base) + index) =
        make_float4(values[0], values[1], values[2], values[3]);
  }
  __device__ __forceinline__ float load_one(const void* base, int64_t index) const {
    return static_cast<const float*>(base)[index];
  }
  __device__ __forceinline__ void store_one(void* base, int64_t index, float value) const {
    static_cast<float*>(base)[index] = value;
  }
};

struct EightHalves {
  static constexpr int kWidth = 8;
  Dtype dtype;

  using Bits = uint4;

  __device__ __forceinline__ Bits load_bits(const void* base, int64_t index) const {
    return *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(base) + index);
  }
  __device__ __forceinline__ void load(const void* base, int64_t index, float (&values)[kWidth]) const {
    unpack(load_bits(base, index), values);
  }
  __device__ __forceinline__ void unpack(const Bits& v, float (&values)[kWidth]) const {
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    if (dtype == Dtype::kBfloat16) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        values[2 * i] = __uint_as_float(words[i] << 16);
        values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        __half2 pair;
        memcpy(&pair, &words[i], sizeof pair);
        const float2 both = __half22float2(pair);
        values[2 * i] = both.x, values[2 * i + 1] = both.y;
      }
    }
  }
  __device__ __forceinline__ void store(void* base, int64_t index, const float (&values)[kWidth]) const {
    uint32_t words[4];
    if (dtype == Dtype::kBfloat16) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
        memcpy(&words[i], &pair, sizeof pair);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const __half2 pair = __floats2half2_rn(values[2 * i], values[2 * i + 1]);
        memcpy(&words[i], &pair, sizeof pair);
      }
    }
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(base) + index) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
  __device__ __forceinline__ float load_one(const void* base, int64_t index) const {
    return load_element(dtype, base, index);
  }
  __device__ __forceinline__ void store_one(void* base, int64_t index, float value) const {
    store_element(dtype, base, index, value);
  }
};

struct OneElement {
  static constexpr int kWidth = 1;
  Dtype dtype;

  using Bits = float;

  __device__ __forceinline__ Bits load_bits(const void* base, int64_t index) const {
    return load_element(dtype, base, index);
  }
  __device__ __forceinline__ void unpack(Bits value, float (&values)[kWidth]) const { values[0] = value; }
  __device__ __forceinline__ void load(const void* base, int64_t index, float (&values)[kWidth]) const {
    values[0] = load_element(dtype, base, index);
  }
  __device__ __forceinline__ void store(void* base, int64_t index, const float (&values)[kWidth]) const {
    store_element(dtype, base, index, values[0]);
  }
  __device__ __forceinline__ float load_one(const void* base, int64_t index) const {
    return load_element(dtype, base, index);
  }
  __device__ __forceinline__ void store_one(void* base, int64_t index, float value) const {
    store_element(dtype, base, index, value);
  }
};

// kWidth floats of a vector that has one for each channel.
template <int kWidth>
__device__ __forceinline__ void load_floats(const float* base, int64_t index, float (&values)[kWidth]) {
  if constexpr (kWidth == 1) {
    values[0] = base[index];
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(base + index + i);
      values[i] = v.x, values[i + 1] = v.y, values[i + 2] = v.z, values[i + 3] = v.w;
    }
  }
}

// 0 for what is negative: NaN stays NaN, and -0 is not negative.
__device__ __forceinline__ float rectified(float value) { return 0.0f > value ? 0.0f : value; }

// How many elements sixteen bytes are.
inline int64_t width_of(Dtype dtype) { return 16 / size_of(dtype); }

inline bool are_aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  return true;
}

// Calls function(access) with the widest that serves: `c` elements lie side by side everywhere. Kernels number them by
// 32 bits, as a division of 64 takes a hundred instructions.
template <class Function>
Error with_access(Dtype dtype, int64_t c, std::initializer_list<const void*> pointers, Function function) {
  if (c > INT32_MAX) return cudaErrorInvalidValue;
  if (c % width_of(dtype) != 0 || !are_aligned(pointers)) return function(OneElement{dtype});
  if (dtype == Dtype::kFloat32) return function(FourFloats{});
  return function(EightHalves{dtype});
}

inline int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

// Nothing to do is no error; more blocks than a grid may have is one.
template <class... Parameters, class... Arguments>
Error launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int64_t threads, size_t shared, Stream stream,
                    Arguments... arguments) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared,
                            static_cast<cudaStream_t>(stream)};
  return launch(kernel, config, arguments...);
}

}  // namespace lucid::cuda
