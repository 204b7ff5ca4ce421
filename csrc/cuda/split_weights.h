// The weights of split attention: a softmax of a channel's logits over the splits, or their sigmoid if there is one.
#pragma once

#include "cuda/divisor.h"
#include "cuda/elements.h"

namespace lucid::cuda {

// The logits of one channel, `width` being c / cardinality: that is how far they are apart.
struct SplitLogits {
  Dtype dtype;
  const void* logits;
  int32_t step, radix;
  int64_t first;

  __device__ __forceinline__ SplitLogits(Dtype dtype, const void* logits, int64_t image, int32_t radix, int64_t c,
                                         const Divisor& width, int32_t channel)
      : dtype(dtype), logits(logits), step(static_cast<int32_t>(width.value)), radix(radix) {
    const int32_t group = width.quotient(channel), in_group = width.remainder(channel, group);
    first = image * c * radix + static_cast<int64_t>(channel - in_group) * radix + in_group;
  }

  __device__ __forceinline__ float at(int32_t r) const {
    return load_element(dtype, logits, first + static_cast<int64_t>(r) * step);
  }
};

__device__ __forceinline__ float larger(float largest, float logit) { return logit > largest ? logit : largest; }
__device__ __forceinline__ float sigmoid(float logit) { return 1.0f / (1.0f + expf(-logit)); }

// All weights of a channel, `step` floats apart: memory in which the logits stand first.
__device__ __forceinline__ void store_weights(const SplitLogits& logits, float* weights, int32_t step) {
  if (logits.radix == 1) {
    weights[0] = sigmoid(logits.at(0));
    return;
  }
  const int32_t end = logits.radix * step;
  int64_t at = logits.first;
  float largest = -INFINITY, total = 0.0f;
#pragma unroll 1
  for (int32_t r = 0; r < end; r += step, at += logits.step) {
    weights[r] = load_element(logits.dtype, logits.logits, at);
    largest = larger(largest, weights[r]);
  }
#pragma unroll 1
  for (int32_t r = 0; r < end; r += step) total += weights[r] = expf(weights[r] - largest);
#pragma unroll 1
  for (int32_t r = 0; r < end; r += step) weights[r] /= total;
}

// What one weight of many is made of.
struct SplitSoftmax {
  float largest, total;

  __device__ __forceinline__ explicit SplitSoftmax(const SplitLogits& logits) : largest(logits.at(0)), total(0.0f) {
    for (int32_t r = 1; r < logits.radix; ++r) largest = larger(largest, logits.at(r));
    for (int32_t r = 0; r < logits.radix; ++r) total += expf(logits.at(r) - largest);
  }

  __device__ __forceinline__ float weight(const SplitLogits& logits, int32_t r) const {
    if (logits.radix == 1) return sigmoid(logits.at(0));
    return expf(logits.at(r) - largest) / total;
  }
};

}  // namespace lucid::cuda
