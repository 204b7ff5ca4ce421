// The register tile under every dense convolution: kRows pixels by kVectors vectors of output channels,
//
//   y[m][o] = bias[o] + sum over blocks i, channels j of a[offsets[i] + m * kBlock + j] * weight[i * kBlock + j][o].
//
// A "block" is kBlock channels of a pixel that lie together. The offset table says where the block of each tap and
// channel range begins, so one tile serves 1x1, 3x3, strided, dilated and stem convolutions without edge code.
// The sum over i and j runs in order into one accumulator: a result does not depend on the tile it is in.
#pragma once

#include <stdint.h>

#include "vec.h"

namespace lucid::LUCID_ISA {

struct GemmTile {
  const float* a;
  const int64_t* offsets;
  int64_t blocks;
  const float* weight;   // [blocks * kBlock][kVectors * F32::kLanes]
  const float* bias;     // [kVectors * F32::kLanes]
  float* y;
  int64_t pixel_stride;  // floats between the pixels of y
  const char* prefetch;  // what the next tiles will want from far away, `prefetch_step` bytes further every channel
  int64_t prefetch_step;
};

template <int kRows, int kVectors, int kBlock>
[[gnu::noinline]] void gemm_tile(const GemmTile& t) {
  constexpr int kUnroll = kBlock % 4 == 0 ? 4 : 1;
  F32 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::load(t.bias + v * F32::kLanes);
  const float* weight = t.weight;
  const char* prefetch = t.prefetch;
  for (int64_t i = 0; i < t.blocks; ++i) {
    const float* a = t.a + t.offsets[i];
    for (int j = 0; j < kBlock; j += kUnroll) {
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u) {
        F32 w[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) w[v] = F32::load(weight + (u * kVectors + v) * F32::kLanes);
        __builtin_prefetch(prefetch, 0, 2);
        prefetch += t.prefetch_step;
#pragma GCC unroll 16
        for (int m = 0; m < kRows; ++m) {
          const F32 pixel = F32::broadcast(a[m * kBlock + u]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], pixel, w[v]);
        }
      }
      a += kUnroll;
      weight += kUnroll * kVectors * F32::kLanes;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[m][v].store(t.y + m * t.pixel_stride + v * F32::kLanes);
}

// Runs the tile of `rows` rows, at most kTileRows.
template <int kVectors, int kBlock, int kRows = kTileRows>
void run_gemm_tile(int64_t rows, const GemmTile& t) {
  if constexpr (kRows > 1)
    if (rows < kRows) return run_gemm_tile<kVectors, kBlock, kRows - 1>(rows, t);
  gemm_tile<kRows, kVectors, kBlock>(t);
}

// How many of the `left` pixels the next tile takes; a tail shorter than half a tile is evened out over two tiles,
// since 8 + 8 rows run faster than 14 + 2.
inline int64_t next_tile_rows(int64_t left) {
  if (left <= kTileRows) return left;
  return left < kTileRows + kTileRows / 2 ? (left + 1) / 2 : kTileRows;
}

}  // namespace lucid::LUCID_ISA
