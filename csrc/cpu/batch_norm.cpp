// Batch norm: y = (x - mean) * scale + bias per channel, with an optional residual and ReLU; and the statistics.
//
// Bound by memory: each value is read and written once. Channels are contiguous, so mean, scale and bias are read again
// for every pixel; at most 2048 channels, they stay in L1. The mean is subtracted first, which costs nothing here:
// x * scale + (bias - mean * scale) loses the digits that both products share where the mean is far from zero.
//
// Statistics: the mean of a block of pixels, and the sums of deviations from it and of their squares, all within L1 or
// L2; then the blocks are combined in double precision and in order, by the formula of Chan, Golub & LeVeque (1979).
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

template <bool kResidual, bool kRelu, class Element>
void normalize_pixels(const BatchNormOf<Element>& p, int64_t begin, int64_t end) {
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const Element* x = p.x + pixel * p.c;
    Element* y = p.y + pixel * p.c;
    for_each_vector(p.c, [&](int64_t i, auto lanes) {
      F32 v = fma(lanes.load(x + i) - lanes.load(p.mean + i), lanes.load(p.scale + i), lanes.load(p.bias + i));
      if (kResidual) v = v + lanes.load(p.residual + pixel * p.c + i);
      lanes.store(kRelu ? max(F32::zero(), v) : v, y + i);
    });
  }
}

template <class Element>
void normalize(const BatchNormOf<Element>& p, int64_t begin, int64_t end) {
  if (p.residual != nullptr)
    (p.relu ? normalize_pixels<true, true, Element> : normalize_pixels<true, false, Element>)(p, begin, end);
  else
    (p.relu ? normalize_pixels<false, true, Element> : normalize_pixels<false, false, Element>)(p, begin, end);
}

// Pixels that are added one by one; sums of sums are rounded less often than one long sum.
constexpr int64_t kRun = 16;

// Moments of kVectors vectors of channels: x is the first pixel of the block, `moments` its mean; sums follow c floats
// apart.
template <int kVectors, class Lanes>
void block_moments(const float* x, int64_t pixels, int64_t c, float* moments, Lanes lanes) {
  F32 mean[kVectors], deviations[kVectors], squares[kVectors];
  for (int v = 0; v < kVectors; ++v) mean[v] = deviations[v] = squares[v] = F32::zero();
  for (int64_t m = 0; m < pixels; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) mean[v] = mean[v] + lanes.load(x + m * c + v * F32::kLanes);
  const F32 count = F32::broadcast(static_cast<float>(pixels));
  for (int v = 0; v < kVectors; ++v) mean[v] = mean[v] / count;
  for (int64_t begin = 0; begin < pixels; begin += kRun) {
    const int64_t end = begin + kRun < pixels ? begin + kRun : pixels;
    F32 run_deviations[kVectors], run_squares[kVectors];
    for (int v = 0; v < kVectors; ++v) run_deviations[v] = run_squares[v] = F32::zero();
    for (int64_t m = begin; m < end; ++m)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F32 deviation = lanes.load(x + m * c + v * F32::kLanes) - mean[v];
        run_deviations[v] = run_deviations[v] + deviation;
        run_squares[v] = fma(deviation, deviation, run_squares[v]);
      }
    for (int v = 0; v < kVectors; ++v) {
      deviations[v] = deviations[v] + run_deviations[v];
      squares[v] = squares[v] + run_squares[v];
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    lanes.store(mean[v], moments + v * F32::kLanes);
    lanes.store(deviations[v], moments + c + v * F32::kLanes);
    lanes.store(squares[v], moments + 2 * c + v * F32::kLanes);
  }
}

struct Moments {
  double count, mean, squares;  // mean of the block, sum of squared deviations from exactly that mean
};

// The block's mean is off by its rounding, which the sum of deviations tells. That sum is NaN where a value is
// infinite, and the mean then is right as it stands.
Moments moments_of(const BatchNormStatistics& p, int64_t block, int64_t channel) {
  const float* moments = p.moments + block * 3 * p.c + channel;
  const int64_t left = p.pixels - block * p.kPixels;
  const double count = static_cast<double>(left < p.kPixels ? left : p.kPixels);
  const double deviations = moments[p.c], off = deviations == deviations ? deviations / count : 0.0;
  return {count, moments[0] + off, moments[2 * p.c] - deviations * (deviations / count)};
}

}  // namespace

void batch_norm(const BatchNorm& p, int64_t begin, int64_t end) { normalize(p, begin, end); }

void batch_norm_bfloat16(const BatchNormOf<Bfloat16>& p, int64_t begin, int64_t end) { normalize(p, begin, end); }

void batch_norm_moments(const BatchNormStatistics& p, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / p.channel_blocks, first = task % p.channel_blocks * p.kChannels;
    const int64_t pixels_left = p.pixels - block * p.kPixels, channels_left = p.c - first;
    const int64_t pixels = pixels_left < p.kPixels ? pixels_left : p.kPixels;
    const int64_t channels = channels_left < p.kChannels ? channels_left : p.kChannels;
    const float* x = p.x + block * p.kPixels * p.c + first;
    float* moments = p.moments + block * 3 * p.c + first;
    constexpr int kVectors = 4;
    int64_t i = 0;
    for (; i + kVectors * F32::kLanes <= channels; i += kVectors * F32::kLanes)
      block_moments<kVectors>(x + i, pixels, p.c, moments + i, Whole{});
    for_each_vector(channels - i,
                    [&](int64_t j, auto lanes) { block_moments<1>(x + i + j, pixels, p.c, moments + i + j, lanes); });
  }
}

void batch_norm_combine(const BatchNormStatistics& p, int64_t begin, int64_t end) {
  const double pixels = static_cast<double>(p.pixels);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t first = task * p.kChannels, left = p.c - first;
    const int64_t channels = left < p.kChannels ? left : p.kChannels;
    double mean[p.kChannels] = {}, squares[p.kChannels] = {};
    for (int64_t block = 0; block < p.pixel_blocks; ++block)
      for (int64_t i = 0; i < channels; ++i) {
        const Moments m = moments_of(p, block, first + i);
        mean[i] += m.count * m.mean;
      }
    for (int64_t i = 0; i < channels; ++i) mean[i] /= pixels;
    for (int64_t block = 0; block < p.pixel_blocks; ++block)
      for (int64_t i = 0; i < channels; ++i) {
        const Moments m = moments_of(p, block, first + i);
        const double off = m.mean - mean[i];
        squares[i] += m.squares + m.count * (off * off);
      }
    for (int64_t i = 0; i < channels; ++i) {
      p.mean[(first + i) * p.mean_stride] = static_cast<float>(mean[i]);
      // Rounding can leave a constant channel a hair below zero; NaN stays NaN.
      p.var[(first + i) * p.var_stride] = squares[i] < 0.0 ? 0.0f : static_cast<float>(squares[i] / pixels);
    }
  }
}

}  // namespace lucid::LUCID_ISA
