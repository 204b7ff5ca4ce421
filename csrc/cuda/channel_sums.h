// Sums over all pixels of each channel, in two stages: blocks of threads sum blocks of pixels, on which the sizes
// decide alone, and then a block of threads combines what belongs to its channels, in double. Both add in a fixed
// order.
#pragma once

#include "cuda/channel_tile.h"

namespace lucid::cuda {

constexpr int kFewestSteps = 8, kMostSteps = 64;  // pixels of a thread

inline ChannelTile sum_tile(int64_t pixels, int64_t c, int64_t width) {
  return channel_tile(pixels, c, width, 64, kFewestSteps, kMostSteps);
}

// Of `kinds` partial sums of each channel, for whichever access is chosen.
inline size_t partial_bytes(Dtype dtype, int64_t pixels, int64_t c, int64_t kinds) {
  int64_t blocks = sum_tile(pixels, c, 1).pixel_blocks();
  if (c % width_of(dtype) == 0) {
    const int64_t wide = sum_tile(pixels, c, width_of(dtype)).pixel_blocks();
    if (wide > blocks) blocks = wide;
  }
  return static_cast<size_t>(blocks * kinds * c) * sizeof(float);
}

// Every row of threads gets the sums over all of them. `parts` has kWidth floats a thread, and may be used again at
// once.
template <int kWidth>
__device__ __forceinline__ void add_rows(float* parts, const ChannelTile& tile, const TilePlace& place,
                                         float (&values)[kWidth]) {
  const int channels = tile.lanes * kWidth, mine = place.row * channels + place.lane * kWidth;
  if (place.row < tile.rows) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) parts[mine + i] = values[i];
  }
  __syncthreads();
  for (int rows = tile.rows; rows > 1;) {  // a tree, of any number of rows
    const int half = (rows + 1) / 2;
    if (place.row + half < rows) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) parts[mine + i] += parts[mine + half * channels + i];
    }
    rows = half;
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) values[i] = parts[place.lane * kWidth + i];
  __syncthreads();
}

// Threads that combine the partial sums: a warp has a partial sum of 32 channels.
struct Combiner {
  static constexpr int kChannels = 32, kRows = 32, kThreads = kChannels * kRows;

  int lane, row;
  int64_t channel;
  bool active;

  __device__ __forceinline__ explicit Combiner(int64_t c)
      : lane(static_cast<int>(threadIdx.x) % kChannels), row(static_cast<int>(threadIdx.x) / kChannels) {
    channel = static_cast<int64_t>(blockIdx.x) * kChannels + lane;
    active = channel < c;
  }

  // The sum over blocks of value(block) for the thread's channel; all rows get it.
  template <class Function>
  __device__ __forceinline__ double sum(double (&parts)[kRows][kChannels], int64_t blocks, Function value) const {
    double total = 0.0;
    if (active)
#pragma unroll 2  // by 4, the compiler's choice, it would spill on sm_120
      for (int64_t block = row; block < blocks; block += kRows) total += value(block);
    parts[row][lane] = total;
    __syncthreads();
    for (int rows = kRows / 2; rows > 0; rows /= 2) {
      if (row < rows) parts[row][lane] += parts[row + rows][lane];
      __syncthreads();
    }
    total = parts[0][lane];
    __syncthreads();
    return total;
  }
};

}  // namespace lucid::cuda
