// Gradients of split attention: dx[r] = a[r] * dy, and with d[r] = sum over the pixels of dy * x[r],
// dlogits[r] = a[r] * (d[r] - sum of a * d), or d * a * (1 - a) when there is one split.
//
// Bound by memory: x and dy are read and dx is written in one pass, which leaves the sums of blocks of pixels; a second
// kernel adds these, in double and in order.
#include "cuda/channel_sums.h"
#include "cuda/kernels.h"
#include "cuda/split_weights.h"

namespace lucid::cuda {
namespace {

constexpr int kTogether = 2;  // splits of a pass over dy; networks have two

template <class Access>
__global__ void __launch_bounds__(ChannelTile::kThreads, 3)
    gradients_of_splits(SplitAttentionBackward p, ChannelTile tile, uint32_t image_blocks, Divisor width,
                        float* partial, Access access) {
  constexpr int kWidth = Access::kWidth;
  const int32_t radix = static_cast<int32_t>(p.radix);
  LUCID_DYN_SHARED(float, parts);  // of all threads, and behind them the weights of the block's channels
  const int channels = tile.lanes * kWidth;
  float* const block_weights = parts + tile.rows * channels;
  const uint32_t image = blockIdx.x / image_blocks;
  const TilePlace place(tile, blockIdx.x % image_blocks);
  const int32_t channel = place.vector * kWidth, block_channel = (place.vector - place.lane) * kWidth;
  const int64_t image_pixel = image * p.pixels, end = place.active ? image_pixel + place.end : 0;
  const int64_t block = image * (image_blocks / tile.channel_blocks) + place.pixel_block;
  float* const block_sums = partial + block * p.radix * p.c + channel;
  for (int32_t r = 0; r < radix; r += kTogether) {
    for (int i = static_cast<int>(threadIdx.x); i < channels && block_channel + i < p.c;
         i += static_cast<int>(blockDim.x)) {
      const SplitLogits logits(p.dtype, p.logits, image, radix, p.c, width, block_channel + i);
      const SplitSoftmax softmax(logits);
      for (int s = 0; s < kTogether && r + s < radix; ++s)
        block_weights[s * channels + i] = softmax.weight(logits, r + s);
    }
    __syncthreads();
    float weights[kTogether][kWidth], sums[kTogether][kWidth] = {};
#pragma unroll
    for (int s = 0; s < kTogether; ++s)
      if (place.active && r + s < radix) load_floats(block_weights + s * channels, place.lane * kWidth, weights[s]);
    for (int64_t pixel = image_pixel + place.pixel; pixel < end; pixel += tile.rows) {
      float dy[kWidth];
      access.load(p.dy, pixel * p.c + channel, dy);
#pragma unroll
      for (int s = 0; s < kTogether; ++s) {
        if (r + s >= radix) break;
        const int64_t index = (pixel * p.radix + r + s) * p.c + channel;
        float x[kWidth], dx[kWidth];
        access.load(p.x, index, x);
#pragma unroll
        for (int v = 0; v < kWidth; ++v) {
          sums[s][v] = fmaf(dy[v], x[v], sums[s][v]);
          dx[v] = weights[s][v] * dy[v];
        }
        access.store(p.dx, index, dx);
      }
    }
#pragma unroll
    for (int s = 0; s < kTogether; ++s) {
      if (r + s >= radix) break;
      add_rows(parts, tile, place, sums[s]);
      if (place.active && place.row == 0) {
#pragma unroll
        for (int v = 0; v < kWidth; ++v) block_sums[static_cast<int64_t>(r + s) * p.c + v] = sums[s][v];
      }
    }
  }
}

// The total of each split takes the place of its first partial sum. One block a multiprocessor is enough: for two, the
// compiler would spill on sm_90.
__global__ void __launch_bounds__(Combiner::kThreads, 1)
    gradients_of_logits(SplitAttentionBackward p, int64_t blocks, Divisor width, float* partial) {
  LUCID_SHARED(double, parts, [Combiner::kRows][Combiner::kChannels]);
  const Combiner combiner(p.n * p.c);
  const int64_t image = combiner.channel / p.c;
  const int32_t channel = static_cast<int32_t>(combiner.channel - image * p.c);
  float* const image_sums = partial + image * blocks * p.radix * p.c + channel;
  const int32_t radix = static_cast<int32_t>(p.radix);
  for (int32_t r = 0; r < radix; ++r) {
    const double total = combiner.sum(
        parts, blocks, [&](int64_t block) { return static_cast<double>(image_sums[(block * p.radix + r) * p.c]); });
    if (combiner.active && combiner.row == 0) image_sums[r * p.c] = static_cast<float>(total);
  }
  if (!combiner.active || combiner.row != 0) return;
  const SplitLogits logits(p.dtype, p.logits, image, radix, p.c, width, channel);
  const SplitSoftmax softmax(logits);
  if (radix == 1) {
    const float weight = softmax.weight(logits, 0);
    store_element(p.dtype, p.dlogits, logits.first, image_sums[0] * weight * (1.0f - weight));
    return;
  }
  float mean = 0.0f;
  for (int32_t r = 0; r < radix; ++r) mean = fmaf(softmax.weight(logits, r), image_sums[r * p.c], mean);
  for (int32_t r = 0; r < radix; ++r)
    store_element(p.dtype, p.dlogits, logits.first + static_cast<int64_t>(r) * logits.step,
                  softmax.weight(logits, r) * (image_sums[r * p.c] - mean));
}

}  // namespace

size_t split_attention_backward_bytes(const SplitAttentionBackward& p) {
  return partial_bytes(p.dtype, p.pixels, p.c, p.n * p.radix);
}

Error split_attention_backward(const SplitAttentionBackward& p, Stream stream) {
  if (p.n * p.c == 0) return cudaSuccess;
  if (p.radix > INT32_MAX) return cudaErrorInvalidValue;
  float* const partial = static_cast<float*>(p.workspace);
  return with_access(p.dtype, p.c, {p.x, p.dy, p.dx}, [&](auto access) {
    constexpr int kWidth = decltype(access)::kWidth;
    const ChannelTile tile = sum_tile(p.pixels, p.c, kWidth);
    const Divisor width(p.c / p.cardinality);
    const size_t shared = sizeof(float) * static_cast<size_t>(tile.lanes * kWidth * (tile.rows + kTogether));
    const Error error =
        launch_blocks(gradients_of_splits<decltype(access)>, p.n * tile.blocks(), tile.threads(), shared, stream, p,
                      tile, static_cast<uint32_t>(tile.blocks()), width, partial, access);
    if (error != cudaSuccess) return error;
    return launch_blocks(gradients_of_logits, blocks_of(p.n * p.c, Combiner::kChannels), Combiner::kThreads, 0, stream,
                         p, tile.pixel_blocks(), width, partial);
  });
}

}  // namespace lucid::cuda
