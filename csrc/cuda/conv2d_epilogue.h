// What follows a convolution's sum of products: y = max(0, sum + bias + residual). A NaN stays one.
#pragma once

#include "cuda/backend.h"
#include "cuda/conv2d_elements.h"

namespace lucid::cuda {

// y may be the memory of the residual: the thread that writes an element has read it before, and no other reads it.
template <class T>
struct Conv2dEpilogue {
  const float* bias;  // or null
  const T* residual;  // or null
  T* y;
  int64_t channels;  // of y
  bool relu;
  bool quads;  // four channels lie together: both addresses allow it, and a group is a multiple of 4
};

template <class T>
Conv2dEpilogue<T> epilogue_of(const Conv2d& arguments) {
  const size_t quad = 4 * sizeof(T);
  return {arguments.bias,
          static_cast<const T*>(arguments.residual),
          static_cast<T*>(arguments.y),
          arguments.shape.out_channels(),
          arguments.relu,
          arguments.shape.out_group % 4 == 0 && is_aligned(arguments.y, quad) && is_aligned(arguments.residual, quad)};
}

// The bias of the first `count` of four channels.
template <class T>
__device__ __forceinline__ void load_bias(const Conv2dEpilogue<T>& epilogue, int64_t channel, int count,
                                          float (&bias)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) bias[i] = epilogue.bias != nullptr && i < count ? epilogue.bias[channel + i] : 0.0f;
}

__device__ __forceinline__ float rectify(float value, bool relu) { return relu && value < 0.0f ? 0.0f : value; }

// Finishes the first `count` of four channels of a pixel and stores them; fewer than 4 are the last of a group.
template <class T>
__device__ __forceinline__ void finish(const Conv2dEpilogue<T>& epilogue, const float (&bias)[4], int64_t pixel,
                                       int64_t channel, int count, const float* sum) {
  const int64_t at = pixel * epilogue.channels + channel;
  if (epilogue.quads) {
    float residual[4] = {};
    if (epilogue.residual != nullptr) load_floats(epilogue.residual + at, residual);
    Elements<T, 4> y;
#pragma unroll
    for (int i = 0; i < 4; ++i) y.at[i] = from_float<T>(rectify(sum[i] + bias[i] + residual[i], epilogue.relu));
    *reinterpret_cast<Elements<T, 4>*>(epilogue.y + at) = y;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < count) {
      const float residual = epilogue.residual != nullptr ? to_float(epilogue.residual[at + i]) : 0.0f;
      epilogue.y[at + i] = from_float<T>(rectify(sum[i] + bias[i] + residual, epilogue.relu));
    }
}

}  // namespace lucid::cuda
