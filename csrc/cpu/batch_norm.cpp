// Batch norm at inference: y = x * scale + shift per channel, with an optional ReLU.
//
// Bound by memory: each value is read and written once. Channels are contiguous, so scale and shift are read again for
// every pixel; at most 2048 channels, they stay in L1.
#include "cpu/kernels.h"
#include "vec.h"

namespace lucid::LUCID_ISA {
namespace {

template <bool kRelu>
void normalize(const BatchNorm& p, int64_t begin, int64_t end) {
  const F32 zero = F32::zero();
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float* x = p.x + pixel * p.c;
    float* y = p.y + pixel * p.c;
    int64_t i = 0;
    for (; i + F32::kLanes <= p.c; i += F32::kLanes) {
      const F32 v = fma(F32::load(x + i), F32::load(p.scale + i), F32::load(p.shift + i));
      (kRelu ? max(zero, v) : v).store(y + i);
    }
    for (; i < p.c; ++i) {
      const float v = x[i] * p.scale[i] + p.shift[i];
      y[i] = kRelu && v < 0.0f ? 0.0f : v;
    }
  }
}

}  // namespace

void batch_norm(const BatchNorm& p, int64_t begin, int64_t end) {
  (p.relu ? normalize<true> : normalize<false>)(p, begin, end);
}

}  // namespace lucid::LUCID_ISA
