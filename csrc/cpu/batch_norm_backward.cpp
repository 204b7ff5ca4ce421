// Gradients of batch norm: with g = dy, or behind a ReLU dy where y is positive,
//   dbias = sum of g, dweight = sum of g * (x - mean) / sqrt(var + eps),
//   dx = scale * (g - dbias / N - (x - mean) * (sum of g * (x - mean)) / (N * (var + eps))).
//
// Bound by memory: dy, x and y are read once for the sums and once more for dx. Nothing of an image's size is kept
// between, unless the gradient of a residual is asked for: that is g, and dx then reads it instead of dy and y. Sums of
// a block of pixels are float32, four pixels in pairs at a time, and stay in L1; blocks are combined in double and in
// order.
#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/positive.h"

namespace lucid::LUCID_ISA {
namespace {

template <bool kRelu, class Lanes>
inline F32 gradient(const BatchNormBackward& p, int64_t at, Lanes lanes) {
  const F32 dy = lanes.load(p.dy + at);
  return kRelu ? where_positive(lanes.load(p.y + at), dy) : dy;
}

// Adds kPixels pixels, the first at `at`, to the sums of `channels` channels.
template <bool kRelu, int kPixels>
void add_pixels(const BatchNormBackward& p, int64_t at, int64_t channel, int64_t channels, float* sums) {
  for_each_vector(channels, [&](int64_t i, auto lanes) {
    const F32 mean = lanes.load(p.mean + channel + i);
    F32 plain[kPixels], product[kPixels];
#pragma GCC unroll 4
    for (int m = 0; m < kPixels; ++m) {
      plain[m] = gradient<kRelu>(p, at + m * p.c + i, lanes);
      if (p.dresidual != nullptr) lanes.store(plain[m], p.dresidual + at + m * p.c + i);
      product[m] = plain[m] * (lanes.load(p.x + at + m * p.c + i) - mean);
    }
#pragma GCC unroll 2
    for (int width = kPixels / 2; width > 0; width /= 2)
#pragma GCC unroll 2
      for (int m = 0; m < width; ++m) {
        plain[m] = plain[m] + plain[m + width];
        product[m] = product[m] + product[m + width];
      }
    lanes.store(lanes.load(sums + i) + plain[0], sums + i);
    lanes.store(lanes.load(sums + p.c + i) + product[0], sums + p.c + i);
  });
}

template <bool kRelu>
void sum_blocks(const BatchNormBackward& p, int64_t begin, int64_t end) {
  constexpr int kTogether = 4;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / p.channel_blocks, channel = task % p.channel_blocks * p.kChannels;
    const int64_t first = block * p.kPixels, left = p.pixels - first, channels_left = p.c - channel;
    const int64_t pixels = left < p.kPixels ? left : p.kPixels;
    const int64_t channels = channels_left < p.kChannels ? channels_left : p.kChannels;
    float* sums = p.sums + block * 2 * p.c + channel;
    for (int64_t i = 0; i < channels; ++i) sums[i] = sums[p.c + i] = 0.0f;
    int64_t m = 0;
    for (; m + kTogether <= pixels; m += kTogether)
      add_pixels<kRelu, kTogether>(p, (first + m) * p.c + channel, channel, channels, sums);
    for (; m < pixels; ++m) add_pixels<kRelu, 1>(p, (first + m) * p.c + channel, channel, channels, sums);
  }
}

template <bool kRelu, bool kTraining>
void differentiate(const BatchNormBackward& p, int64_t begin, int64_t end) {
  for (int64_t pixel = begin; pixel < end; ++pixel)
    for_each_vector(p.c, [&](int64_t i, auto lanes) {
      const int64_t at = pixel * p.c + i;
      F32 g = gradient<kRelu>(p, at, lanes);
      if (kTraining) {
        const F32 deviation = lanes.load(p.mean + i) - lanes.load(p.x + at);
        g = fma(deviation, lanes.load(p.deviation + i), g - lanes.load(p.gradient + i));
      }
      lanes.store(g * lanes.load(p.scale + i), p.dx + at);
    });
}

}  // namespace

void batch_norm_backward_sums(const BatchNormBackward& p, int64_t begin, int64_t end) {
  (p.y != nullptr ? sum_blocks<true> : sum_blocks<false>)(p, begin, end);
}

void batch_norm_backward_combine(const BatchNormBackward& p, int64_t begin, int64_t end) {
  const double pixels = static_cast<double>(p.pixels);
  for (int64_t c = begin; c < end; ++c) {
    double plain = 0.0, product = 0.0;
    for (int64_t block = 0; block < p.pixel_blocks; ++block) {
      plain += static_cast<double>(p.sums[block * 2 * p.c + c]);
      product += static_cast<double>(p.sums[block * 2 * p.c + p.c + c]);
    }
    const double inverse = static_cast<double>(p.inverse[c]);
    p.dbias[c * p.dbias_stride] = static_cast<float>(plain);
    p.dweight[c * p.dweight_stride] = static_cast<float>(product * inverse);
    p.gradient[c] = static_cast<float>(plain / pixels);
    p.deviation[c] = static_cast<float>(product * inverse * inverse / pixels);
  }
}

void batch_norm_backward(const BatchNormBackward& p, int64_t begin, int64_t end) {
  if (p.training)
    (p.y != nullptr ? differentiate<true, true> : differentiate<false, true>)(p, begin, end);
  else
    (p.y != nullptr ? differentiate<true, false> : differentiate<false, false>)(p, begin, end);
}

}  // namespace lucid::LUCID_ISA
