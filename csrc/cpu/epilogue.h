// What follows a convolution's sum of products: y = max(floor, sum + residual). The floor is 0 for a ReLU, else
// -infinity; a NaN stays one.
#pragma once

#include <math.h>

#include "cpu/conv2d_problem.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

constexpr float floor_of(bool relu) { return relu ? 0.0f : -INFINITY; }

// One vector; residual may be null.
[[gnu::always_inline]] inline F32 finish(F32 sum, const float* residual, F32 floor) {
  if (residual != nullptr) sum = sum + F32::load(residual);
  return max(floor, sum);
}

// The sums of a register tile. `residual(m, v)` is where the residual of vector v of row m lies.
template <int kRows, int kVectors, class Residual>
[[gnu::always_inline]] inline void add_residual(F32 (&sums)[kRows][kVectors], const Residual& residual) {
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[m][v] = sums[m][v] + F32::load(residual(m, v));
}

// Stores them, rectified if asked. `y(m, v)` is where vector v of row m belongs.
template <int kRows, int kVectors, class Output>
[[gnu::always_inline]] inline void store_tile(F32 (&sums)[kRows][kVectors], bool relu, const Output& y) {
  if (relu)
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[m][v] = max(F32::zero(), sums[m][v]);
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[m][v].store(y(m, v));
}

// Outputs [channel, channel + outputs) of some pixels of a row of y.
struct PartialTile {
  int64_t channel, outputs, n, h, w, pixels;
};

// Finishes a tile that was computed beside y, `width` floats a pixel, channel by channel: a panel may end, or begin, in
// the middle of a block of y.
inline void finish_partial(const Conv2d& p, const float* tile, int64_t width, const PartialTile& at) {
  const OutputView &y = p.operands.y, &residual = p.epilogue.residual;
  for (int64_t m = 0; m < at.pixels; ++m)
    for (int64_t o = 0; o < at.outputs; ++o) {
      float value = tile[m * width + o];
      if (residual.data != nullptr) value = value + *residual.at(at.channel + o, at.n, at.h, at.w + m);
      *y.at(at.channel + o, at.n, at.h, at.w + m) = p.epilogue.relu && value < 0.0f ? 0.0f : value;
    }
}

}  // namespace lucid::LUCID_ISA
