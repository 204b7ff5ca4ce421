// The register tile of grouped 3x3 convolutions with kGroup = 1, 2, 4 or 8 channels a group.
//
// A vector of channels holds whole groups, and output lane l needs every channel of its group:
//
//   y[l] = sum over r of x[permuted_channel(r, l)] * weight_r[l]
//
// with one weight vector for each permutation r and tap. A permuted vector serves every tap and output pixel that it
// feeds - up to three columns by two rows of a tile - so a load with a shuffle is paid once for six FMAs.
#pragma once

#include <blocking.h>
#include <permute.h>
#include <stdint.h>

#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

struct GroupTile {
  const float* x;                  // the pixel under the first tap of the first output
  int64_t phase_pitch, row_pitch;  // floats to the next column if the stride is 2, and to the next row
  const float* weight;             // [kGroup][3 * 3][kLanes]
  const float* bias;               // [kLanes]
  float* y;
  int64_t y_pixel, y_row;  // floats between output pixels, and between the two rows
  bool relu;
};

// One permutation: all rows and taps of a tile of kRows x kColumns outputs, `kStride` input pixels apart; kStep floats
// lie between the input pixels of neighbouring outputs.
template <int kGroup, int kRows, int kColumns, int kStride, int kStep, int R>
[[gnu::always_inline]] inline void add_permutation(F32 (&sums)[kRows][kColumns], const GroupTile& t) {
  const float* weight = t.weight + R * 9 * F32::kLanes;
#pragma GCC unroll 8
  for (int y = 0; y < (kRows - 1) * kStride + 3; ++y)
#pragma GCC unroll 32
    for (int x = 0; x < (kColumns - 1) * kStride + 3; ++x) {
      const F32 pixel =
          load_permuted<kGroup, R>(t.x + y * t.row_pitch + x % kStride * t.phase_pitch + x / kStride * kStep);
#pragma GCC unroll 2
      for (int row = 0; row < kRows; ++row) {
        const int i = y - row * kStride;
        if (i < 0 || i > 2) continue;
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) {
          const int distance = x - j;
          if (distance < 0 || distance % kStride != 0 || distance / kStride >= kColumns) continue;
          accumulate(sums[row][distance / kStride], pixel, F32::load(weight + (i * 3 + j) * F32::kLanes));
        }
      }
    }
}

template <int kGroup, int kRows, int kColumns, int kStride, int kStep>
[[gnu::noinline]] void group_tile(const GroupTile& t) {
  F32 sums[kRows][kColumns];
#pragma GCC unroll 2
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 8
    for (int x = 0; x < kColumns; ++x) sums[row][x] = F32::load(t.bias);
  add_permutation<kGroup, kRows, kColumns, kStride, kStep, 0>(sums, t);
  if constexpr (kGroup >= 2) add_permutation<kGroup, kRows, kColumns, kStride, kStep, 1>(sums, t);
  if constexpr (kGroup >= 4) {
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 2>(sums, t);
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 3>(sums, t);
  }
  if constexpr (kGroup >= 8) {
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 4>(sums, t);
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 5>(sums, t);
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 6>(sums, t);
    add_permutation<kGroup, kRows, kColumns, kStride, kStep, 7>(sums, t);
  }
  store_tile(sums, t.relu, [&](int row, int x) { return t.y + row * t.y_row + x * t.y_pixel; });
}

// Halves below the full tile, such as 7, 3, 1: the widths of these networks are multiples of 7.
inline int64_t next_tile_columns(int64_t columns, int64_t left) {
  while (columns > left) columns /= 2;
  return columns;
}

// Runs the tile of `columns` columns, which next_tile_columns gave.
template <int kGroup, int kRows, int kStride, int kStep, int kColumns = kGroupTile>
void run_group_tile(int64_t columns, const GroupTile& t) {
  if constexpr (kColumns > 1)
    if (columns < kColumns) return run_group_tile<kGroup, kRows, kStride, kStep, kColumns / 2>(columns, t);
  group_tile<kGroup, kRows, kColumns, kStride, kStep>(t);
}

}  // namespace lucid::LUCID_ISA
