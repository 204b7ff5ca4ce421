// The gradient of radix sum pooling: dx[n][h][w][r * C + c] = dy[n][c] / (h * w).
//
// Bound by writing dx once; the quotients of a row's pixels are the same, and dividing again costs nothing beside it.
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

void radix_sum_pool_backward(const RadixSumPoolBackward& p, int64_t begin, int64_t end) {
  const F32 pixels = F32::broadcast(static_cast<float>(p.h * p.w));
  for (int64_t row = begin; row < end; ++row) {
    const float* dy = p.dy + row / p.h * p.c;
    float* dx = p.dx + row * p.w * p.radix * p.c;
    for (int64_t split = 0; split < p.w * p.radix; ++split)
      for_each_vector(p.c,
                      [&](int64_t i, auto lanes) { lanes.store(lanes.load(dy + i) / pixels, dx + split * p.c + i); });
  }
}

}  // namespace lucid::LUCID_ISA
