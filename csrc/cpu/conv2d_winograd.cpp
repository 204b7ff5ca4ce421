// Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin & Gray 2015, https://arxiv.org/abs/1509.09308):
// F(4x4, 3x3) computes 4x4 outputs with 36 products a channel where the direct sum takes 144, F(2x2, 3x3) 2x2 outputs
// with 16 where it takes 36.
//
//   for each group, for each chunk of tiles:
//     v[xi][channel block][tile][kBlock] = B^T d B      the chunk's input, transformed; stays in L2
//     for each panel of outputs:
//       m[xi][tile][panel] = v[xi] * u[panel][xi]       36 or 16 matrix products by the tile of gemm_tile.h
//       y = A^T m A + bias + residual, ReLU
//
// Channels of a group come in blocks of 16, 8 or 4, the last one filled up with zeros; groups need not begin at a block
// of x or y, which costs copies in pieces.
//
// The transforms cost a few percent; what limits is reading u, 4 or 1.8 times the weights, for every chunk, so there
// must be tiles enough for it. Tiles are counted in one image: what an image gives must not depend on its batch.
// (Eight images of 14x14 would be 20 % faster by F(4x4) than by F(2x2).) Error against the direct sum: relative rms up
// to 2.4e-6 with F(4x4), below it with F(2x2).
#include "cpu/conv2d.h"
#include "cpu/gemm_tile.h"
#include "cpu/pack.h"
#include "cpu/winograd_transform.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kPanel = kTileVectors * F32::kLanes;
constexpr int64_t kMostInput = 192 << 10;  // floats of v: with u and m it must stay in an L2 of 2 MB
constexpr int64_t kOutputPiece = 8;        // channels that a group's outputs are a multiple of

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t panels_in_group(const Conv2dProblem& p) { return ceil_div(p.out_group, kPanel); }
int64_t panels(const Conv2dProblem& p) { return p.groups * panels_in_group(p); }

template <int kTile>
int64_t tile_rows(const Conv2dProblem& p) {
  return p.n * ceil_div(p.out_h, kTile);
}

// Channels of v that lie together.
int64_t block_of(const Conv2dProblem& p) { return p.in_group % 16 == 0 ? 16 : p.in_group % 8 == 0 ? 8 : 4; }
// Input channels of a group, filled up to whole blocks.
int64_t terms(const Conv2dProblem& p) { return ceil_div(p.in_group, block_of(p)) * block_of(p); }

template <int kTile>
bool accepts(const Conv2dProblem& p) {
  return p.winograd && p.kernel_h == 3 && p.kernel_w == 3 && p.stride_h == 1 && p.stride_w == 1 && p.dilation_h == 1 &&
         p.dilation_w == 1 && p.in_group >= 8 && p.in_group % 2 == 0 && p.out_group % kOutputPiece == 0 &&
         ceil_div(p.out_h, kTile) * ceil_div(p.out_w, kTile) >= Filter<kTile>::kFewestTiles;
}

// A panel: bias [kPanel], then u [xi][terms][width of the panel].
template <int kTile>
int64_t panel_floats(const Conv2dProblem& p) {
  constexpr int64_t kSize = Filter<kTile>::kSize;
  return (1 + kSize * kSize * terms(p)) * kPanel;
}

// The outputs of a panel: two vectors, or one where that is enough.
struct Panel {
  int64_t group, channel, outputs, width;

  Panel(const Conv2dProblem& p, int64_t panel) {
    const int64_t first = panel % panels_in_group(p) * kPanel;
    group = panel / panels_in_group(p);
    channel = group * p.out_group + first;
    outputs = min(kPanel, p.out_group - first);
    width = outputs <= F32::kLanes ? F32::kLanes : kPanel;
  }
};

template <int kTile>
void prepare(const Conv2dProblem& p, int64_t index, float* prepared) {
  constexpr int kSize = Filter<kTile>::kSize;
  const auto& g = Filter<kTile>::g;
  const Panel panel(p, index);
  for (int64_t o = 0; o < panel.width; ++o) {
    const int64_t channel = panel.channel + o;
    const bool exists = o < panel.outputs;
    prepared[o] = exists && p.bias != nullptr ? p.bias[channel * p.bias_stride] : 0.0f;
    for (int64_t c = 0; c < terms(p); ++c) {
      double w[3][3] = {}, half[kSize][3];
      for (int64_t i = 0; i < 3 && exists && c < p.in_group; ++i)
        for (int64_t j = 0; j < 3; ++j)
          w[i][j] = p.weight[channel * p.weight_k + c * p.weight_c + i * p.weight_h + j * p.weight_w];
      for (int i = 0; i < kSize; ++i)
        for (int j = 0; j < 3; ++j) half[i][j] = g[i][0] * w[0][j] + g[i][1] * w[1][j] + g[i][2] * w[2][j];
      for (int i = 0; i < kSize; ++i)
        for (int j = 0; j < kSize; ++j)
          prepared[kPanel + ((i * kSize + j) * terms(p) + c) * panel.width + o] =
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
    // Whole register tiles: 49 of 56 rows were 12 % slower.
    const int64_t fits = min(Filter<kTile>::kChunk, kMostInput / (kSize * kSize * terms(p))) / kTileRows;
    const int64_t chunks = ceil_div(tiles, (fits > 1 ? fits : 1) * kTileRows);
    chunk = min(tiles, ceil_div(ceil_div(tiles, chunks), kTileRows) * kTileRows);
    v_step = PackedRows::odd_lines(terms(p) * chunk);
    m_step = PackedRows::odd_lines(kPanel * chunk);
    v = PackedRows::odd_lines(2 * (terms(p) / block_of(p)));
    m = v + kSize * kSize * v_step;
    end = m + kSize * kSize * m_step;
  }
};

template <int kTile>
int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) {
  return Layout<kTile>(p, share).end;
}

// The tiles of one chunk: tile t of the share is tile column t % columns of tile row share.row_begin + t / columns.
template <int kTile>
struct Chunk {
  const Conv2dProblem& p;
  const Layout<kTile>& layout;
  int64_t row_begin, first, count;

  struct Place {
    int64_t n, h, w;  // of the tile's first output
    int64_t row;      // of tiles, those of all images numbered through
  };
  Place place(int64_t tile) const {
    const int64_t t = first + tile, row = row_begin + t / layout.columns, rows = ceil_div(p.out_h, kTile);
    return {row / rows, row % rows * kTile, t % layout.columns * kTile, row};
  }

  void transform_inputs(int64_t group, float* v) const {
    constexpr int kProducts = Filter<kTile>::kSize * Filter<kTile>::kSize;
    constexpr int64_t kLanes = F32::kLanes;
    const int64_t begin = group * p.in_group, end = begin + p.in_group, block = block_of(p);
    const float* x = p.x - p.padding_h * p.x_h - p.padding_w * p.x_w;
    const int64_t filled = terms(p) > p.in_group ? terms(p) / block - 1 : -1;  // the block that zeros fill up
    for (int xi = 0; xi < kProducts && filled >= 0; ++xi)
      __builtin_memset(v + xi * layout.v_step + filled * layout.chunk * block, 0,
                       static_cast<size_t>(count * block) * sizeof(float));
    for (int64_t c = begin / kLanes * kLanes; c < end; c += kLanes)
      for (int64_t t = 0; t < count; ++t) {
        const Place at = place(t);
        const float* tile = x + channel_offset(p, c) + at.n * p.x_n + at.h * p.x_h + at.w * p.x_w;
        if (block == 16) {
          const int64_t in_group = c - begin;
          transform_input<kTile>(tile, p.x_h, p.x_w, v + (in_group / 16 * layout.chunk + t) * 16 + in_group % 16,
                                 layout.v_step);
        } else {
          alignas(64) float lanes[kProducts * kLanes];
          transform_input<kTile>(tile, p.x_h, p.x_w, lanes, kLanes);
          if (p.in_group % 4 == 0)
            copy_lanes<4>(lanes, c, begin, end, v + t * block);
          else
            copy_lanes<2>(lanes, c, begin, end, v + t * block);
        }
      }
  }

  // Those of the channels [c, c + kLanes) that belong to the group, kPiece at a time.
  template <int kPiece>
  void copy_lanes(const float* lanes, int64_t c, int64_t begin, int64_t end, float* v) const {
    const int64_t block = block_of(p), last = min(end, c + F32::kLanes);
    for (int64_t channel = c < begin ? begin : c; channel < last; channel += kPiece) {
      const int64_t in_group = channel - begin;
      float* to = v + in_group / block * layout.chunk * block + in_group % block;
      for (int xi = 0; xi < Filter<kTile>::kSize * Filter<kTile>::kSize; ++xi)
        __builtin_memcpy(to + xi * layout.v_step, lanes + xi * F32::kLanes + (channel - c), kPiece * sizeof(float));
    }
  }

  // m = v * u for every xi; the next xi's u comes from memory meanwhile, and after the last one `next`.
  template <int kVectors, int kBlock>
  void multiply(const float* v, const float* u, const int64_t* offsets, float* m, const float* next) const {
    constexpr int64_t kProducts = Filter<kTile>::kSize * Filter<kTile>::kSize, kWidth = kVectors * F32::kLanes;
    static constexpr float kNoBias[kWidth] = {};
    const int64_t u_floats = terms(p) * kWidth, tiles = ceil_div(count, kTileRows);
    GemmTile tile{.a = nullptr,
                  .second_row = 0,
                  .offsets = offsets,
                  .blocks = terms(p) / kBlock,
                  .weight = nullptr,
                  .bias = kNoBias,
                  .y = {nullptr, kPanel, F32::kLanes, 0},
                  .residual = {nullptr, 0, 0, 0},
                  .relu = false,
                  .prefetch = nullptr,
                  .prefetch_step = ceil_div(kPrefetchTerms * kWidth * 4, tiles * 16) * 16,
                  .prefetch_block = 0};
    tile.prefetch_block = kBlock / kPrefetchTerms * tile.prefetch_step;
    for (int64_t xi = 0; xi < kProducts; ++xi) {
      tile.weight = u + xi * u_floats;
      const float* following = xi + 1 < kProducts ? tile.weight + u_floats : next;
      tile.prefetch = reinterpret_cast<const char*>(following != nullptr ? following : tile.weight);
      for (int64_t t = 0; t < count;) {
        const int64_t rows = next_tile_rows<kBlock>(count - t);
        tile.a = v + xi * layout.v_step + t * kBlock;
        tile.y.data = m + xi * layout.m_step + t * kPanel;
        run_gemm_tile<kVectors, kBlock, kBlock>(rows, tile);
        tile.prefetch += terms(p) / kPrefetchTerms * tile.prefetch_step;
        t += rows;
      }
    }
  }

  template <int kBlock>
  void multiply(const Panel& panel, const float* v, const float* u, const int64_t* offsets, float* m,
                const float* next) const {
    if (panel.width == kPanel)
      multiply<kTileVectors, kBlock>(v, u, offsets, m, next);
    else
      multiply<1, kBlock>(v, u, offsets, m, next);
  }

  void transform_outputs(const Panel& panel, const float* m, const float* bias) const {
    for (int64_t o = 0; o < panel.outputs; o += F32::kLanes) {
      const int64_t channel = panel.channel + o, outputs = min(F32::kLanes, panel.outputs - o);
      const bool whole = outputs == F32::kLanes && channel % 16 + F32::kLanes <= 16;  // of one block of y
      for (int64_t t = 0; t < count; ++t) {
        const Place at = place(t);
        TileOutput to{p.y.at(channel, at.n, at.h, at.w),
                      p.y.row,
                      p.y.pixel,
                      p.residual.data != nullptr ? p.residual.at(channel, at.n, at.h, at.w) : nullptr,
                      p.residual.row,
                      p.residual.pixel,
                      min(kTile, p.out_h - at.h),
                      min(kTile, p.out_w - at.w),
                      p.relu,
                      p.row_sums != nullptr ? p.row_sums + at.row * p.out_channels() + channel : nullptr,
                      at.w == 0};
        if (whole)
          transform_output<kTile>(m + t * kPanel + o, layout.m_step, bias + o, to);
        else
          transform_aside(m + t * kPanel + o, bias + o, channel, outputs, at, to);
      }
    }
  }

  // Outputs that do not fill a vector, or lie in two blocks of y: computed beside it and copied in pieces.
  void transform_aside(const float* m, const float* bias, int64_t channel, int64_t outputs, const Place& at,
                       TileOutput to) const {
    constexpr int64_t kLanes = F32::kLanes;
    alignas(64) float y[kTile * kTile * kLanes] = {}, residual[kTile * kTile * kLanes] = {};
    const auto for_pieces = [&](const auto& body) {
      for (int64_t i = 0; i < to.rows; ++i)
        for (int64_t j = 0; j < to.columns; ++j)
          for (int64_t o = 0; o < outputs; o += kOutputPiece) body(channel + o, i, j, (i * kTile + j) * kLanes + o);
    };
    if (to.residual != nullptr)
      for_pieces([&](int64_t c, int64_t i, int64_t j, int64_t place) {
        __builtin_memcpy(residual + place, p.residual.at(c, at.n, at.h + i, at.w + j), kOutputPiece * sizeof(float));
      });
    alignas(64) float sums[kLanes] = {};
    float* const row_sums = to.sums;
    if (row_sums != nullptr && !to.first_sum)
      __builtin_memcpy(sums, row_sums, static_cast<size_t>(outputs) * sizeof(float));
    to.sums = row_sums != nullptr ? sums : nullptr;
    to.y = y;
    to.residual = to.residual != nullptr ? residual : nullptr;
    to.row = to.residual_row = kTile * kLanes;
    to.pixel = to.residual_pixel = kLanes;
    transform_output<kTile>(m, layout.m_step, bias, to);
    if (row_sums != nullptr) __builtin_memcpy(row_sums, sums, static_cast<size_t>(outputs) * sizeof(float));
    for_pieces([&](int64_t c, int64_t i, int64_t j, int64_t place) {
      __builtin_memcpy(p.y.at(c, at.n, at.h + i, at.w + j), y + place, kOutputPiece * sizeof(float));
    });
  }
};

template <int kTile, int kBlock>
void run_blocked(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Layout<kTile> layout(p, share);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  for (int64_t i = 0; i < terms(p) / kBlock; ++i) offsets[i] = i * layout.chunk * kBlock;
  float *v = scratch + layout.v, *m = scratch + layout.m;
  const int64_t tiles = (share.row_end - share.row_begin) * layout.columns, floats = panel_floats<kTile>(p);
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t group = begin / panels_in_group(p), end = min(share.panel_end, (group + 1) * panels_in_group(p));
    for (int64_t first = 0; first < tiles; first += layout.chunk) {
      const Chunk<kTile> chunk{p, layout, share.row_begin, first, min(layout.chunk, tiles - first)};
      chunk.transform_inputs(group, v);
      for (int64_t i = begin; i < end; ++i) {
        const Panel panel(p, i);
        const float* prepared = p.prepared + i * floats;
        const bool again = i + 1 == end && first + layout.chunk < tiles;
        const float* next = again                     ? p.prepared + begin * floats
                            : i + 1 < share.panel_end ? prepared + floats
                                                      : share.next;
        chunk.template multiply<kBlock>(panel, v, prepared + kPanel, offsets, m, next);
        chunk.transform_outputs(panel, m, prepared);
      }
    }
    begin = end;
  }
}

template <int kTile>
void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  switch (block_of(p)) {
    case 16: return run_blocked<kTile, 16>(p, share, scratch);
    case 8: return run_blocked<kTile, 8>(p, share, scratch);
    default: return run_blocked<kTile, 4>(p, share, scratch);
  }
}

template <int kTile>
constexpr Conv2dAlgorithm algorithm(const char* name) {
  return {name,
          kTile,
          true,
          false,
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
