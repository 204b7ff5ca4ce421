// Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin & Gray 2015, https://arxiv.org/abs/1509.09308):
// F(4x4, 3x3) computes 4x4 outputs with 36 products a channel where the direct sum takes 144, F(2x2, 3x3) 2x2 outputs
// with 16 where it takes 36.
//
//   for each group, for each chunk of tiles:
//     v[xi][channel block][tile][16] = B^T d B          the chunk's input, transformed; stays in L2
//     for each panel of outputs:
//       m[xi][tile][panel] = v[xi] * u[panel][xi]       36 or 16 matrix products by the tile of gemm_tile.h
//       y = A^T m A + bias + residual, ReLU
//
// The transforms cost a few percent; what limits is reading u, 4 or 1.8 times the weights, for every chunk, so there
// must be tiles enough for it: 32 of them (one image of 28x28, or eight of 14x14). Error against the direct sum:
// relative rms up to 2.4e-6 with F(4x4), below it with F(2x2).
#include "cpu/conv2d.h"
#include "cpu/gemm_tile.h"
#include "cpu/pack.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kPanel = kTileVectors * F32::kLanes;
constexpr int64_t kFewestTiles = 32;

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <int kTile>
struct Filter;
template <>
struct Filter<2> {
  static constexpr int kSize = 4;
  static constexpr int64_t kChunk = 112;  // tiles
  static constexpr double g[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};

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
  static constexpr int64_t kChunk = 56;  // tiles
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

int64_t panels_in_group(const Conv2dProblem& p) { return ceil_div(p.out_group, kPanel); }
int64_t panels(const Conv2dProblem& p) { return p.groups * panels_in_group(p); }

template <int kTile>
int64_t tile_rows(const Conv2dProblem& p) {
  return p.n * ceil_div(p.out_h, kTile);
}

template <int kTile>
bool accepts(const Conv2dProblem& p) {
  return p.winograd && p.kernel_h == 3 && p.kernel_w == 3 && p.stride_h == 1 && p.stride_w == 1 && p.dilation_h == 1 &&
         p.dilation_w == 1 && p.in_group % 16 == 0 && p.out_group % 16 == 0 &&
         tile_rows<kTile>(p) * ceil_div(p.out_w, kTile) >= kFewestTiles;
}

// A panel: bias [kPanel], then u [xi][in_group][kPanel].
template <int kTile>
int64_t panel_floats(const Conv2dProblem& p) {
  constexpr int64_t kSize = Filter<kTile>::kSize;
  return (1 + kSize * kSize * p.in_group) * kPanel;
}

template <int kTile>
void prepare(const Conv2dProblem& p, int64_t panel, float* prepared) {
  constexpr int kSize = Filter<kTile>::kSize;
  const auto& g = Filter<kTile>::g;
  const int64_t first = panel % panels_in_group(p) * kPanel, channel = panel / panels_in_group(p) * p.out_group + first;
  for (int64_t o = 0; o < kPanel; ++o) {
    const bool exists = first + o < p.out_group;
    prepared[o] = exists && p.bias != nullptr ? p.bias[(channel + o) * p.bias_stride] : 0.0f;
    for (int64_t c = 0; c < p.in_group; ++c) {
      double w[3][3] = {}, half[kSize][3];
      for (int64_t i = 0; i < 3 && exists; ++i)
        for (int64_t j = 0; j < 3; ++j)
          w[i][j] = p.weight[(channel + o) * p.weight_k + c * p.weight_c + i * p.weight_h + j * p.weight_w];
      for (int i = 0; i < kSize; ++i)
        for (int j = 0; j < 3; ++j) half[i][j] = g[i][0] * w[0][j] + g[i][1] * w[1][j] + g[i][2] * w[2][j];
      for (int i = 0; i < kSize; ++i)
        for (int j = 0; j < kSize; ++j)
          prepared[kPanel + ((i * kSize + j) * p.in_group + c) * kPanel + o] =
              static_cast<float>(half[i][0] * g[j][0] + half[i][1] * g[j][1] + half[i][2] * g[j][2]);
    }
  }
}

// How the scratch memory of a share is used. The xi are an odd number of cache lines apart, so that the 16 or 36 stores
// of a tile fall into different sets of L1.
template <int kTile>
struct Layout {
  int64_t columns;         // tiles in a row
  int64_t chunk;           // tiles
  int64_t v_step, m_step;  // floats between the xi
  int64_t v, m, end;       // positions in the scratch memory, after the offset table

  Layout(const Conv2dProblem& p, const Conv2dShare& share) {
    constexpr int64_t kSize = Filter<kTile>::kSize;
    columns = ceil_div(p.out_w, kTile);
    const int64_t tiles = (share.row_end - share.row_begin) * columns;
    chunk = ceil_div(tiles, ceil_div(tiles, Filter<kTile>::kChunk));
    v_step = PackedRows::odd_lines(p.in_group * chunk);
    m_step = PackedRows::odd_lines(kPanel * chunk);
    v = PackedRows::odd_lines(2 * p.in_group / 16);
    m = v + kSize * kSize * v_step;
    end = m + kSize * kSize * m_step;
  }
};

template <int kTile>
int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) {
  return Layout<kTile>(p, share).end;
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

// kLanes channels of one tile, of which `rows` x `columns` pixels exist.
template <int kTile>
void transform_output(const Conv2dProblem& p, const float* m, int64_t m_step, const float* bias, float* y,
                      const float* residual, int64_t rows, int64_t columns) {
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
  const F32 offset = F32::load(bias);
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
    if (i >= rows) break;
    F32 t[kTile];
    Filter<kTile>::output(half[i], t);
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j) {
      if (j >= columns) break;
      F32 value = t[j] + offset;
      if (residual != nullptr) value = value + F32::load(residual + i * p.residual.row + j * p.residual.pixel);
      if (p.relu) value = max(F32::zero(), value);
      value.store(y + i * p.y.row + j * p.y.pixel);
    }
  }
}

// The tiles of one chunk: tile t of the share is tile column t % columns of tile row share.row_begin + t / columns.
template <int kTile>
struct Chunk {
  const Conv2dProblem& p;
  const Layout<kTile>& layout;
  int64_t row_begin, first, count;

  struct Place {
    int64_t n, h, w;  // of the tile's first output
  };
  Place place(int64_t tile) const {
    const int64_t t = first + tile, row = row_begin + t / layout.columns, rows = ceil_div(p.out_h, kTile);
    return {row / rows, row % rows * kTile, t % layout.columns * kTile};
  }

  void transform_inputs(int64_t group, float* v) const {
    for (int64_t c = 0; c < p.in_group; c += 16) {
      const float* x = p.x + channel_offset(p, group * p.in_group + c) - p.padding_h * p.x_h - p.padding_w * p.x_w;
      for (int64_t t = 0; t < count; ++t) {
        const Place at = place(t);
        const float* tile = x + at.n * p.x_n + at.h * p.x_h + at.w * p.x_w;
        for (int l = 0; l < 16; l += F32::kLanes)
          transform_input<kTile>(tile + l, p.x_h, p.x_w, v + (c * layout.chunk + t * 16) + l, layout.v_step);
      }
    }
  }

  // m = v * u for every xi; the next xi's u comes from memory meanwhile, and after the last one `next`.
  void multiply(const float* v, const float* u, const int64_t* offsets, float* m, const float* next) const {
    constexpr int64_t kProducts = Filter<kTile>::kSize * Filter<kTile>::kSize;
    static constexpr float kNoBias[kPanel] = {};
    const int64_t u_floats = p.in_group * kPanel, tiles = ceil_div(count, kTileRows);
    GemmTile tile{.a = nullptr,
                  .second_row = 0,
                  .offsets = offsets,
                  .blocks = p.in_group / 16,
                  .weight = nullptr,
                  .bias = kNoBias,
                  .y = {nullptr, kPanel, F32::kLanes, 0},
                  .residual = {nullptr, 0, 0, 0},
                  .relu = false,
                  .prefetch = nullptr,
                  .prefetch_step = ceil_div(kPrefetchTerms * kPanel * 4, tiles * 16) * 16,
                  .prefetch_block = 0};
    tile.prefetch_block = 16 / kPrefetchTerms * tile.prefetch_step;
    for (int64_t xi = 0; xi < kProducts; ++xi) {
      tile.weight = u + xi * u_floats;
      const float* following = xi + 1 < kProducts ? tile.weight + u_floats : next;
      tile.prefetch = reinterpret_cast<const char*>(following != nullptr ? following : tile.weight);
      for (int64_t t = 0; t < count;) {
        const int64_t rows = next_tile_rows<16>(count - t);
        tile.a = v + xi * layout.v_step + t * 16;
        tile.y.data = m + xi * layout.m_step + t * kPanel;
        run_gemm_tile<kTileVectors, 16, 16>(rows, tile);
        tile.prefetch += p.in_group / kPrefetchTerms * tile.prefetch_step;
        t += rows;
      }
    }
  }

  void transform_outputs(int64_t channel, int64_t outputs, const float* m, const float* bias) const {
    for (int64_t o = 0; o < outputs; o += F32::kLanes)
      for (int64_t t = 0; t < count; ++t) {
        const Place at = place(t);
        const float* residual = p.residual.data != nullptr ? p.residual.at(channel + o, at.n, at.h, at.w) : nullptr;
        transform_output<kTile>(p, m + t * kPanel + o, layout.m_step, bias + o, p.y.at(channel + o, at.n, at.h, at.w),
                                residual, p.out_h - at.h, p.out_w - at.w);
      }
  }
};

template <int kTile>
void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Layout<kTile> layout(p, share);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  for (int64_t i = 0; i < p.in_group / 16; ++i) offsets[i] = i * layout.chunk * 16;
  float *v = scratch + layout.v, *m = scratch + layout.m;
  const int64_t tiles = (share.row_end - share.row_begin) * layout.columns, floats = panel_floats<kTile>(p);
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t group = begin / panels_in_group(p), end = min(share.panel_end, (group + 1) * panels_in_group(p));
    for (int64_t first = 0; first < tiles; first += layout.chunk) {
      const Chunk<kTile> chunk{p, layout, share.row_begin, first, min(layout.chunk, tiles - first)};
      chunk.transform_inputs(group, v);
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t from = panel % panels_in_group(p) * kPanel;
        const float* prepared = p.prepared + panel * floats;
        const bool again = panel + 1 == end && first + layout.chunk < tiles;
        const float* next = again                         ? p.prepared + begin * floats
                            : panel + 1 < share.panel_end ? prepared + floats
                                                          : share.next;
        chunk.multiply(v, prepared + kPanel, offsets, m, next);
        chunk.transform_outputs(group * p.out_group + from, min(kPanel, p.out_group - from), m, prepared);
      }
    }
    begin = end;
  }
}

template <int kTile>
constexpr Conv2dAlgorithm algorithm(const char* name) {
  return {name,
          kTile,
          accepts<kTile>,
          panels,
          tile_rows<kTile>,
          panel_floats<kTile>,
          prepare<kTile>,
          scratch_floats<kTile>,
          run<kTile>};
}

}  // namespace

extern const Conv2dAlgorithm conv2d_winograd_4x4, conv2d_winograd_2x2;
const Conv2dAlgorithm conv2d_winograd_4x4 = algorithm<4>("winograd_4x4");
const Conv2dAlgorithm conv2d_winograd_2x2 = algorithm<2>("winograd_2x2");

}  // namespace lucid::LUCID_ISA
