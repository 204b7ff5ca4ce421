// Gradients of batch norm: with d = (x - mean) / sqrt(var + eps) of each channel, dbias = sum of dy, dweight = sum of
// dy * d, and dx = weight / sqrt(var + eps) * (dy - mean of dy - d * mean of dy * d), of which dy alone is left where
// the statistics are constants. Behind a ReLU, dy does not count where y is 0.
//
// Bound by memory: x, dy and y are read twice, dx is written once, as is the gradient of a residual, if asked for. The
// sums are formed in two stages.
#include "cuda/channel_sums.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

constexpr int kKinds = 2;  // the sum of dy, the sum of dy * d

template <class Access>
__device__ __forceinline__ void load_gradient(const Access& access, const BatchNormBackward& p, int64_t index,
                                              float (&dy)[Access::kWidth]) {
  access.load(p.dy, index, dy);
  if (p.y == nullptr) return;
  float y[Access::kWidth];
  access.load(p.y, index, y);
#pragma unroll
  for (int i = 0; i < Access::kWidth; ++i)
    if (y[i] == 0.0f) dy[i] = 0.0f;
}

template <int kWidth>
__device__ __forceinline__ void load_statistics(const BatchNormBackward& p, int32_t channel, float (&mean)[kWidth],
                                                float (&factor)[kWidth]) {
  load_floats(p.mean, channel, mean);
  load_floats(p.var, channel, factor);
  const float eps = static_cast<float>(p.eps);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) factor[i] = 1.0f / sqrtf(factor[i] + eps);
}

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads)
    block_sums(BatchNormBackward p, ChannelTile tile, float* partial, Access access) {
  constexpr int kWidth = Access::kWidth;
  LUCID_DYN_SHARED(float, parts);
  const TilePlace place(tile, blockIdx.x);
  const int32_t channel = place.vector * kWidth;
  float mean[kWidth] = {}, factor[kWidth] = {}, dbias[kWidth] = {}, dweight[kWidth] = {};
  if (place.active) {
    load_statistics(p, channel, mean, factor);
#pragma unroll 2
    for (int64_t pixel = place.pixel; pixel < place.end; pixel += tile.rows) {
      float x[kWidth], dy[kWidth];
      access.load(p.x, pixel * p.c + channel, x);
      load_gradient(access, p, pixel * p.c + channel, dy);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        dbias[i] += dy[i];
        dweight[i] = fmaf(dy[i], (x[i] - mean[i]) * factor[i], dweight[i]);
      }
    }
  }
  add_rows(parts, tile, place, dbias);
  add_rows(parts, tile, place, dweight);
  if (!place.active || place.row != 0) return;
  float* sums = partial + place.pixel_block * kKinds * p.c + channel;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    sums[i] = dbias[i];
    sums[p.c + i] = dweight[i];
  }
}

__global__ void __launch_bounds__(Combiner::kThreads)
    combine_sums(BatchNormBackward p, int64_t blocks, const float* partial, float* sums) {
  LUCID_SHARED(double, parts, [Combiner::kRows][Combiner::kChannels]);
  const Combiner combiner(p.c);
  const auto sum = [&](int kind) {
    return static_cast<float>(combiner.sum(parts, blocks, [&](int64_t block) {
      return static_cast<double>(partial[(block * kKinds + kind) * p.c + combiner.channel]);
    }));
  };
  const float dbias = sum(0), dweight = sum(1);
  if (!combiner.active || combiner.row != 0) return;
  sums[combiner.channel] = dbias;
  sums[p.c + combiner.channel] = dweight;
  if (p.dbias != nullptr) p.dbias[combiner.channel] = dbias;
  if (p.dweight != nullptr) p.dweight[combiner.channel] = dweight;
}

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads)
    gradient_of_x(BatchNormBackward p, ChannelTile tile, const float* sums, Access access) {
  constexpr int kWidth = Access::kWidth;
  const TilePlace place(tile, blockIdx.x);
  if (!place.active) return;
  const int32_t channel = place.vector * kWidth;
  // dx = scale * dy - (x - mean) * slope - offset, or scale * dy alone, whatever x holds.
  float mean[kWidth], scale[kWidth], slope[kWidth], offset[kWidth];
  load_statistics(p, channel, mean, scale);
  load_floats(sums, channel, offset);
  const float pixels = static_cast<float>(p.pixels);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float factor = scale[i];
    if (p.weight != nullptr) scale[i] *= p.weight[channel + i];
    slope[i] = scale[i] * factor * (sums[p.c + channel + i] / pixels);
    offset[i] = scale[i] * (offset[i] / pixels);
  }
  for (int64_t pixel = place.pixel; pixel < place.end; pixel += tile.rows) {
    const int64_t index = pixel * p.c + channel;
    float x[kWidth] = {}, dy[kWidth];
    if (p.training) access.load(p.x, index, x);
    load_gradient(access, p, index, dy);
    if (p.dresidual != nullptr) access.store(p.dresidual, index, dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      dy[i] = p.training ? fmaf(scale[i], dy[i], -fmaf(x[i] - mean[i], slope[i], offset[i])) : scale[i] * dy[i];
    access.store(p.dx, index, dy);
  }
}

}  // namespace

// The sums of each channel come first, those of blocks of pixels behind them.
size_t batch_norm_backward_bytes(const BatchNormBackward& p) {
  return static_cast<size_t>(kKinds * p.c) * sizeof(float) + partial_bytes(p.dtype, p.pixels, p.c, kKinds);
}

Error batch_norm_backward(const BatchNormBackward& p, Stream stream) {
  float* const sums = static_cast<float*>(p.workspace);
  float* const partial = sums + kKinds * p.c;
  return with_access(p.dtype, p.c, {p.x, p.dy, p.y, p.dx, p.dresidual, p.mean, p.var, sums}, [&](auto access) {
    using Access = decltype(access);
    constexpr int kWidth = Access::kWidth;
    const ChannelTile blocks = sum_tile(p.pixels, p.c, kWidth);
    const size_t shared = sizeof(float) * static_cast<size_t>(blocks.lanes * blocks.rows * kWidth);
    Error error = launch_blocks(block_sums<Access>, blocks.blocks(), blocks.threads(), shared, stream, p, blocks,
                                partial, access);
    if (error != cudaSuccess) return error;
    error = launch_blocks(combine_sums, blocks_of(p.c, Combiner::kChannels), Combiner::kThreads, 0, stream, p,
                          blocks.pixel_blocks(), static_cast<const float*>(partial), sums);
    if (error != cudaSuccess) return error;
    const ChannelTile tile = channel_tile(p.pixels, p.c, kWidth, ChannelTile::kThreads, 1, 16);
    return launch_blocks(gradient_of_x<Access>, tile.blocks(), tile.threads(), 0, stream, p, tile,
                         static_cast<const float*>(sums), access);
  });
}

}  // namespace lucid::cuda
