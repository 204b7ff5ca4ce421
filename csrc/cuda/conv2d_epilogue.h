// What follows a convolution's sum of products: y = max(0, sum + bias + residual). A NaN stays one.
#pragma once

#include "cuda/backend.h"
#include "cuda/conv2d_elements.h"
#include "cuda/elements.h"

namespace lucid::cuda {

// y may be the memory of the residual: the thread that writes an element has read it before, and no other reads it.
template <class T>
struct Conv2dEpilogue {
  const float* bias;  // or null
  const T* residual;  // or null
  T* y;
  int64_t channels;  // of y
  bool relu;
  // Whether four or eight channels lie together: both addresses allow it, and a group is a multiple of them.
  bool quads, eights;
};

template <class T>
Conv2dEpilogue<T> epilogue_of(const Conv2d& arguments) {
  const auto lie_together = [&](int count) {
    return arguments.shape.out_group % count == 0 && is_aligned(arguments.y, count * sizeof(T)) &&
           is_aligned(arguments.residual, count * sizeof(T));
  };
  return {arguments.bias,
          static_cast<const T*>(arguments.residual),
          static_cast<T*>(arguments.y),
          arguments.shape.out_channels(),
          arguments.relu,
          lie_together(4),
          lie_together(8)};
}

// The bias of the first `count` of four or eight channels.
template <class T, int kCount>
__device__ __forceinline__ void load_bias(const Conv2dEpilogue<T>& epilogue, int64_t channel, int count,
                                          float (&bias)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) bias[i] = epilogue.bias != nullptr && i < count ? epilogue.bias[channel + i] : 0.0f;
}

__device__ __forceinline__ float rectify(float value, bool relu) {
  return value < (relu ? 0.0f : -INFINITY) ? 0.0f : value;
}

// Neighbours that lie together. Eight of 16 bits move as 16 bytes, which the compiler makes of no array of elements.
template <class T, int kCount>
constexpr bool kIsVector = kCount == 8 && sizeof(T) == 2;
template <class T>
__device__ __forceinline__ EightHalves eight_of() {
  return {std::is_same_v<T, __half> ? Dtype::kFloat16 : Dtype::kBfloat16};
}

template <int kCount, class T>
__device__ __forceinline__ void load_together(const T* from, float (&values)[kCount]) {
  if constexpr (kIsVector<T, kCount>)
    eight_of<T>().load(from, 0, values);
  else
    load_floats(from, values);
}
template <int kCount, class T>
__device__ __forceinline__ void store_together(T* to, const float (&values)[kCount]) {
  if constexpr (kIsVector<T, kCount>) {
    eight_of<T>().store(to, 0, values);
  } else {
    Elements<T, kCount> elements;
#pragma unroll
    for (int i = 0; i < kCount; ++i) elements.at[i] = from_float<T>(values[i]);
    *reinterpret_cast<Elements<T, kCount>*>(to) = elements;
  }
}

// Finishes the first `count` of four or eight channels of a pixel and stores them; fewer are the last of a group.
template <class T, int kCount>
__device__ __forceinline__ void finish(const Conv2dEpilogue<T>& epilogue, const float (&bias)[kCount], int64_t pixel,
                                       int64_t channel, int count, const float* sum) {
  static_assert(kCount == 4 || kCount == 8);
  const int64_t at = pixel * epilogue.channels + channel;
  if (kCount == 4 ? epilogue.quads : epilogue.eights) {
    float residual[kCount] = {};
    if (epilogue.residual != nullptr) load_together(epilogue.residual + at, residual);
    float y[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) y[i] = rectify(sum[i] + bias[i] + residual[i], epilogue.relu);
    store_together(epilogue.y + at, y);
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (i < count) {
      const float residual = epilogue.residual != nullptr ? to_float(epilogue.residual[at + i]) : 0.0f;
      epilogue.y[at + i] = from_float<T>(rectify(sum[i] + bias[i] + residual, epilogue.relu));
    }
}

}  // namespace lucid::cuda
