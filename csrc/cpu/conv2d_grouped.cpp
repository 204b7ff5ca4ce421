// Grouped convolution with 1, 2, 4, 8 or 16 channels in and out of every group: ResNeXt's 3x3, and depthwise layers.
//
// Up to 8 channels a group is narrower than a vector, so a matrix product would multiply mostly zeros (20 % of peak at
// 4 channels a group). Instead a vector holds several groups, and permuted copies of the input meet permuted weights;
// see group_tile.h. Bound by the shuffles and FMAs of the tile while the input stays in L2. With 16 channels a group, a
// matrix product would load more than it multiplies; see sliding_tile.h.
// A panel is one vector of output channels. The input is read where it lies if it is blocked and carries its padding
// (3x3 inside a plan), else packed chunk by chunk.
#include "cpu/conv2d.h"
#include "cpu/group_tile.h"
#include "cpu/pack.h"
#include "cpu/sliding_tile.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kLanes = F32::kLanes;

// Channels packed together: 256 bytes of a pixel at once, whole pairs of cache lines from memory.
constexpr int64_t kChannelsTogether = 64;
constexpr int64_t kPanelsTogether = kChannelsTogether / kLanes;
constexpr int64_t kInputChunk = 16 << 10;  // floats of one block's chunk

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t panels(const Conv2dProblem& p) { return (p.out_channels() + kLanes - 1) / kLanes; }
int64_t rows(const Conv2dProblem& p) { return p.out_rows(); }

// A panel's bias and weights: a vector, then one for every permutation and tap.
int64_t panel_floats(const Conv2dProblem& p) { return (1 + p.in_group * p.taps()) * kLanes; }

void prepare(const Conv2dProblem& p, int64_t panel, float* packed) {
  const bool sliding = p.in_group == kSlidingGroup;
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t channel = panel * kLanes + l;
    const bool exists = channel < p.out_channels();
    const auto weight = [&](int64_t c, int64_t i, int64_t j) {
      return exists ? p.weight[channel * p.weight_k + c * p.weight_c + i * p.weight_h + j * p.weight_w] : 0.0f;
    };
    packed[l] = exists && p.bias != nullptr ? p.bias[channel * p.bias_stride] : 0.0f;
    float* out = packed + kLanes + l;
    if (sliding) {
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t c = 0; c < p.in_group; ++c)
          for (int64_t j = 0; j < 3; ++j, out += kLanes) *out = weight(c, i, j);
      continue;
    }
    for (int64_t r = 0; r < p.in_group; ++r) {
      const int c = permuted_channel(static_cast<int>(p.in_group), static_cast<int>(r), static_cast<int>(l));
      for (int64_t i = 0; i < p.kernel_h; ++i)
        for (int64_t j = 0; j < p.kernel_w; ++j, out += kLanes) *out = weight(c, i, j);
    }
  }
}

// Input channels that lie together when they are packed: those that a panel reads.
int64_t block_of(const Conv2dProblem& p) { return p.in_group < kLanes ? kLanes : p.in_group; }

struct Blocking {
  int64_t chunk_rows;
  PackedRows rows;
  int64_t input, end;  // positions in the scratch memory

  Blocking(const Conv2dProblem& p, const Conv2dShare& share) : rows(p, 1, block_of(p)) {
    const int64_t row = p.stride_h * rows.row_pitch, longest = min(share.row_end - share.row_begin, p.out_h);
    chunk_rows = max(1, min(longest, 1 + (kInputChunk - rows.plane) / row));
    // Whole pairs of rows: the tile of one row has half the reuse.
    if (chunk_rows < longest && chunk_rows > 1) chunk_rows -= chunk_rows % 2;
    rows = PackedRows(p, chunk_rows, block_of(p));
    input = p.prepared != nullptr ? 0 : kPanelsTogether * panel_floats(p);
    end = input + kChannelsTogether / block_of(p) * rows.plane;
  }
};

int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) { return Blocking(p, share).end; }

// The input of some rows of one vector of channels.
struct Input {
  const float* data;               // the pixel under the first tap of the first output
  int64_t phase_pitch, row_pitch;  // see GroupTile
};

// `rows` rows of output of one panel, from row `row`.
struct Rows {
  int64_t panel, row, rows;
};

// Brings what exists of a tile that was computed aside to y.
void copy_partial(const Conv2dProblem& p, const float* tile, int64_t panel, int64_t row, int64_t x, int64_t pixels) {
  const int64_t channels = min(kLanes, p.out_channels() - panel * kLanes);
  for (int64_t m = 0; m < pixels; ++m)
    for (int64_t c = 0; c < channels; ++c) {
      float value = tile[m * kLanes + c];
      if (p.residual.data != nullptr)
        value = value + *p.residual.at(panel * kLanes + c, row / p.out_h, row % p.out_h, x + m);
      *p.y.at(panel * kLanes + c, row / p.out_h, row % p.out_h, x + m) = p.relu && value < 0.0f ? 0.0f : value;
    }
}

bool computes_aside(const Conv2dProblem& p, int64_t panel) {
  return (panel + 1) * kLanes > p.out_channels() || p.residual.data != nullptr;
}

// Tiles of two rows with up to 8 channels a group, of one with 16.
template <int kGroup, int kStride, int kStep>
void convolve_3x3(const Conv2dProblem& p, const Input& input, const float* weight, const Rows& r) {
  constexpr bool kSliding = kGroup == kSlidingGroup;
  constexpr int kRows = kSliding ? 1 : 2, kColumns = kSliding ? kSlidingTile : kGroupTile;
  alignas(64) float partial[kRows * kColumns * kLanes];
  const bool aside = computes_aside(p, r.panel);
  GroupTile tile{.x = nullptr,
                 .phase_pitch = input.phase_pitch,
                 .row_pitch = input.row_pitch,
                 .weight = weight + kLanes,
                 .bias = weight,
                 .y = partial,
                 .y_pixel = aside ? kLanes : p.y.pixel,
                 .y_row = aside ? kColumns * kLanes : p.y.row,
                 .relu = p.relu && !aside};
  for (int64_t row = r.row; row < r.row + r.rows; row += kRows)
    for (int64_t x = 0, columns; x < p.out_w; x += columns) {
      columns = next_tile_columns(kColumns, p.out_w - x);
      const bool pair = kRows == 2 && row + 1 < r.row + r.rows;
      tile.x = input.data + (row - r.row) * kStride * input.row_pitch + x * kStep;
      if (!aside) tile.y = p.y.at(r.panel * kLanes, row / p.out_h, row % p.out_h, x);
      if constexpr (kSliding)
        run_sliding_tile<kStride, kStep>(columns, tile);
      else if (pair)
        run_group_tile<kGroup, 2, kStride, kStep>(columns, tile);
      else
        run_group_tile<kGroup, 1, kStride, kStep>(columns, tile);
      if (!aside) continue;
      copy_partial(p, partial, r.panel, row, x, columns);
      if (pair) copy_partial(p, partial + kColumns * kLanes, r.panel, row + 1, x, columns);
    }
}

// kColumns outputs of one row under any window.
template <int kGroup, int R, int kColumns>
void add_window(F32 (&sums)[kColumns], const Conv2dProblem& p, const Input& input, const float* x,
                const float* weight) {
  for (int64_t i = 0; i < p.kernel_h; ++i)
    for (int64_t j = 0; j < p.kernel_w; ++j) {
      const int64_t column = j * p.dilation_w;
      const float* tap = x + i * p.dilation_h * input.row_pitch + column % p.stride_w * input.phase_pitch +
                         column / p.stride_w * kLanes;
      const F32 w = F32::load(weight + ((R * p.kernel_h + i) * p.kernel_w + j) * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < kColumns; ++m) accumulate(sums[m], load_permuted<kGroup, R>(tap + m * kLanes), w);
    }
  if constexpr (R + 1 < kGroup) add_window<kGroup, R + 1>(sums, p, input, x, weight);
}

template <int kGroup, int kColumns>
void convolve_tile(const Conv2dProblem& p, const Input& input, const float* weight, int64_t panel, int64_t row,
                   int64_t first_row, int64_t x) {
  F32 sums[kColumns];
  for (F32& sum : sums) sum = F32::load(weight);
  add_window<kGroup, 0>(sums, p, input, input.data + (row - first_row) * p.stride_h * input.row_pitch + x * kLanes,
                        weight + kLanes);
  alignas(64) float tile[kColumns * kLanes];
  for (int m = 0; m < kColumns; ++m) sums[m].store(tile + m * kLanes);
  copy_partial(p, tile, panel, row, x, kColumns);
}

template <int kGroup>
void convolve(const Conv2dProblem& p, const Input& input, const float* weight, const Rows& r) {
  constexpr int kColumns = 8;
  for (int64_t row = r.row; row < r.row + r.rows; ++row) {
    int64_t x = 0;
    for (; x + kColumns <= p.out_w; x += kColumns)
      convolve_tile<kGroup, kColumns>(p, input, weight, r.panel, row, r.row, x);
    for (; x < p.out_w; ++x) convolve_tile<kGroup, 1>(p, input, weight, r.panel, row, r.row, x);
  }
}

using Convolve = void (*)(const Conv2dProblem&, const Input&, const float* weight, const Rows&);

// Rows of a share that lie in one image, `most` at a time.
int64_t rows_from(const Conv2dProblem& p, const Conv2dShare& share, int64_t row, int64_t most) {
  return min(most, min(share.row_end, (row / p.out_h + 1) * p.out_h) - row);
}

template <int kBlock>
void run_packed(Convolve convolve, const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Blocking b(p, share);
  for (int64_t first = share.panel_begin; first < share.panel_end;) {
    // Up to where the next channels begin that are packed together.
    const int64_t last = min((first / kPanelsTogether + 1) * kPanelsTogether, share.panel_end);
    // Whole blocks: two panels of half a block may belong to two shares.
    const int64_t channel = first * kLanes / kBlock * kBlock;
    const int64_t channels = min((last * kLanes + kBlock - 1) / kBlock * kBlock, p.out_channels()) - channel;
    if (p.prepared == nullptr)
      for (int64_t panel = first; panel < last; ++panel) prepare(p, panel, scratch + (panel - first) * panel_floats(p));
    const float* weight = p.prepared != nullptr ? p.prepared + first * panel_floats(p) : scratch;
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t rows = rows_from(p, share, row, b.chunk_rows);
      pack_rows<kBlock>(p, b.rows, row / p.out_h, row % p.out_h, rows, channel, channels, scratch + b.input);
      for (int64_t panel = first; panel < last; ++panel) {
        const int64_t block = (panel * kLanes - channel) / kBlock;
        const Input input{scratch + b.input + block * b.rows.plane, b.rows.phase_pitch, b.rows.row_pitch};
        convolve(p, input, weight + (panel - first) * panel_floats(p), {panel, row, rows});
      }
      row += rows;
    }
    first = last;
  }
}

void run_in_place(Convolve convolve, const Conv2dProblem& p, const Conv2dShare& share) {
  for (int64_t panel = share.panel_begin; panel < share.panel_end; ++panel)
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t rows = rows_from(p, share, row, p.out_h);
      const float* x =
          p.x + row / p.out_h * p.x_n + (row % p.out_h * p.stride_h - p.padding_h) * p.x_h - p.padding_w * p.x_w;
      const int64_t channel = panel * kLanes / block_of(p) * block_of(p);
      convolve(p, {x + channel_offset(p, channel), p.x_w, p.x_h}, p.prepared + panel * panel_floats(p),
               {panel, row, rows});
      row += rows;
    }
}

bool accepts(const Conv2dProblem& p) {
  const int64_t g = p.in_group;
  return p.out_group == g && g <= kLanes && (g == 1 || g == 2 || g == 4 || g == 8);
}

bool accepts_3x3(const Conv2dProblem& p) {
  const bool sliding = p.in_group == kSlidingGroup && p.out_group == p.in_group;
  return (sliding || accepts(p)) && p.kernel_h == 3 && p.kernel_w == 3 && p.dilation_h == 1 && p.dilation_w == 1 &&
         p.stride_h == p.stride_w && p.stride_h <= 2;
}

template <int kGroup>
Convolve tile_3x3(int64_t stride, bool in_place) {
  constexpr int kBlock = kGroup < kLanes ? kLanes : kGroup;  // block_of
  if (in_place) return stride == 1 ? convolve_3x3<kGroup, 1, 16> : convolve_3x3<kGroup, 2, 32>;
  return stride == 1 ? convolve_3x3<kGroup, 1, kBlock> : convolve_3x3<kGroup, 2, kBlock>;
}

void run_3x3(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const bool in_place = p.x_has_halo && p.x_c == 1 && p.x_w == 16 && p.prepared != nullptr;
  Convolve convolve = nullptr;
  switch (p.in_group) {
    case 1: convolve = tile_3x3<1>(p.stride_h, in_place); break;
    case 2: convolve = tile_3x3<2>(p.stride_h, in_place); break;
    case 4: convolve = tile_3x3<4>(p.stride_h, in_place); break;
    case 8:
      if constexpr (kLanes >= 8) convolve = tile_3x3<8>(p.stride_h, in_place);
      break;
    default: convolve = tile_3x3<kSlidingGroup>(p.stride_h, in_place);
  }
  if (in_place)
    run_in_place(convolve, p, share);
  else if (p.in_group > kLanes)
    run_packed<kSlidingGroup>(convolve, p, share, scratch);
  else
    run_packed<kLanes>(convolve, p, share, scratch);
}

void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  Convolve any = nullptr;
  switch (p.in_group) {
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
const Conv2dAlgorithm conv2d_grouped_3x3 = {"grouped_3x3", 1,       false,          true,   accepts_3x3, panels, rows,
                                            panel_floats,  prepare, scratch_floats, run_3x3};
const Conv2dAlgorithm conv2d_grouped = {"grouped",    1,       false,          true, accepts, panels, rows,
                                        panel_floats, prepare, scratch_floats, run};

}  // namespace lucid::LUCID_ISA
