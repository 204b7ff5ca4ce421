// Split attention: y[c] = sum over r of a[r][c] * x[r][c], where a is the softmax of the logits over r, or their
// sigmoid when there is one split.
//
// The weights are few (radix * c an image), and take one exponential each; the sum is bound by memory, reading radix
// values for each that it writes.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {

void split_attention_weights(const SplitAttention& p, int64_t begin, int64_t end) {
  const int64_t width = p.c / p.cardinality;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / p.c, channel = task % p.c, group = channel / width;
    const float* logits = p.logits + image * p.radix * p.c + group * p.radix * width + channel % width;
    float* weights = p.weights + image * p.radix * p.c + channel;
    if (p.radix == 1) {
      weights[0] = 1.0f / (1.0f + expf(-logits[0]));
      continue;
    }
    float largest = logits[0];
    for (int64_t r = 1; r < p.radix; ++r)
      if (logits[r * width] > largest) largest = logits[r * width];
    float total = 0.0f;
    for (int64_t r = 0; r < p.radix; ++r) total += weights[r * p.c] = expf(logits[r * width] - largest);
    for (int64_t r = 0; r < p.radix; ++r) weights[r * p.c] /= total;
  }
}

void split_attention(const SplitAttention& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* weights = p.weights + row / p.h * p.radix * p.c;
    for (int64_t column = 0; column < p.w; ++column) {
      const float* x = p.x.data + row / p.h * p.x.image + row % p.h * p.x.row + column * p.x.pixel;
      float* y = p.y.data + row / p.h * p.y.image + row % p.h * p.y.row + column * p.y.pixel;
      for_each_vector(p.channels, [&](int64_t i, auto lanes) {
        F32 sum = lanes.load(x + i) * lanes.load(weights + i);
        for (int64_t r = 1; r < p.radix; ++r)
          sum = fma(lanes.load(x + r * p.x_radix + i), lanes.load(weights + r * p.c + i), sum);
        lanes.store(sum, y + i);
      });
    }
  }
}

}  // namespace lucid::LUCID_ISA
