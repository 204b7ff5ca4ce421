// Four neighbouring channels, loaded or stored at once: 16 bytes of float32, 8 of float16 and bfloat16.
#pragma once

#include "cuda/conv2d_elements.h"
#include "cuda/cuda_compat.h"

namespace lucid::cuda {

template <class T>
__device__ float4 load_quad(const T* from) {
  float value[4];
  load_floats(from, value);
  return make_float4(value[0], value[1], value[2], value[3]);
}

template <class T>
__device__ void store_quad(T* to, const float4& quad) {
  *reinterpret_cast<Elements<T, 4>*>(to) = {
      {from_float<T>(quad.x), from_float<T>(quad.y), from_float<T>(quad.z), from_float<T>(quad.w)}};
}

__device__ inline float4 zero_quad() { return make_float4(0.0f, 0.0f, 0.0f, 0.0f); }

// sum += factor * quad
__device__ inline void multiply_add(float4& sum, float factor, const float4& quad) {
  sum.x = fmaf(factor, quad.x, sum.x);
  sum.y = fmaf(factor, quad.y, sum.y);
  sum.z = fmaf(factor, quad.z, sum.z);
  sum.w = fmaf(factor, quad.w, sum.w);
}

}  // namespace lucid::cuda
