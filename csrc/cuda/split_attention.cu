// Split attention: y[c] = sum over r of a[r][c] * x[r][c], where a is the softmax of the logits over r, or their
// sigmoid when there is one split.
//
// Bound by memory, reading radix values for each that it writes. A block computes the weights of its channels once,
// into shared memory, and applies them to many pixels of an image.
#include "cuda/channel_tile.h"
#include "cuda/kernels.h"
#include "cuda/split_weights.h"

namespace lucid::cuda {
namespace {

constexpr int kMostLanes = 64;  // 1 KB of a pixel side by side
constexpr int kTogether = 2;    // splits whose loads are under way at once; networks have two
constexpr int kMostKept = 8;    // splits whose weights are kept; those of further ones are computed for each pixel

template <bool kFurther, class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads, 4)
    sum_splits(SplitAttention p, ChannelTile tile, Divisor image_blocks, Divisor width, int32_t kept, Access access) {
  constexpr int kWidth = Access::kWidth;
  LUCID_DYN_SHARED(float, weights);  // [kept][channels of the block]
  const int block = static_cast<int>(blockIdx.x), image = image_blocks.quotient(block);
  const TilePlace place(tile, image_blocks.remainder(block, image));
  const int channels = tile.lanes * kWidth;
  const int32_t block_channel = (place.vector - place.lane) * kWidth;
  for (int i = static_cast<int>(threadIdx.x); i < channels && block_channel + i < p.c;
       i += static_cast<int>(blockDim.x)) {
    const SplitLogits logits(p.dtype, p.logits, image, static_cast<int32_t>(p.radix), p.c, width, block_channel + i);
    if constexpr (kFurther) {
      const SplitSoftmax softmax(logits);
      for (int r = 0; r < kept; ++r) weights[r * channels + i] = softmax.weight(logits, r);
    } else {
      store_weights(logits, weights + i, channels);
    }
  }
  __syncthreads();
  if (!place.active) return;
  const int32_t channel = place.vector * kWidth;
  const int64_t pixel_step = p.radix * p.c, first_pixel = image * p.pixels + place.pixel;
  int64_t x = first_pixel * pixel_step + channel, y = first_pixel * p.c + channel;
  for (int left = static_cast<int>(place.end - place.pixel); left > 0; left -= tile.rows) {
    float sum[kWidth] = {};
    for (int r = 0; r < kept; r += kTogether) {
      float values[kTogether][kWidth];
#pragma unroll
      for (int s = 0; s < kTogether; ++s)
        if (r + s < kept) access.load(p.x, x + (r + s) * p.c, values[s]);
#pragma unroll
      for (int s = 0; s < kTogether; ++s) {
        if (r + s >= kept) break;
        float weight[kWidth];
        load_floats(weights + (r + s) * channels, place.lane * kWidth, weight);
#pragma unroll
        for (int v = 0; v < kWidth; ++v) sum[v] = fmaf(values[s][v], weight[v], sum[v]);
      }
    }
    if constexpr (kFurther)
      for (int32_t r = kept; r < p.radix; ++r) {
        float values[kWidth];
        access.load(p.x, x + r * p.c, values);
#pragma unroll
        for (int v = 0; v < kWidth; ++v) {
          const SplitLogits logits(p.dtype, p.logits, image, static_cast<int32_t>(p.radix), p.c, width, channel + v);
          sum[v] = fmaf(values[v], SplitSoftmax(logits).weight(logits, r), sum[v]);
        }
      }
    access.store(p.y, y, sum);
    x += tile.rows * pixel_step, y += tile.rows * p.c;
  }
}

}  // namespace

Error split_attention(const SplitAttention& p, Stream stream) {
  const auto launch_kernel = [&](auto kernel, auto access, int32_t kept) {
    constexpr int kWidth = decltype(access)::kWidth;
    const ChannelTile tile = channel_tile(p.pixels, p.c, kWidth, kMostLanes, 1, 16);
    const int64_t blocks = p.n * tile.blocks();
    if (blocks == 0) return Error{cudaSuccess};
    const size_t shared = sizeof(float) * static_cast<size_t>(kept * tile.lanes * kWidth);
    return launch_blocks(kernel, blocks, tile.threads(), shared, stream, p, tile, Divisor(tile.blocks()),
                         Divisor(p.c / p.cardinality), kept, access);
  };
  if (p.radix > kMostKept) {
    if (p.c > INT32_MAX || p.radix > INT32_MAX) return cudaErrorInvalidValue;
    return launch_kernel(sum_splits<true, OneElement>, OneElement{p.dtype}, kMostKept);
  }
  return with_access(p.dtype, p.c, {p.x, p.y}, [&](auto access) {
    return launch_kernel(sum_splits<false, decltype(access)>, access, static_cast<int32_t>(p.radix));
  });
}

}  // namespace lucid::cuda
