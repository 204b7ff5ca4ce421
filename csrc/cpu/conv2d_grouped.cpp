// Grouped convolution with 1, 2, 4, 8 or 16 channels in and out of every group: ResNeXt's 3x3, and depthwise layers.
//
// Up to 8 channels a group is narrower than a vector, so a matrix product would multiply mostly zeros (20 % of peak at
// 4 channels a group). Instead a vector holds several groups, and permuted copies of the input meet permuted weights;
// see group_tile.h. Bound by the shuffles and FMAs of the tile while the input stays in L2. With 16 channels a group, a
// matrix product would load more than it multiplies; see sliding_tile.h.
// A panel is one vector of output channels. The input is read where it lies if it is blocked and carries its padding
// (3x3 inside a plan), else packed chunk by chunk.
#include "blocking.h"
#include "cpu/conv2d_problem.h"
#include "cpu/epilogue.h"
#include "cpu/pack.h"
#include "group_tile.h"
#include "sliding_tile.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kLanes = F32::kLanes;

constexpr int kInputBlock = InputView::kBlock;
constexpr int64_t kPanelsTogether = kChannelsTogether / kLanes;

int64_t panels(const Conv2dShape& s) { return ceil_div(s.out_channels(), kLanes); }
int64_t rows(const Conv2dShape& s) { return s.out_rows(); }

// A panel's bias and weights: a vector, then one for every permutation and tap.
int64_t panel_bytes(const Conv2dShape& s) { return (1 + s.terms()) * kLanes * kFloatBytes; }

void prepare(const Conv2d& p, int64_t panel, char* prepared) {
  const Conv2dShape& s = p.shape;
  const bool sliding = s.in_group == kSlidingGroup;
  float* packed = reinterpret_cast<float*>(prepared);
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t channel = panel * kLanes + l;
    const bool exists = channel < s.out_channels();
    const auto weight = [&](int64_t c, int64_t i, int64_t j) {
      return exists ? p.operands.weight_at(channel, c, i, j) : 0.0f;
    };
    packed[l] = exists ? p.epilogue.bias_at(channel) : 0.0f;
    float* out = packed + kLanes + l;
    if (sliding) {
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t c = 0; c < s.in_group; ++c)
          for (int64_t j = 0; j < 3; ++j, out += kLanes) *out = weight(c, i, j);
      continue;
    }
    for (int64_t r = 0; r < s.in_group; ++r) {
      const int c = permuted_channel(static_cast<int>(s.in_group), static_cast<int>(r), static_cast<int>(l));
      for (int64_t i = 0; i < s.kernel_h; ++i)
        for (int64_t j = 0; j < s.kernel_w; ++j, out += kLanes) *out = weight(c, i, j);
    }
  }
}

// Input channels that lie together when they are packed: those that a panel reads.
int64_t block_of(const Conv2dShape& s) { return max(s.in_group, kLanes); }

struct Blocking {
  int64_t chunk_rows;
  PackedRows rows;
  int64_t input, end;  // bytes from the start of the scratch memory, which is the weights unless they are prepared

  Blocking(const Conv2d& p, const Conv2dShare& share) : rows(p.shape, 1, block_of(p.shape)) {
    const Conv2dShape& s = p.shape;
    const int64_t row = s.stride_h * rows.row_pitch, longest = min(share.row_end - share.row_begin, s.out_h);
    chunk_rows = max(1, min(longest, 1 + (kGroupedChunkBytes / kFloatBytes - rows.plane) / row));
    // Whole pairs of rows: the tile of one row has half the reuse.
    if (chunk_rows < longest && chunk_rows > 1) chunk_rows -= chunk_rows % 2;
    rows = PackedRows(s, chunk_rows, block_of(s));
    input = p.operands.prepared != nullptr ? 0 : kPanelsTogether * panel_bytes(s);
    end = input + kChannelsTogether / block_of(s) * rows.plane * kFloatBytes;
  }
};

int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) { return Blocking(p, share).end; }

// The input of some rows of one vector of channels.
struct Input {
  const float* data;               // the pixel under the first tap of the first output
  int64_t phase_pitch, row_pitch;  // see GroupTile
};

// `rows` rows of output of one panel, from row `row`.
struct Rows {
  int64_t panel, row, rows;
};

// Finishes what exists of a tile that was computed aside.
void finish_aside(const Conv2d& p, const float* tile, int64_t panel, int64_t row, int64_t x, int64_t pixels) {
  const Conv2dShape& s = p.shape;
  const int64_t channel = panel * kLanes, outputs = min(kLanes, s.out_channels() - channel);
  finish_partial(p, tile, kLanes, {channel, outputs, row / s.out_h, row % s.out_h, x, pixels});
}

bool computes_aside(const Conv2d& p, int64_t panel) {
  return (panel + 1) * kLanes > p.shape.out_channels() || p.epilogue.residual.data != nullptr;
}

// Tiles of two rows with up to 8 channels a group, of one with 16.
template <int kGroup, int kStride, int kStep>
void convolve_3x3(const Conv2d& p, const Input& input, const float* weight, const Rows& r) {
  constexpr bool kSliding = kGroup == kSlidingGroup;
  const OutputView& y = p.operands.y;
  constexpr int kRows = kSliding ? 1 : 2, kColumns = kSliding ? kSlidingTile : kGroupTile;
  alignas(64) float partial[kRows * kColumns * kLanes];
  const bool aside = computes_aside(p, r.panel);
  GroupTile tile{.x = nullptr,
                 .phase_pitch = input.phase_pitch,
                 .row_pitch = input.row_pitch,
                 .weight = weight + kLanes,
                 .bias = weight,
                 .y = partial,
                 .y_pixel = aside ? kLanes : y.pixel,
                 .y_row = aside ? kColumns * kLanes : y.row,
                 .relu = p.epilogue.relu && !aside};
  for (int64_t row = r.row; row < r.row + r.rows; row += kRows)
    for (int64_t x = 0, columns; x < p.shape.out_w; x += columns) {
      columns = next_tile_columns(kColumns, p.shape.out_w - x);
      const bool pair = kRows == 2 && row + 1 < r.row + r.rows;
      tile.x = input.data + (row - r.row) * kStride * input.row_pitch + x * kStep;
      if (!aside) tile.y = y.at(r.panel * kLanes, row / p.shape.out_h, row % p.shape.out_h, x);
      if constexpr (kSliding)
        run_sliding_tile<kStride, kStep>(columns, tile);
      else if (pair)
        run_group_tile<kGroup, 2, kStride, kStep>(columns, tile);
      else
        run_group_tile<kGroup, 1, kStride, kStep>(columns, tile);
      if (!aside) continue;
      finish_aside(p, partial, r.panel, row, x, columns);
      if (pair) finish_aside(p, partial + kColumns * kLanes, r.panel, row + 1, x, columns);
    }
}

// kColumns outputs of one row under any window; sums of more than a run are cut at the taps of a permutation.
template <int kGroup, int R, bool kRuns, int kColumns>
[[gnu::always_inline]] inline void add_window(F32 (&sums)[1][kColumns], const Conv2d& p, const Input& input,
                                              const float* x, const float* weight) {
  const Conv2dShape& s = p.shape;
  F32 run[kColumns];
  for (F32& sum : run) sum = F32::zero();
  const auto end_run = [&] {
    for (int m = 0; m < kColumns; ++m) {
      sums[0][m] = sums[0][m] + run[m];
      run[m] = F32::zero();
    }
  };
  int64_t terms = 0;
  for (int64_t i = 0; i < s.kernel_h; ++i)
    for (int64_t j = 0; j < s.kernel_w; ++j) {
      if (kRuns && terms++ == kRunTerms) end_run(), terms = 1;
      const int64_t column = j * s.dilation_w;
      const float* tap = x + i * s.dilation_h * input.row_pitch + column % s.stride_w * input.phase_pitch +
                         column / s.stride_w * kLanes;
      const F32 w = F32::load(weight + ((R * s.kernel_h + i) * s.kernel_w + j) * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < kColumns; ++m)
        accumulate(kRuns ? run[m] : sums[0][m], load_permuted<kGroup, R>(tap + m * kLanes), w);
    }
  if (kRuns) end_run();
  if constexpr (R + 1 < kGroup) add_window<kGroup, R + 1, kRuns>(sums, p, input, x, weight);
}

template <int kGroup, bool kRuns, int kColumns>
[[gnu::noinline]] void window_tile(const Conv2d& p, const Input& input, const float* x, const float* weight, float* y,
                                   int64_t y_pixel, bool relu) {
  F32 sums[1][kColumns];
  for (F32& sum : sums[0]) sum = F32::load(weight);
  add_window<kGroup, 0, kRuns>(sums, p, input, x, weight + kLanes);
  store_tile(sums, relu, [&](int, int m) { return y + m * y_pixel; });
}

// Runs the tile of `columns` columns, which next_tile_columns gave.
template <int kGroup, bool kRuns, int kColumns = kGroupTile>
void run_window_tile(int64_t columns, const Conv2d& p, const Input& input, const float* x, const float* weight,
                     float* y, int64_t y_pixel, bool relu) {
  if constexpr (kColumns > 1)
    if (columns < kColumns)
      return run_window_tile<kGroup, kRuns, kColumns / 2>(columns, p, input, x, weight, y, y_pixel, relu);
  window_tile<kGroup, kRuns, kColumns>(p, input, x, weight, y, y_pixel, relu);
}

template <int kGroup>
void convolve(const Conv2d& p, const Input& input, const float* weight, const Rows& r) {
  const Conv2dShape& s = p.shape;
  alignas(64) float partial[kGroupTile * kLanes];
  const bool aside = computes_aside(p, r.panel), relu = p.epilogue.relu && !aside;
  const auto tile = s.terms() > kRunTerms ? run_window_tile<kGroup, true> : run_window_tile<kGroup, false>;
  for (int64_t row = r.row; row < r.row + r.rows; ++row)
    for (int64_t column = 0, columns; column < s.out_w; column += columns) {
      columns = next_tile_columns(kGroupTile, s.out_w - column);
      const float* x = input.data + (row - r.row) * s.stride_h * input.row_pitch + column * kLanes;
      float* y = aside ? partial : p.operands.y.at(r.panel * kLanes, row / s.out_h, row % s.out_h, column);
      tile(columns, p, input, x, weight, y, aside ? kLanes : p.operands.y.pixel, relu);
      if (aside) finish_aside(p, partial, r.panel, row, column, columns);
    }
}

using Convolve = void (*)(const Conv2d&, const Input&, const float* weight, const Rows&);

// Rows of a share that lie in one image, `most` at a time.
int64_t rows_from(const Conv2dShape& s, const Conv2dShare& share, int64_t row, int64_t most) {
  return min(most, min(share.row_end, (row / s.out_h + 1) * s.out_h) - row);
}

template <int kBlock>
void run_packed(Convolve convolve, const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const Conv2dShape& s = p.shape;
  const Blocking b(p, share);
  const int64_t bytes = panel_bytes(s);
  float* packed = reinterpret_cast<float*>(scratch + b.input);
  for (int64_t first = share.panel_begin; first < share.panel_end;) {
    // Up to where the next channels begin that are packed together.
    const int64_t last = min((first / kPanelsTogether + 1) * kPanelsTogether, share.panel_end);
    // Whole blocks: two panels of half a block may belong to two shares.
    const int64_t channel = first * kLanes / kBlock * kBlock;
    const int64_t channels = min(round_up(last * kLanes, kBlock), s.out_channels()) - channel;
    if (p.operands.prepared == nullptr)
      for (int64_t panel = first; panel < last; ++panel) prepare(p, panel, scratch + (panel - first) * bytes);
    const char* weights = p.operands.prepared != nullptr ? p.operands.prepared + first * bytes : scratch;
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t rows = rows_from(s, share, row, b.chunk_rows);
      pack_rows<kBlock>(s, p.operands.x, b.rows, row / s.out_h, row % s.out_h, rows, channel, channels, packed);
      for (int64_t panel = first; panel < last; ++panel) {
        const int64_t block = (panel * kLanes - channel) / kBlock;
        const Input input{packed + block * b.rows.plane, b.rows.phase_pitch, b.rows.row_pitch};
        convolve(p, input, reinterpret_cast<const float*>(weights + (panel - first) * bytes), {panel, row, rows});
      }
      row += rows;
    }
    first = last;
  }
}

void run_in_place(Convolve convolve, const Conv2d& p, const Conv2dShare& share) {
  const Conv2dShape& s = p.shape;
  const InputView& x = p.operands.x;
  for (int64_t panel = share.panel_begin; panel < share.panel_end; ++panel) {
    const int64_t channel = panel * kLanes / block_of(s) * block_of(s);
    const float* weight = reinterpret_cast<const float*>(p.operands.prepared + panel * panel_bytes(s));
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t rows = rows_from(s, share, row, s.out_h);
      const int64_t first =
          x.offset(channel, row / s.out_h, row % s.out_h * s.stride_h - s.padding_top, -s.padding_left);
      convolve(p, {x.data + first, x.pixel, x.row}, weight, {panel, row, rows});
      row += rows;
    }
  }
}

bool accepts(const Conv2dShape& s, const Conv2dOptions&) {
  const int64_t g = s.in_group;
  return s.out_group == g && g <= kLanes && (g == 1 || g == 2 || g == 4 || g == 8);
}

bool accepts_3x3(const Conv2dShape& s, const Conv2dOptions& options) {
  const bool sliding = s.in_group == kSlidingGroup && s.out_group == s.in_group;
  return (sliding || accepts(s, options)) && s.kernel_h == 3 && s.kernel_w == 3 && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.stride_h == s.stride_w && s.stride_h <= 2;
}

template <int kGroup>
Convolve tile_3x3(int64_t stride, bool in_place) {
  constexpr int kBlock = kGroup < kLanes ? kLanes : kGroup;  // block_of
  if (in_place) return stride == 1 ? convolve_3x3<kGroup, 1, kInputBlock> : convolve_3x3<kGroup, 2, 2 * kInputBlock>;
  return stride == 1 ? convolve_3x3<kGroup, 1, kBlock> : convolve_3x3<kGroup, 2, kBlock>;
}

void run_3x3(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const Conv2dShape& s = p.shape;
  const bool in_place = p.operands.x_has_halo && p.operands.x.blocked() && p.operands.prepared != nullptr;
  Convolve convolve = nullptr;
  switch (s.in_group) {
    case 1: convolve = tile_3x3<1>(s.stride_h, in_place); break;
    case 2: convolve = tile_3x3<2>(s.stride_h, in_place); break;
    case 4: convolve = tile_3x3<4>(s.stride_h, in_place); break;
    case 8:
      if constexpr (kLanes >= 8) convolve = tile_3x3<8>(s.stride_h, in_place);
      break;
    default: convolve = tile_3x3<kSlidingGroup>(s.stride_h, in_place);
  }
  if (in_place)
    run_in_place(convolve, p, share);
  else if (s.in_group > kLanes)
    run_packed<kSlidingGroup>(convolve, p, share, scratch);
  else
    run_packed<kLanes>(convolve, p, share, scratch);
}

void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  Convolve any = nullptr;
  switch (p.shape.in_group) {
    case 1: any = convolve<1>; break;
    case 2: any = convolve<2>; break;
    case 4: any = convolve<4>; break;
    default:
      if constexpr (kLanes >= 8) any = convolve<8>;
  }
  run_packed<kLanes>(any, p, share, scratch);
}

}  // namespace

extern const Conv2dAlgorithm conv2d_grouped_3x3, conv2d_grouped;
const Conv2dAlgorithm conv2d_grouped_3x3 = {
    .name = "grouped_3x3",
    .output_tile = 1,
    .sums_rows = false,
    .packs_input = true,
    .accepts = accepts_3x3,
    .panels = panels,
    .rows = rows,
    .panel_bytes = panel_bytes,
    .prepare = prepare,
    .scratch_bytes = scratch_bytes,
    .run = run_3x3,
};
const Conv2dAlgorithm conv2d_grouped = {
    .name = "grouped",
    .output_tile = 1,
    .sums_rows = false,
    .packs_input = true,
    .accepts = accepts,
    .panels = panels,
    .rows = rows,
    .panel_bytes = panel_bytes,
    .prepare = prepare,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

}  // namespace lucid::LUCID_ISA
