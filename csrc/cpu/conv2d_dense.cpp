// Convolution as a matrix product that is never laid out: (pixels x taps * channels) by (taps * channels x outputs),
// group by group, for any window, stride, dilation and number of groups.
//
// Bound by the FMA units. The outputs are cut into panels of kPanel channels, the rows into chunks whose input stays in
// L2; every tile of a chunk runs against every panel. The input is read where it lies if it is blocked and carries its
// padding (inside a plan), else packed chunk by chunk into that form. Weights come prepared, or are packed on the way:
// - if the input of the share fits L2 (14x14, 7x7) it is packed once, and the weights go by panel by panel, each read
//   from memory exactly once;
// - else (56x56, 28x28) the weights of many panels stay, and the input goes by in small chunks.
#include "blocking.h"
#include "cpu/conv2d_panel.h"
#include "cpu/conv2d_prefetch.h"
#include "cpu/conv2d_problem.h"
#include "cpu/epilogue.h"
#include "cpu/pack.h"
#include "cpu/tile_place.h"
#include "gemm_tile.h"

namespace lucid::LUCID_ISA {
namespace {

// Channels that lie together in the input: as many as divide the group.
int64_t block_of(const Conv2dShape& s) {
  int64_t block = InputView::kBlock;
  while (s.in_group % block != 0) block /= 2;
  return block == 2 ? 1 : block;
}

// Whether rows of every second pixel leave a third of their tiles empty. Packed pixels are one run across rows: 1024 to
// 2048 channels from 14x14 to 7x7 took 1.01 ms by AVX2's tiles of 4 and 3 pixels, and 0.86 packed.
bool leaves_tiles_empty(const Conv2dShape& s) {
  return s.taps() == 1 && s.stride_w == 2 && s.out_w != kTileRows / 2 &&
         2 * round_up(s.out_w, kTileRows) >= 3 * s.out_w;
}

// Whether the tiles can read x where it lies; they are made for neighbouring pixels and for every second one.
bool reads_in_place(const Conv2d& p) {
  const Conv2dShape& s = p.shape;
  const int64_t block = block_of(s);
  return p.operands.x_has_halo && p.operands.x.blocked() && block >= 4 &&
         (s.stride_w == 1 || (s.stride_w == 2 && block == InputView::kBlock && !leaves_tiles_empty(s)));
}

int64_t rows(const Conv2dShape& s) { return s.out_rows(); }

// A panel's bias and weights: [width], then [terms][width].
int64_t panel_floats(const Conv2dShape& s) { return (1 + s.terms()) * kPanel; }
int64_t panel_bytes(const Conv2dShape& s) { return panel_floats(s) * kFloatBytes; }

// How a share is cut, and where its parts lie in the scratch memory.
struct Blocking {
  bool in_place;
  bool flat;                          // 1x1 on an x without gaps: pixels are one run across rows and images
  int64_t block, blocks;              // of input channels; blocks * taps entries in the offset table
  int64_t chunk_rows;                 // output rows whose input stays in L2 together
  PackedRows rows;                    // of a packed chunk
  int64_t plane;                      // floats between the channel blocks of a packed chunk
  int64_t weight_panels;              // panels that meet a chunk together
  bool small_weight;                  // whose weights stay in L2 from chunk to chunk
  int64_t input, weight, aside, end;  // bytes from the start of the scratch memory, which is the offset table

  Blocking(const Conv2d& p, const Conv2dShare& share) : rows(p.shape, 1, block_of(p.shape)) {
    const Conv2dShape& s = p.shape;
    const bool prepared = p.operands.prepared != nullptr;
    in_place = reads_in_place(p);
    block = block_of(s);
    blocks = s.in_group / block;
    flat = is_flat(p);
    const int64_t share_rows = share.row_end - share.row_begin;
    const int64_t longest = flat ? share_rows : min(share_rows, s.out_h);
    const int64_t first_row = input_bytes(s, 1), all_rows = input_bytes(s, longest);
    const int64_t more_rows = longest > 1 ? max(1, (all_rows - first_row) / (longest - 1)) : 1;
    const bool one_chunk = flat || share.row_begin / s.out_h == (share.row_end - 1) / s.out_h;
    const int64_t group_panels = min(panels_in_group(s), share.panel_end - share.panel_begin);
    small_weight = group_panels * panel_bytes(s) <= kSmallWeightBytes;
    const bool whole = prepared ? !small_weight : all_rows <= kWholeInputBytes && one_chunk;
    chunk_rows = max(1, min(longest, 1 + ((whole ? kWholeInputBytes : kInputChunkBytes) - first_row) / more_rows));
    if (prepared)
      weight_panels = group_panels;
    else
      weight_panels = whole ? 1 : max(1, min(group_panels, kWeightBlockBytes / panel_bytes(s)));
    rows = PackedRows(s, chunk_rows, block);
    plane = plane_of(s, chunk_rows);
    input = round_up(blocks * s.taps() * static_cast<int64_t>(sizeof(int64_t)), kBlockBytes);
    weight = input + (in_place ? 0 : odd_lines(plane * blocks) * kFloatBytes);
    aside = round_up(weight + (prepared ? 0 : weight_panels * panel_bytes(s)), kBlockBytes);
    end = aside + (s.out_group % kPanel == 0 ? 0 : chunk_rows * s.out_w * kPanel * kFloatBytes);
  }

 private:
  bool is_flat(const Conv2d& p) const {
    const Conv2dShape& s = p.shape;
    const InputView& x = p.operands.x;
    const bool x_flat =
        s.out_h == s.h && s.out_w == s.w && !s.padded() && x.row == s.w * x.pixel && x.image == s.h * x.row;
    return s.taps() == 1 && (!in_place || x_flat);
  }
  int64_t plane_of(const Conv2dShape& s, int64_t out_rows) const {
    return s.taps() == 1 ? odd_lines(out_rows * s.out_w * block) : PackedRows(s, out_rows, block).plane;
  }
  int64_t input_bytes(const Conv2dShape& s, int64_t out_rows) const {
    return plane_of(s, out_rows) * blocks * kFloatBytes;
  }
};

int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) { return Blocking(p, share).end; }

void fill_offsets(const Conv2d& p, const Blocking& b, int64_t group, int64_t* offsets) {
  const Conv2dShape& s = p.shape;
  for (int64_t c = 0; c < b.blocks; ++c)
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        if (b.in_place)
          *offsets++ = p.operands.x.offset(group * s.in_group + c * b.block, 0, i * s.dilation_h, j * s.dilation_w);
        else
          *offsets++ = c * b.plane + (s.taps() == 1 ? 0 : b.rows.tap_offset(s, i, j, b.block));
      }
}

// Each output's weights are one run: transposes lanes x lanes squares of it. `place(c, tap)` is where a term's weights
// begin.
template <class Place>
void transpose_weights(const Conv2d& p, const Panel& panel, const Place& place) {
  const int64_t taps = p.shape.taps(), terms = p.shape.terms();
  const float* source = p.operands.weight + panel.channel * p.operands.weight_k;
  for (int64_t o = 0; o < panel.width; o += F32::kLanes) {
    int64_t c = 0, tap = 0;
    for (int64_t q = 0; q < terms; q += F32::kLanes) {
      F32 square[F32::kLanes];
      const int64_t columns = min(F32::kLanes, terms - q);
      for (int64_t i = 0; i < F32::kLanes; ++i) {
        const float* row = source + (o + i) * p.operands.weight_k + q;
        if (o + i >= panel.outputs) {
          square[i] = F32::zero();
        } else if (columns == F32::kLanes) {
          square[i] = F32::load(row);
        } else {
          float padded[F32::kLanes] = {};
          for (int64_t j = 0; j < columns; ++j) padded[j] = row[j];
          square[i] = F32::load(padded);
        }
      }
      transpose(square);
      for (int64_t i = 0; i < columns; ++i) {
        square[i].store(place(c, tap) + o);
        if (++tap == taps) tap = 0, ++c;
      }
    }
  }
}

// The weights of a panel in the order in which the tile consumes them: block of input channels, tap, channel of the
// block. Missing outputs become zeros.
void prepare(const Conv2d& p, int64_t index, char* prepared) {
  const Conv2dShape& s = p.shape;
  const Conv2dOperands& a = p.operands;
  const Panel panel(s, index);
  const int64_t width = panel.width, outputs = panel.outputs, block = block_of(s), taps = s.taps();
  float* packed = reinterpret_cast<float*>(prepared);
  for (int64_t o = 0; o < width; ++o) packed[o] = o < outputs ? p.epilogue.bias_at(panel.channel + o) : 0.0f;
  const auto place = [&](int64_t c, int64_t tap) {
    return packed + (1 + (c / block * taps + tap) * block + c % block) * width;
  };
  if (a.weight_w == 1 && a.weight_h == s.kernel_w && a.weight_c == taps) return transpose_weights(p, panel, place);
  for (int64_t c = 0; c < s.in_group; ++c)
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        float* to = place(c, i * s.kernel_w + j);
        if (a.weight_k == 1 && outputs == width) {  // a gradient's, whose inputs are the outputs of its convolution
          const float* row = a.weight + panel.channel + c * a.weight_c + i * a.weight_h + j * a.weight_w;
          for (int64_t o = 0; o < width; o += F32::kLanes) F32::load(row + o).store(to + o);
          continue;
        }
        for (int64_t o = 0; o < width; ++o) to[o] = o < outputs ? a.weight_at(panel.channel + o, c, i, j) : 0.0f;
      }
}

template <int kBlock>
void pack_input(const Conv2d& p, const Blocking& b, int64_t group, int64_t row, int64_t rows, float* packed) {
  const Conv2dShape& s = p.shape;
  const InputView& x = p.operands.x;
  const int64_t channel = group * s.in_group;
  if (s.taps() > 1)
    return pack_rows<kBlock>(s, x, b.rows, row / s.out_h, row % s.out_h, rows, channel, s.in_group, packed);
  for (int64_t r = row; r < row + rows; ++r, packed += s.out_w * kBlock)
    pack_pixels<kBlock>(s, x, input_row(s, x, r / s.out_h, r % s.out_h * s.stride_h - s.padding_top), channel,
                        s.in_group, -s.padding_left, s.out_w, packed, b.plane);
}

// One chunk of rows as the tiles see it.
struct Chunk {
  const float* a;     // the pixel under the first tap of the first output
  int64_t line;       // floats to the same of the next output row
  int64_t row, rows;  // output rows, those of all images numbered through
  const int64_t* offsets;
};

// Vectors of a panel are whole and inside blocks of y, unless a group's channels do not begin at one: then its tiles
// are computed beside y.
bool lies_aside(const OutputView& y, const Panel& panel) {
  constexpr int64_t kYBlock = OutputView::kBlock;
  return panel.outputs < panel.width || (y.block != kYBlock && panel.channel % min(panel.width, kYBlock) != 0);
}

// How many pixels from `column` on a tile may have at most: of one row, of two, or of any number without gaps.
int64_t most_pixels(const Conv2d& p, bool aside, int64_t column) {
  const Conv2dShape& s = p.shape;
  const OutputView &y = p.operands.y, &residual = p.epilogue.residual;
  if (y.flat(s.out_h, s.out_w) && (residual.data == nullptr || residual.flat(s.out_h, s.out_w))) return INT64_MAX;
  return (aside ? s.out_w : 2 * s.out_w) - column;
}

// From a pixel's first vector to its second, which may lie in the next block.
int64_t vector_of(const OutputView& image) { return F32::kLanes >= OutputView::kBlock ? image.block : F32::kLanes; }

template <int kBlock>
int64_t tile_pixels(int64_t left, int64_t most) {
  const int64_t rows = next_tile_rows<kBlock>(left);
  return rows <= most ? rows : next_tile_rows<kBlock>(most);
}

template <int kVectors, int kBlock, int kStep>
void run_tile(const GemmTile& tile, int64_t rows, bool pair) {
  if constexpr (kBlock == InputView::kBlock)
    if (pair) return gemm_tile<kTileRows, kVectors, kBlock, kStep, true>(tile);
  run_gemm_tile<kVectors, kBlock, kStep>(rows, tile);
}

// One panel against one chunk. A sum that is too long for one accumulator is cut into runs: run by run all tiles of the
// chunk add it to what lies in y, while its weights stay in L1. `aside` has room for the chunk.
template <int kVectors, int kBlock, int kStep>
void multiply(const Conv2d& p, const Blocking& b, const Chunk& chunk, const Panel& panel, const float* weight,
              const Next& next, float* aside) {
  constexpr int64_t kWidth = kVectors * F32::kLanes, kHalf = kTileRows / 2;
  static constexpr float kNoBias[kWidth] = {};
  const Conv2dShape& s = p.shape;
  const OutputView &y = p.operands.y, &residual = p.epilogue.residual;
  const bool is_aside = lies_aside(y, panel);
  const int64_t lines = b.flat ? 1 : chunk.rows, width = b.flat ? chunk.rows * s.out_w : s.out_w;
  const bool two_rows = kBlock == InputView::kBlock && !b.flat && !is_aside && width == kHalf;
  const int64_t tiles = two_rows ? ceil_div(lines, 2) : lines * ceil_div(width, kTileRows);
  const int64_t blocks = b.blocks * s.taps(), run_blocks = ceil_div(blocks, ceil_div(blocks, kRunTerms / kBlock));
  // The next panel's weights lie behind this one's as a rule: they are fetched a run ahead. A panel ahead, those of
  // 2048 terms and x do not fit an L2 of 1 MB: 80 % of the FMA units' peak instead of 92 at 7x7.
  const bool follows = reinterpret_cast<const char*>(weight) + panel_bytes(s) == next.weight;
  Prefetch prefetch(next, tiles, s.terms(), weight);
  GemmTile tile{};
  TileTarget beside{nullptr, residual.pixel, vector_of(residual), 0, 0};
  tile.second_row = chunk.line;
  tile.y = {nullptr, y.pixel, vector_of(y), 0, 0};
  if (is_aside) tile.y = {nullptr, kWidth, F32::kLanes, 0, 0};
  for (int64_t done = 0; done < blocks; done += run_blocks) {
    const bool last = done + run_blocks >= blocks;
    tile.offsets = chunk.offsets + done;
    tile.blocks = min(run_blocks, blocks - done);
    tile.weight = weight + kWidth + done * kBlock * kWidth;
    tile.bias = done == 0 ? weight : kNoBias;
    tile.relu = last && p.epilogue.relu && !is_aside;
    tile.residual = done > 0 ? &tile.y : residual.data != nullptr && !is_aside ? &beside : nullptr;
    if (follows) {
      const int64_t terms = tile.blocks * kBlock;
      const auto* run_end = reinterpret_cast<const char*>(tile.weight + terms * kWidth);
      prefetch = Prefetch({false, run_end, terms * kWidth * kFloatBytes}, tiles, terms, weight);
    }
    Pixel pixel(s, chunk.row);
    for (int64_t line = 0; line < lines;) {
      const bool pair = two_rows && line + 1 < lines;
      for (int64_t x = 0; x < width;) {
        const int64_t count = pair ? kTileRows : tile_pixels<kBlock>(width - x, most_pixels(p, is_aside, pixel.w));
        tile.a = chunk.a + line * chunk.line + x * kStep;
        if (is_aside)
          tile.y.data = aside + (line * width + x) * kWidth;
        else
          place(y, s, panel.channel, pixel, count, &tile.y);
        if (tile.residual == &beside) place(residual, s, panel.channel, pixel, count, &beside);
        const int64_t after =
            x + count < width ? line * chunk.line + (x + count) * kStep : (line + 1 + pair) * chunk.line;
        prefetch.set<kBlock>(tile, chunk.a + after + tile.offsets[0], next.input ? chunk.offsets[1] : 0);
        run_tile<kVectors, kBlock, kStep>(tile, count, pair);
        if (last && is_aside)
          finish_partial(p, tile.y.data, kWidth, {panel.channel, panel.outputs, pixel.n, pixel.h, pixel.w, count});
        x += count;
        pixel.advance(s, count);
      }
      line += pair ? 2 : 1;
    }
  }
}

// What to fetch under `panel`, the last of the panels [first, last) or not, with or without chunks to come.
Next next_under(const Conv2d& p, const Blocking& b, const Conv2dShare& share, int64_t panel, int64_t first,
                int64_t last, bool last_chunk) {
  const Conv2dShape& s = p.shape;
  const Conv2dOperands& a = p.operands;
  const int64_t bytes = panel_bytes(s);
  // The first panel meets the input first. That comes from another core's L2 where threads share out the panels (4 %
  // faster at 14x14), and small weights need no fetching. Only 1x1 of stride 1 has blocks that are equally far apart.
  const bool far = share.panel_end - share.panel_begin < panels_of_groups(s);
  if (panel == first && (far || b.small_weight) && b.in_place && b.block == InputView::kBlock && s.taps() == 1 &&
      s.stride_w == 1 && b.blocks > 1)
    return {true, nullptr, 0};
  if (a.prepared != nullptr) {
    if (panel + 1 == last && !last_chunk) return {false, a.prepared + first * bytes, bytes};
    if (panel + 1 < share.panel_end) return {false, a.prepared + (panel + 1) * bytes, bytes};
    return {false, share.next, share.next_bytes};
  }
  // Raw weights, if each output's are one run.
  if (b.weight_panels > 1 || panel + 1 >= share.panel_end || a.weight_k != s.terms()) return {false, nullptr, 0};
  const Panel next(s, panel + 1);
  return {false, reinterpret_cast<const char*>(a.weight + next.channel * a.weight_k),
          next.outputs * a.weight_k * kFloatBytes};
}

template <int kBlock, int kStep>
void run_blocked(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const Conv2dShape& s = p.shape;
  const InputView& x = p.operands.x;
  const Blocking b(p, share);
  const int64_t bytes = panel_bytes(s);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  float* input = reinterpret_cast<float*>(scratch + b.input);
  int64_t offsets_group = -1, packed_group = -1, packed_row = -1;
  for (int64_t first = share.panel_begin; first < share.panel_end;) {
    const int64_t group = first / panels_in_group(s);
    const int64_t last = min(min(first + b.weight_panels, share.panel_end), (group + 1) * panels_in_group(s));
    if (offsets_group != group) fill_offsets(p, b, group, offsets);
    offsets_group = group;
    if (p.operands.prepared == nullptr)
      for (int64_t panel = first; panel < last; ++panel)
        prepare(p, panel, scratch + b.weight + (panel - first) * bytes);
    const char* weights = p.operands.prepared != nullptr ? p.operands.prepared + first * bytes : scratch + b.weight;
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t n = row / s.out_h, h = row % s.out_h;
      const int64_t image_end = b.flat ? share.row_end : min(share.row_end, (n + 1) * s.out_h);
      Chunk chunk{.a = input, .line = 0, .row = row, .rows = min(b.chunk_rows, image_end - row), .offsets = offsets};
      if (b.in_place) {
        chunk.a = x.data + x.offset(0, n, h * s.stride_h - s.padding_top, -s.padding_left);
        chunk.line = s.stride_h * x.row;
      } else {
        chunk.line = s.taps() == 1 ? s.out_w * kBlock : s.stride_h * b.rows.row_pitch;
        if (packed_group != group || packed_row != row) pack_input<kBlock>(p, b, group, row, chunk.rows, input);
        packed_group = group;
        packed_row = row;
      }
      for (int64_t i = first; i < last; ++i) {
        const Panel panel(s, i);
        const Next next = next_under(p, b, share, i, first, last, row + chunk.rows == share.row_end);
        const auto multiply_panel =
            panel.width == kPanel ? multiply<kTileVectors, kBlock, kStep> : multiply<1, kBlock, kStep>;
        multiply_panel(p, b, chunk, panel, reinterpret_cast<const float*>(weights + (i - first) * bytes), next,
                       reinterpret_cast<float*>(scratch + b.aside));
      }
      row += chunk.rows;
    }
    first = last;
  }
}

bool accepts(const Conv2dShape&, const Conv2dOptions&) { return true; }

void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  constexpr int kBlock = InputView::kBlock;
  const int64_t block = block_of(p.shape);
  if (reads_in_place(p) && p.shape.stride_w == 2) return run_blocked<kBlock, 2 * kBlock>(p, share, scratch);
  if (reads_in_place(p) && block == 8) return run_blocked<8, kBlock>(p, share, scratch);
  if (reads_in_place(p) && block == 4) return run_blocked<4, kBlock>(p, share, scratch);
  switch (block) {
    case kBlock: return run_blocked<kBlock, kBlock>(p, share, scratch);
    case 8: return run_blocked<8, 8>(p, share, scratch);
    case 4: return run_blocked<4, 4>(p, share, scratch);
    default: return run_blocked<1, 1>(p, share, scratch);
  }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_dense;
const Conv2dAlgorithm conv2d_dense = {
    .name = "dense",
    .output_tile = 1,
    .sums_rows = false,
    .packs_input = true,
    .accepts = accepts,
    .panels = panels_of_groups,
    .rows = rows,
    .panel_bytes = panel_bytes,
    .prepare = prepare,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

}  // namespace lucid::LUCID_ISA
