// The weights of split attention: a softmax of a channel's logits over the splits, or their sigmoid if there is one.
#pragma once

#include "cuda/elements.h"

namespace lucid::cuda {

// The logits of one channel, `width` being c / cardinality: that is how far they are apart.
struct SplitLogits {
  Dtype dtype;
  const void* logits;
  int32_t step, radix;
  int64_t first;

  __device__ __forceinline__ SplitLogits(Dtype dtype, const void* logits, int64_t image, int32_t radix, int64_t c,
                                         int32_t width, int32_t channel)
      : dtype(dtype), logits(logits), step(width), radix(radix) {
    first = (image * c + channel / width * width) * radix + channel % width;
  }

  __device__ __forceinline__ float at(int32_t r) const {
    return load_element(dtype, logits, first + static_cast<int64_t>(r) * step);
  }
};

struct SplitSoftmax {
  float largest, total;

  __device__ __forceinline__ explicit SplitSoftmax(const SplitLogits& logits) : largest(logits.at(0)), total(0.0f) {
    for (int32_t r = 1; r < logits.radix; ++r) {
      const float logit = logits.at(r);
      if (logit > largest) largest = logit;
    }
    for (int32_t r = 0; r < logits.radix; ++r) total += expf(logits.at(r) - largest);
  }

  __device__ __forceinline__ float weight(const SplitLogits& logits, int32_t r) const {
    if (logits.radix == 1) return 1.0f / (1.0f + expf(-logits.at(0)));
    return expf(logits.at(r) - largest) / total;
  }
};

}  // namespace lucid::cuda
