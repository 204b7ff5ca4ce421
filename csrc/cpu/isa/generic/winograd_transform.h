// The transforms of Winograd's F(2x2, 3x3) and F(4x4, 3x3) as Lavin & Gray 2015 give them
// (https://arxiv.org/abs/1509.09308): G of the weights, B^T d B of an input tile, A^T m A of the products.
#pragma once

#include <stdint.h>
#include <vec.h>

#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

template <int kTile>
struct Filter;
template <>
struct Filter<2> {
  static constexpr int kSize = 4;
  static constexpr double g[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};

  static void filter(const F32 (&w)[3], F32 (&t)[4]) {
    const F32 half = F32::broadcast(.5f), minus_half = F32::broadcast(-.5f), ends = half * (w[0] + w[2]);
    t[0] = w[0];
    t[1] = fma(half, w[1], ends);
    t[2] = fma(minus_half, w[1], ends);
    t[3] = w[2];
  }
  static void input(const F32 (&d)[4], F32 (&t)[4]) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  static void output(const F32 (&m)[4], F32 (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
};
template <>
struct Filter<4> {
  static constexpr int kSize = 6;
  static constexpr double g[6][3] = {{1. / 4, 0, 0},
                                     {-1. / 6, -1. / 6, -1. / 6},
                                     {-1. / 6, 1. / 6, -1. / 6},
                                     {1. / 24, 1. / 12, 1. / 6},
                                     {1. / 24, -1. / 12, 1. / 6},
                                     {0, 0, 1}};

  static void input(const F32 (&d)[6], F32 (&t)[6]) {
    const F32 two = F32::broadcast(2), four = F32::broadcast(4), minus_two = F32::broadcast(-2),
              minus_four = F32::broadcast(-4), minus_five = F32::broadcast(-5);
    t[0] = fma(four, d[0], fma(minus_five, d[2], d[4]));
    const F32 a = fma(minus_four, d[2], d[4]), b = fma(minus_four, d[1], d[3]);
    t[1] = a + b;
    t[2] = a - b;
    const F32 c = d[4] - d[2], e = d[3] - d[1];
    t[3] = fma(two, e, c);
    t[4] = fma(minus_two, e, c);
    t[5] = fma(four, d[1], fma(minus_five, d[3], d[5]));
  }
  static void output(const F32 (&m)[6], F32 (&y)[4]) {
    const F32 s = m[1] + m[2], d = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + s + s2;
    y[1] = fma(F32::broadcast(2), d2, d);
    y[2] = fma(F32::broadcast(4), s2, s);
    y[3] = fma(F32::broadcast(8), d2, d) + m[5];
  }
};

// G w G^T of F(2x2, 3x3), for kLanes outputs.
inline void transform_filter(const float* weights, int64_t step, float* u, int64_t u_step) {
  F32 half[3][4];
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    F32 w[3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) w[j] = F32::load(weights + (i * 3 + j) * step);
    Filter<2>::filter(w, half[i]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const F32 w[3] = {half[0][j], half[1][j], half[2][j]};
    F32 t[4];
    Filter<2>::filter(w, t);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) t[i].store(u + (i * 4 + j) * u_step);
  }
}

// kLanes channels of one tile.
template <int kTile>
void transform_input(const float* x, int64_t row, int64_t pixel, float* v, int64_t v_step) {
  constexpr int kSize = Filter<kTile>::kSize;
  F32 half[kSize][kSize];
#pragma GCC unroll 6
  for (int j = 0; j < kSize; ++j) {
    F32 d[kSize], t[kSize];
#pragma GCC unroll 6
    for (int i = 0; i < kSize; ++i) d[i] = F32::load(x + i * row + j * pixel);
    Filter<kTile>::input(d, t);
#pragma GCC unroll 6
    for (int i = 0; i < kSize; ++i) half[i][j] = t[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < kSize; ++i) {
    F32 t[kSize];
    Filter<kTile>::input(half[i], t);
#pragma GCC unroll 6
    for (int j = 0; j < kSize; ++j) t[j].store(v + (i * kSize + j) * v_step);
  }
}

// Where the pixels of a tile go, and what is added to them.
struct TileOutput {
  float* y;
  int64_t row, pixel;
  const float* residual;  // or null
  int64_t residual_row, residual_pixel;
  int64_t rows, columns;  // that exist
  bool relu;
  float* sums;     // kLanes sums of the pixels, or null
  bool first_sum;  // whether they begin here, or add to what is there
};

// kLanes channels of one tile.
template <int kTile>
void transform_output(const float* m, int64_t m_step, const float* bias, const TileOutput& to) {
  constexpr int kSize = Filter<kTile>::kSize;
  F32 half[kTile][kSize];
#pragma GCC unroll 6
  for (int j = 0; j < kSize; ++j) {
    F32 d[kSize], t[kTile];
#pragma GCC unroll 6
    for (int i = 0; i < kSize; ++i) d[i] = F32::load(m + (i * kSize + j) * m_step);
    Filter<kTile>::output(d, t);
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) half[i][j] = t[i];
  }
  const F32 offset = F32::load(bias), floor = F32::broadcast(floor_of(to.relu));
  F32 total = F32::zero();
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
    if (i >= to.rows) break;
    F32 t[kTile];
    Filter<kTile>::output(half[i], t);
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j) {
      if (j >= to.columns) break;
      const float* residual =
          to.residual != nullptr ? to.residual + i * to.residual_row + j * to.residual_pixel : nullptr;
      const F32 value = finish(t[j] + offset, residual, floor);
      value.store(to.y + i * to.row + j * to.pixel);
      total = total + value;
    }
  }
  if (to.sums != nullptr) (to.first_sum ? total : F32::load(to.sums) + total).store(to.sums);
}

}  // namespace lucid::LUCID_ISA
