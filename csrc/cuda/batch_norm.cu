// Batch norm: y = (x - mean) / sqrt(var + eps) * weight + bias of each channel, plus a residual, then a ReLU.
//
// Bound by memory: each value is read and written once. A thread keeps what belongs to its channels in registers. The
// mean is subtracted first: x * scale + (bias - mean * scale) loses the digits that both products share where the mean
// is far from zero.
#include "cuda/channel_tile.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads) normalize(BatchNorm p, ChannelTile tile, Access access) {
  constexpr int kWidth = Access::kWidth;
  const TilePlace place(tile, blockIdx.x);
  if (!place.active) return;
  const int32_t channel = place.vector * kWidth;
  float mean[kWidth] = {}, scale[kWidth], bias[kWidth] = {};
#pragma unroll
  for (int i = 0; i < kWidth; ++i) scale[i] = 1.0f;
  if (p.weight != nullptr) load_floats(p.weight, channel, scale);
  if (p.var != nullptr) {
    float var[kWidth];
    load_floats(p.var, channel, var);
    const float eps = static_cast<float>(p.eps);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) scale[i] /= sqrtf(var[i] + eps);
  }
  if (p.mean != nullptr) load_floats(p.mean, channel, mean);
  if (p.bias != nullptr) load_floats(p.bias, channel, bias);
  for (int64_t pixel = place.pixel; pixel < place.end; pixel += tile.rows) {
    float values[kWidth];
    access.load(p.x, pixel * p.c + channel, values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = fmaf(values[i] - mean[i], scale[i], bias[i]);
    if (p.residual != nullptr) {
      float residual[kWidth];
      access.load(p.residual, pixel * p.c + channel, residual);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values[i] += residual[i];
    }
    if (p.relu) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values[i] = rectified(values[i]);
    }
    access.store(p.y, pixel * p.c + channel, values);
  }
}

}  // namespace

Error batch_norm(const BatchNorm& p, Stream stream) {
  return with_access(p.dtype, p.c, {p.x, p.residual, p.y, p.mean, p.var, p.weight, p.bias}, [&](auto access) {
    const ChannelTile tile = channel_tile(p.pixels, p.c, decltype(access)::kWidth, ChannelTile::kThreads, 1, 16);
    return launch_blocks(normalize<decltype(access)>, tile.blocks(), tile.threads(), 0, stream, p, tile, access);
  });
}

}  // namespace lucid::cuda
