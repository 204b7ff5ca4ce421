// The gradient of radix sum pooling: dx[n][p][r * C + c] = dy[n][c] / pixels.
//
// Bound by writing dx. A thread divides the gradients of its channels once, and writes them to many pixels.
#include "cuda/channel_tile.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads)
    spread_gradients(RadixSumPoolBackward p, ChannelTile tile, uint32_t image_blocks, Access access) {
  constexpr int kWidth = Access::kWidth;
  const int64_t image = blockIdx.x / image_blocks;
  const TilePlace place(tile, blockIdx.x % image_blocks);
  if (!place.active) return;
  const int32_t channel = place.vector * kWidth;
  float share[kWidth];
  access.load(p.dy, image * p.c + channel, share);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) share[i] /= static_cast<float>(p.pixels);
  for (int64_t pixel = image * p.pixels + place.pixel; pixel < image * p.pixels + place.end; pixel += tile.rows)
    for (int64_t r = 0; r < p.radix; ++r) access.store(p.dx, (pixel * p.radix + r) * p.c + channel, share);
}

}  // namespace

Error radix_sum_pool_backward(const RadixSumPoolBackward& p, Stream stream) {
  return with_access(p.dtype, p.c, {p.dy, p.dx}, [&](auto access) {
    const ChannelTile tile = channel_tile(p.pixels, p.c, decltype(access)::kWidth, ChannelTile::kThreads, 1, 16);
    return launch_blocks(spread_gradients<decltype(access)>, p.n * tile.blocks(), tile.threads(), 0, stream, p, tile,
                         static_cast<uint32_t>(tile.blocks()), access);
  });
}

}  // namespace lucid::cuda
