// Neighbouring outputs of a pixel, whose sums a lane has in registers.
#pragma once

#include "cuda/conv2d_epilogue.h"

namespace lucid::cuda {

template <class T>
__device__ __forceinline__ uint32_t pair_of(float first, float second) {
  uint32_t bits;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    memcpy(&bits, &pair, sizeof bits);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    memcpy(&bits, &pair, sizeof bits);
  }
  return bits;
}

// Finishes and stores the first `count` of neighbours, all of them at once if there are all and addresses allow it.
template <class T, int kCount>
__device__ __forceinline__ void store_neighbours(const Conv2dEpilogue<T>& epilogue, bool at_once, int64_t at, int count,
                                                 float (&values)[kCount]) {
  const T* residual = epilogue.residual;
  const float least = epilogue.relu ? 0.0f : -INFINITY;  // a NaN is not less
  if (at_once) {
    if (residual != nullptr) {
      float more[kCount];
      load_floats(residual + at, more);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += more[i];
    }
    Elements<uint32_t, kCount / 2> pairs;
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = values[i] < least ? least : values[i];
#pragma unroll
    for (int i = 0; i < kCount; i += 2) pairs.at[i / 2] = pair_of<T>(values[i], values[i + 1]);
    *reinterpret_cast<Elements<uint32_t, kCount / 2>*>(epilogue.y + at) = pairs;
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (i < count) {
      const float value = values[i] + (residual != nullptr ? to_float(residual[at + i]) : 0.0f);
      epilogue.y[at + i] = from_float<T>(value < least ? least : value);
    }
}

}  // namespace lucid::cuda
