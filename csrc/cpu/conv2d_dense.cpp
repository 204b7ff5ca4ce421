// Convolution as a matrix product that is never laid out: (pixels x taps * channels) by (taps * channels x outputs),
// group by group, for any window, stride, dilation and number of groups.
//
// Bound by the FMA units. The outputs are cut into panels of kPanel channels, the rows into chunks whose input stays in
// L2; every tile of a chunk runs against every panel. The input is read where it lies if it is blocked and carries its
// padding (inside a plan), else packed chunk by chunk into that form. Weights come prepared, or are packed on the way:
// - if the input of the share fits L2 (14x14, 7x7) it is packed once, and the weights go by panel by panel, each read
//   from memory exactly once;
// - else (56x56, 28x28) the weights of many panels stay, and the input goes by in small chunks.
#include "cpu/conv2d.h"
#include "cpu/gemm_tile.h"
#include "cpu/pack.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kPanel = kTileVectors * F32::kLanes;

// Floats. An L2 of 1 to 2 MB holds a whole input and a panel, or the weights and a chunk.
constexpr int64_t kWholeInput = 200 << 10;
constexpr int64_t kInputChunk = 48 << 10;
constexpr int64_t kWeightBlock = 256 << 10;
constexpr int64_t kSmallWeight = 64 << 10;

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Channels that lie together in the input: as many as divide the group.
int64_t block_of(const Conv2dProblem& p) {
  int64_t block = 16;
  while (p.in_group % block != 0) block /= 2;
  return block == 2 ? 1 : block;
}

// Whether the tiles can read x where it lies; the steps between pixels that they are made for are 16 and 32 floats.
bool reads_in_place(const Conv2dProblem& p) {
  const int64_t block = block_of(p);
  return p.x_has_halo && p.x_c == 1 && p.x_w == 16 && block >= 4 &&
         (p.stride_w == 1 || (p.stride_w == 2 && block == 16));
}

int64_t panels_in_group(const Conv2dProblem& p) { return ceil_div(p.out_group, kPanel); }
int64_t panels(const Conv2dProblem& p) { return p.groups * panels_in_group(p); }
int64_t rows(const Conv2dProblem& p) { return p.out_rows(); }
int64_t terms(const Conv2dProblem& p) { return p.in_group * p.taps(); }  // of the sum behind one output

// A panel's bias and weights: [width], then [terms][width].
int64_t panel_floats(const Conv2dProblem& p) { return (1 + terms(p)) * kPanel; }

// The output channels of a panel.
struct Panel {
  int64_t group, channel, outputs;
  int64_t width;  // kPanel, or one vector where that is enough

  Panel(const Conv2dProblem& p, int64_t panel) {
    group = panel / panels_in_group(p);
    const int64_t first = panel % panels_in_group(p) * kPanel;
    channel = group * p.out_group + first;
    outputs = min(kPanel, p.out_group - first);
    width = outputs <= F32::kLanes ? F32::kLanes : kPanel;
  }
};

// How a share is cut, and where its parts lie in the scratch memory.
struct Blocking {
  bool in_place;
  bool flat;                   // 1x1 between tensors without gaps: pixels are one run across rows and images
  int64_t block, blocks;       // of input channels; blocks * taps entries in the offset table
  int64_t chunk_rows;          // output rows whose input stays in L2 together
  PackedRows rows;             // of a packed chunk
  int64_t plane;               // floats between the channel blocks of a packed chunk
  int64_t weight_panels;       // panels that meet a chunk together
  bool small_weight;           // whose weights stay in L2 from chunk to chunk
  int64_t input, weight, end;  // positions in the scratch memory, after the offset table

  Blocking(const Conv2dProblem& p, const Conv2dShare& share) : rows(p, 1, block_of(p)) {
    in_place = reads_in_place(p);
    block = block_of(p);
    blocks = p.in_group / block;
    flat = p.taps() == 1 && p.y.flat(p.out_h, p.out_w) &&
           (p.residual.data == nullptr || p.residual.flat(p.out_h, p.out_w)) &&
           (!in_place || (p.out_h == p.h && p.out_w == p.w && p.padding_h == 0 && p.padding_w == 0 &&
                          p.x_h == p.w * p.x_w && p.x_n == p.h * p.x_h));
    const int64_t share_rows = share.row_end - share.row_begin;
    const int64_t longest = flat ? share_rows : min(share_rows, p.out_h);
    const int64_t first_row = plane_of(p, 1) * blocks, all_rows = plane_of(p, longest) * blocks;
    const int64_t more_rows = longest > 1 ? max(1, (all_rows - first_row) / (longest - 1)) : 1;
    const bool one_chunk = flat || share.row_begin / p.out_h == (share.row_end - 1) / p.out_h;
    const int64_t group_panels = min(panels_in_group(p), share.panel_end - share.panel_begin);
    small_weight = group_panels * panel_floats(p) <= kSmallWeight;
    const bool whole = p.prepared != nullptr ? !small_weight : all_rows <= kWholeInput && one_chunk;
    chunk_rows = max(1, min(longest, 1 + ((whole ? kWholeInput : kInputChunk) - first_row) / more_rows));
    if (p.prepared != nullptr)
      weight_panels = group_panels;
    else
      weight_panels = whole ? 1 : max(1, min(group_panels, kWeightBlock / panel_floats(p)));
    rows = PackedRows(p, chunk_rows, block);
    plane = plane_of(p, chunk_rows);
    input = PackedRows::odd_lines(2 * blocks * p.taps());
    weight = input + (in_place ? 0 : PackedRows::odd_lines(plane * blocks));
    end = weight + (p.prepared != nullptr ? 0 : weight_panels * panel_floats(p));
  }

  int64_t plane_of(const Conv2dProblem& p, int64_t out_rows) const {
    return p.taps() == 1 ? PackedRows::odd_lines(out_rows * p.out_w * block) : PackedRows(p, out_rows, block).plane;
  }
};

int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) { return Blocking(p, share).end; }

void fill_offsets(const Conv2dProblem& p, const Blocking& b, int64_t group, int64_t* offsets) {
  for (int64_t c = 0; c < b.blocks; ++c)
    for (int64_t i = 0; i < p.kernel_h; ++i)
      for (int64_t j = 0; j < p.kernel_w; ++j) {
        if (b.in_place)
          *offsets++ =
              channel_offset(p, group * p.in_group + c * b.block) + i * p.dilation_h * p.x_h + j * p.dilation_w * p.x_w;
        else
          *offsets++ = c * b.plane + (p.taps() == 1 ? 0 : b.rows.tap_offset(p, i, j, b.block));
      }
}

// The weights of a panel in the order in which the tile consumes them: block of input channels, tap, channel of the
// block. Missing outputs become zeros.
void prepare(const Conv2dProblem& p, int64_t index, float* packed) {
  const Panel panel(p, index);
  const int64_t width = panel.width, outputs = panel.outputs, block = block_of(p), taps = p.taps();
  for (int64_t o = 0; o < width; ++o)
    packed[o] = o < outputs && p.bias != nullptr ? p.bias[(panel.channel + o) * p.bias_stride] : 0.0f;
  packed += width;
  const auto term = [&](int64_t c, int64_t tap) { return (c / block * taps + tap) * block + c % block; };
  const float* source = p.weight + panel.channel * p.weight_k;
  const bool contiguous = p.weight_w == 1 && p.weight_h == p.kernel_w && p.weight_c == taps;
  if (!contiguous) {
    for (int64_t c = 0; c < p.in_group; ++c)
      for (int64_t i = 0; i < p.kernel_h; ++i)
        for (int64_t j = 0; j < p.kernel_w; ++j)
          for (int64_t o = 0; o < width; ++o)
            packed[term(c, i * p.kernel_w + j) * width + o] =
                o < outputs ? source[o * p.weight_k + c * p.weight_c + i * p.weight_h + j * p.weight_w] : 0.0f;
    return;
  }
  // Each output's weights are one run: transpose lanes x lanes squares of it.
  for (int64_t o = 0; o < width; o += F32::kLanes) {
    int64_t c = 0, tap = 0;
    for (int64_t q = 0; q < terms(p); q += F32::kLanes) {
      F32 square[F32::kLanes];
      const int64_t columns = min(F32::kLanes, terms(p) - q);
      for (int64_t i = 0; i < F32::kLanes; ++i) {
        const float* row = source + (o + i) * p.weight_k + q;
        if (o + i >= outputs) {
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
        square[i].store(packed + term(c, tap) * width + o);
        if (++tap == taps) tap = 0, ++c;
      }
    }
  }
}

template <int kBlock>
void pack_input(const Conv2dProblem& p, const Blocking& b, int64_t group, int64_t row, int64_t rows, float* packed) {
  const int64_t channel = group * p.in_group;
  if (p.taps() > 1)
    return pack_rows<kBlock>(p, b.rows, row / p.out_h, row % p.out_h, rows, channel, p.in_group, packed);
  for (int64_t r = row; r < row + rows; ++r, packed += p.out_w * kBlock)
    pack_pixels<kBlock>(p, input_row(p, r / p.out_h, r % p.out_h * p.stride_h - p.padding_h), channel, p.in_group,
                        -p.padding_w, p.out_w, packed, b.plane);
}

// One chunk of rows as the tiles see it.
struct Chunk {
  const float* a;     // the pixel under the first tap of the first output
  int64_t line;       // floats to the same of the next output row
  int64_t row, rows;  // output rows, those of all images numbered through
  const int64_t* offsets;
};

// What to fetch from far away while a panel computes: the input of the next tile, or weights.
struct Next {
  bool input;
  const float* weight;  // or null
  int64_t floats;
};

// Copies the outputs that exist of a tile that was computed aside, channel by channel: a panel may end, or begin, in
// the middle of a block of y.
void copy_partial(const Conv2dProblem& p, const float* tile, int64_t width, const Panel& panel, int64_t n, int64_t h,
                  int64_t w, int64_t pixels) {
  for (int64_t m = 0; m < pixels; ++m)
    for (int64_t o = 0; o < panel.outputs; ++o) {
      float value = tile[m * width + o];
      if (p.residual.data != nullptr) value = value + *p.residual.at(panel.channel + o, n, h, w + m);
      *p.y.at(panel.channel + o, n, h, w + m) = p.relu && value < 0.0f ? 0.0f : value;
    }
}

// One panel against one chunk.
template <int kVectors, int kBlock, int kStep>
void multiply(const Conv2dProblem& p, const Blocking& b, const Chunk& chunk, const Panel& panel, const float* weight,
              Next next) {
  constexpr int64_t kWidth = kVectors * F32::kLanes, kHalf = kTileRows / 2;
  alignas(64) float partial[kTileRows * kWidth];
  // Vectors of a panel are whole and inside blocks of 16 channels, unless a group's channels do not begin at one.
  const bool aside = panel.outputs < kWidth || (p.y.block != 16 && panel.channel % (kWidth < 16 ? kWidth : 16) != 0);
  const int64_t vector = F32::kLanes < 16 ? F32::kLanes : 0;
  const int64_t lines = b.flat ? 1 : chunk.rows, width = b.flat ? chunk.rows * p.out_w : p.out_w;
  const bool two_rows = kBlock == 16 && !b.flat && !aside && width == kHalf;
  const int64_t tiles = two_rows ? (lines + 1) / 2 : lines * ceil_div(width, kTileRows);
  const int64_t steps = tiles * terms(p) / kPrefetchTerms;
  const int64_t step = next.weight != nullptr && steps > 0 ? ceil_div(next.floats * 4, steps * 16) * 16 : 0;
  const char *prefetch = reinterpret_cast<const char*>(next.weight), *const prefetch_end = prefetch + next.floats * 4;
  GemmTile tile{.a = nullptr,
                .second_row = chunk.line,
                .offsets = chunk.offsets,
                .blocks = b.blocks * p.taps(),
                .weight = weight + kWidth,
                .bias = weight,
                .y = {nullptr, p.y.pixel, vector != 0 ? vector : p.y.block, p.y.row},
                .residual = {nullptr, p.residual.pixel, vector != 0 ? vector : p.residual.block, p.residual.row},
                .relu = p.relu && !aside,
                .prefetch = nullptr,
                .prefetch_step = 0,
                .prefetch_block = 0};
  if (aside) tile.y = {partial, kWidth, F32::kLanes, 0};
  for (int64_t line = 0; line < lines;) {
    const int64_t n = (chunk.row + line) / p.out_h, h = (chunk.row + line) % p.out_h;
    const bool pair = two_rows && line + 1 < lines;
    for (int64_t x = 0; x < width;) {
      const int64_t count = next_tile_rows<kBlock>(width - x);
      tile.a = chunk.a + line * chunk.line + x * kStep;
      if (!aside) {
        tile.y.data = p.y.at(panel.channel, n, h, x);
        if (p.residual.data != nullptr) tile.residual.data = p.residual.at(panel.channel, n, h, x);
      }
      if (next.input) {
        const int64_t after =
            x + count < width ? line * chunk.line + (x + count) * kStep : (line + 1 + pair) * chunk.line;
        tile.prefetch = reinterpret_cast<const char*>(chunk.a + after);
        tile.prefetch_step = 256;  // every second line: the processor fetches them in pairs
        tile.prefetch_block = chunk.offsets[1] * static_cast<int64_t>(sizeof(float));
      } else {
        const bool fetch = prefetch < prefetch_end;
        tile.prefetch = fetch ? prefetch : reinterpret_cast<const char*>(weight);
        tile.prefetch_step = fetch ? step : 0;
        tile.prefetch_block = tile.prefetch_step * (kBlock / kPrefetchTerms);
        if (fetch) prefetch += terms(p) / kPrefetchTerms * step;
      }
      if (pair) {
        if constexpr (kBlock == 16) gemm_tile<kTileRows, kVectors, kBlock, kStep, true>(tile);
      } else {
        run_gemm_tile<kVectors, kBlock, kStep>(count, tile);
      }
      if (aside) copy_partial(p, partial, kWidth, panel, n, h, x, count);
      x += count;
    }
    line += pair ? 2 : 1;
  }
}

// What to fetch under `panel`, the last of the panels [first, last) or not, with or without chunks to come.
Next next_under(const Conv2dProblem& p, const Blocking& b, const Conv2dShare& share, int64_t panel, int64_t first,
                int64_t last, bool last_chunk) {
  // The first panel meets the input first. That comes from another core's L2 where threads share out the panels (4 %
  // faster at 14x14), and small weights need no fetching. Only 1x1 of stride 1 has blocks that are equally far apart.
  const bool far = share.panel_end - share.panel_begin < panels(p);
  if (panel == first && (far || b.small_weight) && b.in_place && b.block == 16 && p.taps() == 1 && p.stride_w == 1 &&
      b.blocks > 1)
    return {true, nullptr, 0};
  if (p.prepared != nullptr) {
    if (panel + 1 == last && !last_chunk) return {false, p.prepared + first * panel_floats(p), panel_floats(p)};
    if (panel + 1 < share.panel_end) return {false, p.prepared + (panel + 1) * panel_floats(p), panel_floats(p)};
    return {false, share.next, share.next_floats};
  }
  // Raw weights, if each output's are one run.
  if (b.weight_panels > 1 || panel + 1 >= share.panel_end || p.weight_k != terms(p)) return {false, nullptr, 0};
  const Panel next(p, panel + 1);
  return {false, p.weight + next.channel * p.weight_k, next.outputs * p.weight_k};
}

template <int kBlock, int kStep>
void run_blocked(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Blocking b(p, share);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  float *input = scratch + b.input, *weight = scratch + b.weight;
  int64_t offsets_group = -1, packed_group = -1, packed_row = -1;
  for (int64_t first = share.panel_begin; first < share.panel_end;) {
    const int64_t group = first / panels_in_group(p);
    const int64_t last = min(min(first + b.weight_panels, share.panel_end), (group + 1) * panels_in_group(p));
    if (offsets_group != group) fill_offsets(p, b, group, offsets);
    offsets_group = group;
    if (p.prepared == nullptr)
      for (int64_t panel = first; panel < last; ++panel) prepare(p, panel, weight + (panel - first) * panel_floats(p));
    const float* weights = p.prepared != nullptr ? p.prepared + first * panel_floats(p) : weight;
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t n = row / p.out_h, h = row % p.out_h;
      const int64_t image_end = b.flat ? share.row_end : min(share.row_end, (n + 1) * p.out_h);
      Chunk chunk{.a = input, .line = 0, .row = row, .rows = min(b.chunk_rows, image_end - row), .offsets = offsets};
      if (b.in_place) {
        chunk.a = p.x + n * p.x_n + (h * p.stride_h - p.padding_h) * p.x_h - p.padding_w * p.x_w;
        chunk.line = p.stride_h * p.x_h;
      } else {
        chunk.line = p.taps() == 1 ? p.out_w * kBlock : p.stride_h * b.rows.row_pitch;
        if (packed_group != group || packed_row != row) pack_input<kBlock>(p, b, group, row, chunk.rows, input);
        packed_group = group;
        packed_row = row;
      }
      for (int64_t i = first; i < last; ++i) {
        const Panel panel(p, i);
        const Next next = next_under(p, b, share, i, first, last, row + chunk.rows == share.row_end);
        const auto multiply_panel =
            panel.width == kPanel ? multiply<kTileVectors, kBlock, kStep> : multiply<1, kBlock, kStep>;
        multiply_panel(p, b, chunk, panel, weights + (i - first) * panel_floats(p), next);
      }
      row += chunk.rows;
    }
    first = last;
  }
}

bool accepts(const Conv2dProblem&) { return true; }

void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const int64_t block = block_of(p);
  if (reads_in_place(p) && p.stride_w == 2) return run_blocked<16, 32>(p, share, scratch);
  if (reads_in_place(p) && block == 8) return run_blocked<8, 16>(p, share, scratch);
  if (reads_in_place(p) && block == 4) return run_blocked<4, 16>(p, share, scratch);
  switch (block) {
    case 16: return run_blocked<16, 16>(p, share, scratch);
    case 8: return run_blocked<8, 8>(p, share, scratch);
    case 4: return run_blocked<4, 4>(p, share, scratch);
    default: return run_blocked<1, 1>(p, share, scratch);
  }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_dense;
const Conv2dAlgorithm conv2d_dense = {"dense",      1,       false,          true, accepts, panels, rows,
                                      panel_floats, prepare, scratch_floats, run};

}  // namespace lucid::LUCID_ISA
