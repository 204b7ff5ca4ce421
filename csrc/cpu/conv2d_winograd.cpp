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
// must be tiles enough for it, or u is computed where it is used (keeps_weights). Tiles are counted in one image: what
// an image gives must not depend on its batch. One image of 14x14 is 1.3 times as fast by F(4x4) as by F(2x2) on AVX2,
// and 0.7 times on AVX-512, which waits for u and takes as long to compute it; eight images would be 1.2 times.
// Error against the direct sum: relative rms up to 1.2e-6 with F(4x4), below it with F(2x2).
#include "blocking.h"
#include "cpu/conv2d_panel.h"
#include "cpu/conv2d_problem.h"
#include "cpu/pack.h"
#include "gemm_tile.h"
#include "winograd_transform.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kBlockOfX = InputView::kBlock;
constexpr int64_t kTaps = 9;
constexpr int64_t kOutputPiece = 8;  // channels that a group's outputs are a multiple of

template <int kTile>
int64_t tile_rows(const Conv2dShape& s) {
  return s.n * ceil_div(s.out_h, kTile);
}

// Channels of v that lie together.
int64_t block_of(const Conv2dShape& s) { return s.in_group % kBlockOfX == 0 ? kBlockOfX : s.in_group % 8 == 0 ? 8 : 4; }
// Input channels of a group, filled up to whole blocks.
int64_t channels(const Conv2dShape& s) { return round_up(s.in_group, block_of(s)); }

template <int kTile>
int64_t image_tiles(const Conv2dShape& s) {
  return ceil_div(s.out_h, kTile) * ceil_div(s.out_w, kTile);
}

template <int kTile>
bool accepts(const Conv2dShape& s, const Conv2dOptions& options) {
  const int64_t tiles = image_tiles<kTile>(s);
  return options.winograd && s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.in_group >= 8 && s.in_group % 2 == 0 &&
         s.out_group % kOutputPiece == 0 && tiles >= kFewestWinogradTiles<kTile> &&
         (tiles > kFewWinogradTiles || s.out_group >= kOutputsOfFewWinogradTiles);
}

template <int kTile>
constexpr int64_t kProducts = Filter<kTile>::kSize * Filter<kTile>::kSize;

// Whether a panel holds the 9 weights of a channel, and not the 16 or 36 of u, which each chunk then computes from
// them: u is more than caches keep, and an image has so few tiles that reading it takes longer than multiplying by it.
// 512 to 1024 channels in 2 groups at 7x7: 0.56 ms became 0.41 in a plan; of 49 tiles, at 14x14, nothing is to be won.
template <int kTile>
bool keeps_weights(const Conv2dShape& s) {
  return kProducts<kTile> * channels(s) * s.out_channels() * kFloatBytes > kCachedWinogradBytes &&
         image_tiles<kTile>(s) <= kFewWinogradTiles;
}

// Channels that are summed in one accumulator, a part of all: the error of F(4x4) would be 2e-6 with 512. What is
// computed of u, a part at a time, stays in L2.
template <int kTile>
constexpr int64_t kPartChannels = kTile == 2 ? 256 : 128;
template <int kTile>
int64_t part_channels(const Conv2dShape& s, int64_t first) {
  return min(kPartChannels<kTile>, channels(s) - first);
}

// A panel: bias [kPanel], then u [part][xi][channels][width of the panel], or the weights [channels][9][width].
template <int kTile>
int64_t panel_bytes(const Conv2dShape& s) {
  const int64_t of_channel = keeps_weights<kTile>(s) ? kTaps : kProducts<kTile>;
  return (1 + of_channel * channels(s)) * kPanel * kFloatBytes;
}

template <int kTile>
void prepare(const Conv2d& p, int64_t index, char* prepared) {
  const Conv2dShape& s = p.shape;
  const Panel panel(s, index);
  float* packed = reinterpret_cast<float*>(prepared);
  for (int64_t o = 0; o < panel.width; ++o)
    packed[o] = o < panel.outputs ? p.epilogue.bias_at(panel.channel + o) : 0.0f;
  for (int64_t c = 0; c < channels(s); ++c) {
    const int64_t part = c / kPartChannels<kTile> * kPartChannels<kTile>;  // its first channel
    double w[3][3][kPanel] = {};
    for (int64_t o = 0; o < panel.outputs && c < s.in_group; ++o)
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < 3; ++j)
          w[i][j][o] = static_cast<double>(p.operands.weight_at(panel.channel + o, c, i, j));
    if (keeps_weights<kTile>(s))
      for (int64_t i = 0; i < kTaps * panel.width; ++i)
        packed[kPanel + c * kTaps * panel.width + i] =
            static_cast<float>(w[i / panel.width / 3][i / panel.width % 3][i % panel.width]);
    else
      transform_weights<kTile>(w, panel.width, packed + kPanel + (kProducts<kTile> * part + c - part) * panel.width,
                               part_channels<kTile>(s, part) * panel.width);
  }
}

// How the scratch memory of a share is used. The xi are an odd number of cache lines apart, so that the 16 or 36 stores
// of a tile fall into different sets of L1.
template <int kTile>
struct Blocking {
  int64_t columns;         // tiles in a row
  int64_t chunk;           // tiles
  int64_t v_step, m_step;  // floats between the xi
  int64_t u_step;          // the same where panels keep weights, or 0
  int64_t v, m, u, end;    // bytes from the start of the scratch memory, which is the offset table

  Blocking(const Conv2dShape& s, const Conv2dShare& share) {
    columns = ceil_div(s.out_w, kTile);
    const int64_t tiles = (share.row_end - share.row_begin) * columns;
    // Whole register tiles: 49 of 56 rows were 12 % slower.
    const int64_t most = kWinogradInputBytes / (kProducts<kTile> * channels(s) * kFloatBytes);
    const int64_t fits = max(1, min(kWinogradChunk<kTile>, most) / kTileRows);
    const int64_t chunks = ceil_div(tiles, fits * kTileRows);
    static_assert(kWinogradChunk<kTile> >= kTileRows);  // so that no chunk is longer
    chunk = min(tiles, round_up(ceil_div(tiles, chunks), kTileRows));
    v_step = odd_lines(channels(s) * chunk);
    m_step = odd_lines(kPanel * chunk);
    u_step = keeps_weights<kTile>(s) ? odd_lines(kPanel * part_channels<kTile>(s, 0)) : 0;
    v = round_up(channels(s) / block_of(s) * static_cast<int64_t>(sizeof(int64_t)), kBlockBytes);
    m = v + kProducts<kTile> * v_step * kFloatBytes;
    u = m + kProducts<kTile> * m_step * kFloatBytes;
    end = u + kProducts<kTile> * u_step * kFloatBytes;
  }
};

template <int kTile>
int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) {
  return Blocking<kTile>(p.shape, share).end;
}

// The tiles of one chunk: tile t of the share is tile column t % columns of tile row share.row_begin + t / columns.
template <int kTile>
struct Chunk {
  struct Place {
    int64_t n, h, w;  // of the tile's first output
    int64_t row;      // of tiles, those of all images numbered through
  };

  const Conv2d& p;
  const Conv2dShape& s;
  const Blocking<kTile>& b;
  int64_t count;
  Place places[kWinogradChunk<kTile>];  // once: with divisions for each vector of channels 28x28 took 2 % longer

  Chunk(const Conv2d& problem, const Blocking<kTile>& blocking, int64_t row_begin, int64_t first, int64_t tiles)
      : p(problem), s(problem.shape), b(blocking), count(tiles) {
    const int64_t rows = ceil_div(s.out_h, kTile);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t t = first + i, row = row_begin + t / b.columns;
      places[i] = {row / rows, row % rows * kTile, t % b.columns * kTile, row};
    }
  }

  // The pixels under a tile, kLanes channels from c on: where they lie, or beside zeros in `aside`, where x comes
  // without its padding.
  struct Input {
    const float* data;
    int64_t row, pixel;
  };
  Input input(int64_t c, const Place& at, float* aside) const {
    constexpr int64_t kSize = Filter<kTile>::kSize;
    const InputView& x = p.operands.x;
    const int64_t top = at.h - s.padding_top, left = at.w - s.padding_left;
    if (p.operands.x_has_halo || (top >= 0 && left >= 0 && top + kSize <= s.h && left + kSize <= s.w))
      return {x.data + x.offset(c, at.n, top, left), x.row, x.pixel};
    float* to = aside;
    for (int64_t h = top; h < top + kSize; ++h)
      for (int64_t w = left; w < left + kSize; ++w, to += F32::kLanes) {
        const bool there = h >= 0 && h < s.h && w >= 0 && w < s.w;
        (there ? F32::load(x.data + x.offset(c, at.n, h, w)) : F32::zero()).store(to);
      }
    return {aside, kSize * F32::kLanes, F32::kLanes};
  }

  void transform_inputs(int64_t group, float* v) const {
    constexpr int64_t kLanes = F32::kLanes;
    const int64_t begin = group * s.in_group, end = begin + s.in_group, block = block_of(s);
    const int64_t filled = channels(s) > s.in_group ? channels(s) / block - 1 : -1;  // the block that zeros fill up
    for (int xi = 0; xi < kProducts<kTile> && filled >= 0; ++xi)
      __builtin_memset(v + xi * b.v_step + filled * b.chunk * block, 0,
                       static_cast<size_t>(count * block) * sizeof(float));
    for (int64_t c = begin / kLanes * kLanes; c < end; c += kLanes)
      for (int64_t t = 0; t < count; ++t) {
        const Place& at = places[t];
        alignas(64) float aside[kProducts<kTile> * kLanes];
        const Input tile = input(c, at, aside);
        if (block == kBlockOfX) {
          const int64_t block_begin = (c - begin) / block * b.chunk;
          transform_input<kTile>(tile.data, tile.row, tile.pixel, v + (block_begin + t) * block + (c - begin) % block,
                                 b.v_step);
        } else {
          alignas(64) float lanes[kProducts<kTile> * kLanes];
          transform_input<kTile>(tile.data, tile.row, tile.pixel, lanes, kLanes);
          if (s.in_group % 4 == 0)
            copy_lanes<4>(lanes, c, begin, end, v + t * block);
          else
            copy_lanes<2>(lanes, c, begin, end, v + t * block);
        }
      }
  }

  // Those of the channels [c, c + kLanes) that belong to the group, kPiece at a time.
  template <int kPiece>
  void copy_lanes(const float* lanes, int64_t c, int64_t begin, int64_t end, float* v) const {
    const int64_t block = block_of(s), last = min(end, c + F32::kLanes);
    for (int64_t channel = max(begin, c); channel < last; channel += kPiece) {
      const int64_t in_group = channel - begin;
      float* to = v + in_group / block * b.chunk * block + in_group % block;
      for (int xi = 0; xi < kProducts<kTile>; ++xi)
        __builtin_memcpy(to + xi * b.v_step, lanes + xi * F32::kLanes + (channel - c), kPiece * sizeof(float));
    }
  }

  // u of some channels of a panel that keeps its weights, in float32.
  void transform_filters(const float* weights, int64_t part, int64_t width, float* u) const {
    for (int64_t c = 0; c < part; ++c, weights += kTaps * width, u += width)
      for (int64_t o = 0; o < width; o += F32::kLanes) transform_filter<kTile>(weights + o, width, u + o, b.u_step);
  }

  // m = v * u for every xi; `computed` has room for a part of u where the panel holds the weights instead. The next u
  // comes from memory meanwhile, or `next`: a part each time where u was computed.
  template <int kVectors, int kBlock>
  void multiply(const float* v, const float* u, float* computed, const int64_t* offsets, float* m,
                const char* next) const {
    constexpr int64_t kWidth = kVectors * F32::kLanes, kXi = kProducts<kTile>;
    static constexpr float kNoBias[kWidth] = {};
    const bool computes = b.u_step > 0;
    const int64_t fetched = kWidth * kFloatBytes * (computes ? kTaps : kXi) / kXi;  // bytes for a channel of a product
    GemmTile tile{};
    tile.offsets = offsets;
    tile.bias = kNoBias;
    tile.y = {nullptr, kPanel, F32::kLanes, kTileRows, 0};
    tile.prefetch_step = round_up(ceil_div(kPrefetchTerms * fetched, ceil_div(count, kTileRows)), 16);
    tile.prefetch_block = kBlock / kPrefetchTerms * tile.prefetch_step;
    for (int64_t first = 0; first < channels(s); first += kPartChannels<kTile>) {
      const int64_t part = part_channels<kTile>(s, first);
      if (computes) transform_filters(u + first * kTaps * kWidth, part, kWidth, computed);
      tile.blocks = part / kBlock;
      tile.residual = first > 0 ? &tile.y : nullptr;
      for (int64_t xi = 0; xi < kXi; ++xi) {
        const int64_t done = kXi * first + xi * part;  // channels of all products
        tile.weight = computes ? computed + xi * b.u_step : u + done * kWidth;
        const char* const own = reinterpret_cast<const char*>(tile.weight);
        const char* const after = next != nullptr ? next : own;
        const bool last = done + part == kXi * channels(s);
        tile.prefetch = computes ? after + done * fetched : last ? after : own + part * fetched;
        for (int64_t t = 0; t < count;) {
          const int64_t rows = next_tile_rows<kBlock>(count - t);
          tile.a = v + xi * b.v_step + first * b.chunk + t * kBlock;
          tile.y.data = m + xi * b.m_step + t * kPanel;
          run_gemm_tile<kVectors, kBlock, kBlock>(rows, tile);
          tile.prefetch += part / kPrefetchTerms * tile.prefetch_step;
          t += rows;
        }
      }
    }
  }

  void transform_outputs(const Panel& panel, const float* m, const float* bias) const {
    constexpr int64_t kYBlock = OutputView::kBlock;
    const OutputView &y = p.operands.y, &residual = p.epilogue.residual;
    float* const row_sums = p.epilogue.row_sums;
    for (int64_t o = 0; o < panel.outputs; o += F32::kLanes) {
      const int64_t channel = panel.channel + o, outputs = min(F32::kLanes, panel.outputs - o);
      const bool whole = outputs == F32::kLanes && channel % kYBlock + F32::kLanes <= kYBlock;  // of one block of y
      for (int64_t t = 0; t < count; ++t) {
        const Place& at = places[t];
        const TileOutput to{
            .y = y.at(channel, at.n, at.h, at.w),
            .row = y.row,
            .pixel = y.pixel,
            .residual = residual.data != nullptr ? residual.at(channel, at.n, at.h, at.w) : nullptr,
            .residual_row = residual.row,
            .residual_pixel = residual.pixel,
            .rows = min(kTile, s.out_h - at.h),
            .columns = min(kTile, s.out_w - at.w),
            .relu = p.epilogue.relu,
            .sums = row_sums != nullptr ? row_sums + at.row * s.out_channels() + channel : nullptr,
            .first_sum = at.w == 0,
        };
        if (whole)
          transform_output<kTile>(m + t * kPanel + o, b.m_step, bias + o, to);
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
        __builtin_memcpy(residual + place, p.epilogue.residual.at(c, at.n, at.h + i, at.w + j),
                         kOutputPiece * sizeof(float));
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
    transform_output<kTile>(m, b.m_step, bias, to);
    if (row_sums != nullptr) __builtin_memcpy(row_sums, sums, static_cast<size_t>(outputs) * sizeof(float));
    for_pieces([&](int64_t c, int64_t i, int64_t j, int64_t place) {
      __builtin_memcpy(p.operands.y.at(c, at.n, at.h + i, at.w + j), y + place, kOutputPiece * sizeof(float));
    });
  }
};

template <int kTile, int kBlock>
void run_blocked(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const Conv2dShape& s = p.shape;
  const Blocking<kTile> b(s, share);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  for (int64_t i = 0; i < channels(s) / kBlock; ++i) offsets[i] = i * b.chunk * kBlock;
  float *v = reinterpret_cast<float*>(scratch + b.v), *m = reinterpret_cast<float*>(scratch + b.m);
  const int64_t tiles = (share.row_end - share.row_begin) * b.columns, bytes = panel_bytes<kTile>(s);
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t group = begin / panels_in_group(s), end = min(share.panel_end, (group + 1) * panels_in_group(s));
    for (int64_t first = 0; first < tiles; first += b.chunk) {
      const Chunk<kTile> chunk(p, b, share.row_begin, first, min(b.chunk, tiles - first));
      chunk.transform_inputs(group, v);
      for (int64_t i = begin; i < end; ++i) {
        const char* prepared = p.operands.prepared + i * bytes;
        const bool again = i + 1 == end && first + b.chunk < tiles;
        const char* next = again                     ? p.operands.prepared + begin * bytes
                           : i + 1 < share.panel_end ? prepared + bytes
                                                     : share.next;
        const Panel panel(s, i);
        const float* bias = reinterpret_cast<const float*>(prepared);
        const auto multiply = panel.width == kPanel ? &Chunk<kTile>::template multiply<kTileVectors, kBlock>
                                                    : &Chunk<kTile>::template multiply<1, kBlock>;
        (chunk.*multiply)(v, bias + kPanel, reinterpret_cast<float*>(scratch + b.u), offsets, m, next);
        chunk.transform_outputs(panel, m, bias);
      }
    }
    begin = end;
  }
}

template <int kTile>
void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  switch (block_of(p.shape)) {
    case kBlockOfX: return run_blocked<kTile, kBlockOfX>(p, share, scratch);
    case 8: return run_blocked<kTile, 8>(p, share, scratch);
    default: return run_blocked<kTile, 4>(p, share, scratch);
  }
}

template <int kTile>
constexpr Conv2dAlgorithm algorithm(const char* name) {
  return {
      .name = name,
      .output_tile = kTile,
      .sums_rows = true,
      .packs_input = false,
      .accepts = accepts<kTile>,
      .panels = panels_of_groups,
      .rows = tile_rows<kTile>,
      .panel_bytes = panel_bytes<kTile>,
      .prepare = prepare<kTile>,
      .scratch_bytes = scratch_bytes<kTile>,
      .run = run<kTile>,
  };
}

}  // namespace

extern const Conv2dAlgorithm conv2d_winograd_4x4, conv2d_winograd_2x2;
const Conv2dAlgorithm conv2d_winograd_4x4 = algorithm<4>("winograd_4x4");
const Conv2dAlgorithm conv2d_winograd_2x2 = algorithm<2>("winograd_2x2");

}  // namespace lucid::LUCID_ISA
