// Split attention: y[c] = sum over r of a[r][c] * x[r][c], where a is the softmax of the logits over r, or their
// sigmoid when there is one split.
//
// The weights are few (radix * c an image), and take one exponential each; the sum is bound by memory, reading radix
// values for each that it writes.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// Of one channel: its logits are `width` floats apart, its weights c.
void softmax(const float* logits, int64_t width, float* weights, int64_t c, int64_t radix) {
  float largest = logits[0];
  for (int64_t r = 1; r < radix; ++r)
    if (logits[r * width] > largest) largest = logits[r * width];
  float total = 0.0f;
  for (int64_t r = 0; r < radix; ++r) total += weights[r * c] = expf(logits[r * width] - largest);
  for (int64_t r = 0; r < radix; ++r) weights[r * c] /= total;
}

}  // namespace

void split_attention_weights(const SplitAttention& p, int64_t begin, int64_t end) {
  const int64_t width = p.c / p.cardinality;
  while (begin < end) {  // what the share has of one group's channels
    const int64_t image = begin / p.c, channel = begin % p.c, group = channel / width, first = channel % width;
    const float* logits = p.logits + (image * p.c + group * width) * p.radix + first;
    float* weights = p.weights + image * p.radix * p.c + channel;
    const int64_t count = width - first < end - begin ? width - first : end - begin;
    for (int64_t i = 0; i < count; ++i)
      if (p.radix == 1)
        weights[i] = 1.0f / (1.0f + expf(-logits[i]));
      else
        softmax(logits + i, width, weights + i, p.c, p.radix);
    begin += count;
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
