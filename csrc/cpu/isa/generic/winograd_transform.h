// The transforms of Winograd's F(2x2, 3x3) and F(4x4, 3x3) (Lavin & Gray 2015, https://arxiv.org/abs/1509.09308): G of
// the weights, B^T d B of an input tile, A^T m A of the products.
#pragma once

#include <stdint.h>
#include <vec.h>

#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

inline F32 constant(double value) { return F32::broadcast(static_cast<float>(value)); }

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
// Lavin & Gray interpolate at 0, +-1, +-2; at 0, +-5/8, +-3/2 the error is less than half (Barabasz et al. 2020,
// https://arxiv.org/abs/1803.10986, on the choice of points): relative rms 0.65e-6 instead of 1.41e-6 with 64 channels.
// Each row of G is multiplied by its point and the column of A^T divided by it, which saves a product for each row of
// y.
template <>
struct Filter<4> {
  static constexpr int kSize = 6;
  static constexpr double kA = 5. / 8, kB = 3. / 2;
  static constexpr double kA2 = kA * kA, kB2 = kB * kB;
  static constexpr double kGA = 1 / (2 * kA * (kA2 - kB2)), kGB = 1 / (2 * kB * (kB2 - kA2));
  static constexpr double g[6][3] = {{1 / (kA2 * kB2), 0, 0},      {kGA, kGA * kA, kGA * kA2},
                                     {-kGA, kGA * kA, -kGA * kA2}, {kGB, kGB * kB, kGB * kB2},
                                     {-kGB, kGB * kB, -kGB * kB2}, {0, 0, 1}};

  static void filter(const F32 (&w)[3], F32 (&t)[6]) {
    t[0] = constant(g[0][0]) * w[0];
    const F32 even_a = fma(constant(kGA * kA2), w[2], constant(kGA) * w[0]), odd_a = constant(kGA * kA) * w[1];
    t[1] = odd_a + even_a;
    t[2] = odd_a - even_a;
    const F32 even_b = fma(constant(kGB * kB2), w[2], constant(kGB) * w[0]), odd_b = constant(kGB * kB) * w[1];
    t[3] = odd_b + even_b;
    t[4] = odd_b - even_b;
    t[5] = w[2];
  }
  static void input(const F32 (&d)[6], F32 (&t)[6]) {
    const F32 product = constant(kA2 * kB2), minus_sum = constant(-kA2 - kB2), minus_a2 = constant(-kA2),
              minus_b2 = constant(-kB2);
    t[0] = fma(product, d[0], fma(minus_sum, d[2], d[4]));
    const F32 even_a = fma(minus_b2, d[2], d[4]), odd_a = fma(minus_b2, d[1], d[3]);
    t[1] = fma(constant(kA), odd_a, even_a);
    t[2] = fma(constant(-kA), odd_a, even_a);
    const F32 even_b = fma(minus_a2, d[2], d[4]), odd_b = fma(minus_a2, d[1], d[3]);
    t[3] = fma(constant(kB), odd_b, even_b);
    t[4] = fma(constant(-kB), odd_b, even_b);
    t[5] = fma(product, d[1], fma(minus_sum, d[3], d[5]));
  }
  static void output(const F32 (&m)[6], F32 (&y)[4]) {
    const F32 odd_a = m[1] - m[2], even_a = m[1] + m[2], odd_b = m[3] - m[4], even_b = m[3] + m[4];
    y[0] = fma(constant(1 / kA), odd_a, fma(constant(1 / kB), odd_b, m[0]));
    y[1] = even_a + even_b;
    y[2] = fma(constant(kA), odd_a, constant(kB) * odd_b);
    y[3] = fma(constant(kA2), even_a, fma(constant(kB2), even_b, m[5]));
  }
};

// Of one input channel, u[xi] = G w G^T for all outputs of a panel, in double; they follow each other innermost, so
// that vectors of them are computed.
template <int kTile, int64_t kWidth>
void transform_weights(const double (&w)[3][3][kWidth], int64_t width, float* u, int64_t u_step) {
  constexpr int kSize = Filter<kTile>::kSize;
  const auto& g = Filter<kTile>::g;
  double half[kSize][3][kWidth];
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < 3; ++j)
      for (int64_t o = 0; o < width; ++o)
        half[i][j][o] = g[i][0] * w[0][j][o] + g[i][1] * w[1][j][o] + g[i][2] * w[2][j][o];
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < kSize; ++j)
      for (int64_t o = 0; o < width; ++o)
        u[(i * kSize + j) * u_step + o] =
            static_cast<float>(half[i][0][o] * g[j][0] + half[i][1][o] * g[j][1] + half[i][2][o] * g[j][2]);
}

// G w G^T, for kLanes outputs.
template <int kTile>
void transform_filter(const float* weights, int64_t step, float* u, int64_t u_step) {
  constexpr int kSize = Filter<kTile>::kSize;
  F32 half[3][kSize];
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    F32 w[3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) w[j] = F32::load(weights + (i * 3 + j) * step);
    Filter<kTile>::filter(w, half[i]);
  }
#pragma GCC unroll 6
  for (int j = 0; j < kSize; ++j) {
    const F32 w[3] = {half[0][j], half[1][j], half[2][j]};
    F32 t[kSize];
    Filter<kTile>::filter(w, t);
#pragma GCC unroll 6
    for (int i = 0; i < kSize; ++i) t[i].store(u + (i * kSize + j) * u_step);
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
