// Gradients of split attention: dx[r][c] = a[r][c] * dy[c], and with s[r][c] = sum over the pixels of dy[c] * x[r][c]
// dlogits[r][c] = a[r][c] * (s[r][c] - sum over q of a[q][c] * s[q][c]), or a * (1 - a) * s where there is one split.
//
// Bound by memory: x and dy are read once and dx is written once, in one pass. Sums of a block of pixels are float32,
// four pixels in pairs at a time, and stay in L1; blocks are combined in double and in order.
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// kPixels pixels of all splits, the first at `pixel`.
template <int kPixels>
void differentiate(const SplitAttentionBackward& p, int64_t pixel, const float* weights, float* sums) {
  const int64_t width = p.radix * p.c;
  for_each_vector(p.c, [&](int64_t i, auto lanes) {
    F32 dy[kPixels];
#pragma GCC unroll 4
    for (int m = 0; m < kPixels; ++m) dy[m] = lanes.load(p.dy + (pixel + m) * p.c + i);
    for (int64_t c = i; c < width; c += p.c) {
      const F32 weight = lanes.load(weights + c);
      F32 product[kPixels];
#pragma GCC unroll 4
      for (int m = 0; m < kPixels; ++m) {
        product[m] = dy[m] * lanes.load(p.x + (pixel + m) * width + c);
        lanes.store(dy[m] * weight, p.dx + (pixel + m) * width + c);
      }
#pragma GCC unroll 2
      for (int half = kPixels / 2; half > 0; half /= 2)
#pragma GCC unroll 2
        for (int m = 0; m < half; ++m) product[m] = product[m] + product[m + half];
      lanes.store(lanes.load(sums + c) + product[0], sums + c);
    }
  });
}

}  // namespace

void split_attention_backward(const SplitAttentionBackward& p, int64_t begin, int64_t end) {
  constexpr int kTogether = 4;
  const int64_t width = p.radix * p.c, blocks = p.blocks();
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / blocks, first = task % blocks * p.kPixels;
    const int64_t last = first + p.kPixels < p.pixels ? first + p.kPixels : p.pixels;
    const float* weights = p.weights + image * width;
    float* sums = p.sums + task * width;
    for (int64_t c = 0; c < width; ++c) sums[c] = 0.0f;
    int64_t pixel = first;
    for (; pixel + kTogether <= last; pixel += kTogether)
      differentiate<kTogether>(p, image * p.pixels + pixel, weights, sums);
    for (; pixel < last; ++pixel) differentiate<1>(p, image * p.pixels + pixel, weights, sums);
  }
}

void split_attention_backward_logits(const SplitAttentionBackward& p, int64_t begin, int64_t end) {
  const int64_t width = p.c / p.cardinality, blocks = p.blocks();
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / p.c, channel = task % p.c;
    const float* weights = p.weights + image * p.radix * p.c + channel;
    const float* sums = p.sums + image * blocks * p.radix * p.c + channel;
    // The logits of a channel are `width` floats apart, inside the group that it is of.
    float* dlogits = p.dlogits + (image * p.c + channel / width * width) * p.radix + channel % width;
    const auto sum_of = [&](int64_t r) {
      double sum = 0.0;
      for (int64_t block = 0; block < blocks; ++block) sum += static_cast<double>(sums[(block * p.radix + r) * p.c]);
      return sum;
    };
    if (p.radix == 1) {
      const double weight = static_cast<double>(weights[0]);
      dlogits[0] = static_cast<float>(weight * (1.0 - weight) * sum_of(0));
      continue;
    }
    double average = 0.0;
    for (int64_t r = 0; r < p.radix; ++r) average += static_cast<double>(weights[r * p.c]) * sum_of(r);
    for (int64_t r = 0; r < p.radix; ++r)
      dlogits[r * width] = static_cast<float>(static_cast<double>(weights[r * p.c]) * (sum_of(r) - average));
  }
}

}  // namespace lucid::LUCID_ISA
