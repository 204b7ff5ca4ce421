// The register tile of grouped 3x3 convolutions with 16 channels a group.
//
// A group is a vector of outputs or two, so the tile of gemm_tile.h would load an input for every FMA. Here an input
// pixel, once broadcast, slides through the three columns of the window: it meets the weights of all three taps, which
// stay in registers, and adds to three neighbouring outputs. 16 broadcasts and 3 loads serve 42 FMAs.
#pragma once

#include <group_tile.h>
#include <stdint.h>

namespace lucid::LUCID_ISA {

constexpr int kSlidingGroup = 16;  // channels of a group

// The weights are [3][kSlidingGroup][3][kLanes]: rows and columns of the window. kStep floats lie between the input
// pixels of neighbouring outputs.
template <int kColumns, int kStride, int kStep>
[[gnu::noinline]] void sliding_tile(const GroupTile& t) {
  F32 sums[1][kColumns];
#pragma GCC unroll 16
  for (int x = 0; x < kColumns; ++x) sums[0][x] = F32::load(t.bias);
  const float* weight = t.weight;
  for (int i = 0; i < 3; ++i)
    for (int c = 0; c < kSlidingGroup; ++c) {
      const float* row = t.x + i * t.row_pitch + c;
      const F32 w[3] = {F32::load(weight), F32::load(weight + F32::kLanes), F32::load(weight + 2 * F32::kLanes)};
      weight += 3 * F32::kLanes;
#pragma GCC unroll 32
      for (int x = 0; x < (kColumns - 1) * kStride + 3; ++x) {
        const F32 pixel = F32::broadcast(row[x % kStride * t.phase_pitch + x / kStride * kStep]);
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) {
          const int distance = x - j;
          if (distance < 0 || distance % kStride != 0 || distance / kStride >= kColumns) continue;
          accumulate(sums[0][distance / kStride], pixel, w[j]);
        }
      }
    }
  store_tile(sums, t.relu, [&](int, int x) { return t.y + x * t.y_pixel; });
}

// Runs the tile of `columns` columns, which next_tile_columns gave.
template <int kStride, int kStep, int kColumns = kSlidingTile>
void run_sliding_tile(int64_t columns, const GroupTile& t) {
  if constexpr (kColumns > 1)
    if (columns < kColumns) return run_sliding_tile<kStride, kStep, kColumns / 2>(columns, t);
  sliding_tile<kColumns, kStride, kStep>(t);
}

}  // namespace lucid::LUCID_ISA
