// Mean and biased variance of each channel.
//
// Bound by reading x once. A block of pixels sums deviations from an early estimate of its mean, that of its first
// pixels, and their squares: the estimate is near enough to lose at most three bits, where E[x^2] - E[x]^2 would lose
// all of them. Then the blocks are combined in double and in order, by the formula of Chan, Golub & LeVeque (1979).
#include "cuda/channel_sums.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

constexpr int kKinds = 3;  // the estimate, the sum of the deviations from it, the sum of their squares

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads)
    block_moments(BatchNormStatistics p, ChannelTile tile, float* moments, Access access) {
  constexpr int kWidth = Access::kWidth;
  LUCID_DYN_SHARED(float, parts);
  const TilePlace place(tile, blockIdx.x);
  const int32_t channel = place.vector * kWidth;
  const int64_t end = place.active ? place.end : 0;
  const int64_t early = static_cast<int64_t>(kFewestSteps) * tile.rows;
  const int64_t block_begin = place.pixel - place.row;
  const int64_t early_end = block_begin + early < end ? block_begin + early : end;
  float estimate[kWidth] = {};
#pragma unroll 4
  for (int64_t pixel = place.pixel; pixel < early_end; pixel += tile.rows) {
    float values[kWidth];
    access.load(p.x, pixel * p.c + channel, values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) estimate[i] += values[i];
  }
  add_rows(parts, tile, place, estimate);
  const float count = static_cast<float>(early_end - block_begin);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    estimate[i] /= count;
    // Without deviations from infinity, an infinite value gives an infinite mean, and NaN is due to NaN alone.
    if (!isfinite(estimate[i])) estimate[i] = 0.0f;
  }
  float deviations[kWidth] = {}, squares[kWidth] = {};
#pragma unroll 4
  for (int64_t pixel = place.pixel; pixel < end; pixel += tile.rows) {
    float values[kWidth];
    access.load(p.x, pixel * p.c + channel, values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float deviation = values[i] - estimate[i];
      deviations[i] += deviation;
      squares[i] = fmaf(deviation, deviation, squares[i]);
    }
  }
  add_rows(parts, tile, place, deviations);
  add_rows(parts, tile, place, squares);
  if (!place.active || place.row != 0) return;
  float* moment = moments + place.pixel_block * kKinds * p.c + channel;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    moment[i] = estimate[i];
    moment[p.c + i] = deviations[i];
    moment[2 * p.c + i] = squares[i];
  }
}

__global__ void __launch_bounds__(Combiner::kThreads)
    combine_moments(BatchNormStatistics p, ChannelTile tile, const float* moments) {
  LUCID_SHARED(double, parts, [Combiner::kRows][Combiner::kChannels]);
  const Combiner combiner(p.c);
  const int64_t blocks = tile.pixel_blocks();
  const auto count_of = [&](int64_t block) {
    const int64_t left = p.pixels - block * tile.block_pixels();
    return static_cast<double>(left < tile.block_pixels() ? left : tile.block_pixels());
  };
  const auto moment = [&](int64_t block, int kind) {
    return static_cast<double>(moments[(block * kKinds + kind) * p.c + combiner.channel]);
  };
  const double pixels = static_cast<double>(p.pixels);
  const double mean = combiner.sum(parts, blocks, [&](int64_t block) {
    return count_of(block) * moment(block, 0) + moment(block, 1);
  }) / pixels;
  const double squares = combiner.sum(parts, blocks, [&](int64_t block) {
    const double count = count_of(block), deviations = moment(block, 1), off = moment(block, 0) - mean;
    // Squares of deviations from the mean of all: (d + off)^2 = d^2 + 2 d off + off^2.
    return moment(block, 2) + off * (2.0 * deviations + count * off);
  });
  if (!combiner.active || combiner.row != 0) return;
  p.mean[combiner.channel] = static_cast<float>(mean);
  // Rounding can leave a constant channel a hair below zero; NaN stays NaN.
  p.var[combiner.channel] = squares < 0.0 ? 0.0f : static_cast<float>(squares / pixels);
}

}  // namespace

size_t batch_norm_statistics_bytes(const BatchNormStatistics& p) {
  return partial_bytes(p.dtype, p.pixels, p.c, kKinds);
}

Error batch_norm_statistics(const BatchNormStatistics& p, Stream stream) {
  float* const moments = static_cast<float*>(p.workspace);
  return with_access(p.dtype, p.c, {p.x}, [&](auto access) {
    constexpr int kWidth = decltype(access)::kWidth;
    const ChannelTile tile = sum_tile(p.pixels, p.c, kWidth);
    const size_t shared = sizeof(float) * static_cast<size_t>(tile.lanes * tile.rows * kWidth);
    const Error error = launch_blocks(block_moments<decltype(access)>, tile.blocks(), tile.threads(), shared, stream, p,
                                      tile, moments, access);
    if (error != cudaSuccess) return error;
    return launch_blocks(combine_moments, blocks_of(p.c, Combiner::kChannels), Combiner::kThreads, 0, stream, p, tile,
                         static_cast<const float*>(moments));
  });
}

}  // namespace lucid::cuda
