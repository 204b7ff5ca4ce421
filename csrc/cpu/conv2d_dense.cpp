// Convolution as a matrix product that is never laid out: (pixels x taps * channels) by (taps * channels x outputs),
// group by group, for any window, stride, dilation and number of groups.
//
// Bound by the FMA units. Panels of kPanel output channels; the weights of a few panels and the input of a chunk of
// rows are packed into L2, then every tile of the chunk runs against every panel. Two ways through:
// - the input of the share fits L2 (14x14, 7x7): it is packed once, and the weights go by panel by panel, each read
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

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Channels that lie together in the packed input: as many as divide the group.
int64_t block_of(const Conv2dProblem& p) {
  int64_t block = 16;
  while (p.in_group % block != 0) block /= 2;
  return block == 2 ? 1 : block;
}

int64_t panels_in_group(const Conv2dProblem& p) { return ceil_div(p.out_group, kPanel); }
int64_t panels(const Conv2dProblem& p) { return p.groups * panels_in_group(p); }

// How a share is cut, and where its parts lie in the scratch memory.
struct Blocking {
  bool pointwise;            // 1x1: a chunk is one run of pixels across rows and images
  int64_t block, blocks;     // of input channels; blocks * taps entries in the offset table
  int64_t terms;             // of the sum behind one output
  int64_t chunk_rows;        // output rows whose input is packed together
  PackedRows rows;           // of a chunk that is not pointwise
  int64_t plane;             // floats between the channel blocks of a chunk
  int64_t weight_panels;     // panels whose weights are packed together
  int64_t offsets, input, weight, end;  // positions in the scratch memory, in floats

  Blocking(const Conv2dProblem& p, const Conv2dShare& share) : rows(p, 1, block_of(p)) {
    pointwise = p.taps() == 1;
    block = block_of(p);
    blocks = p.in_group / block;
    terms = p.in_group * p.taps();
    const int64_t share_rows = share.row_end - share.row_begin;
    const int64_t longest = pointwise ? share_rows : min(share_rows, p.out_h);
    const int64_t first_row = plane_of(p, 1) * blocks, all_rows = plane_of(p, longest) * blocks;
    const bool single_image = share.row_begin / p.out_h == (share.row_end - 1) / p.out_h;
    if (all_rows <= kWholeInput && (pointwise || single_image)) {
      chunk_rows = longest;
      weight_panels = 1;
    } else {
      const int64_t more_rows = longest > 1 ? (all_rows - first_row) / (longest - 1) : first_row;
      chunk_rows = max(1, min(longest, 1 + (kInputChunk - first_row) / max(more_rows, 1)));
      weight_panels = max(1, min(panels_in_group(p), kWeightBlock / (terms * kPanel)));
    }
    rows = PackedRows(p, chunk_rows, block);
    plane = plane_of(p, chunk_rows);
    offsets = 0;
    input = PackedRows::odd_lines(2 * blocks * p.taps());
    weight = input + PackedRows::odd_lines(plane * blocks);
    end = weight + weight_panels * panel_floats();
  }

  int64_t plane_of(const Conv2dProblem& p, int64_t out_rows) const {
    return pointwise ? PackedRows::odd_lines(out_rows * p.out_w * block) : PackedRows(p, out_rows, block).plane;
  }
  int64_t panel_floats() const { return (1 + terms) * kPanel; }
};

int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) { return Blocking(p, share).end; }

void fill_offsets(const Conv2dProblem& p, const Blocking& b, int64_t* offsets) {
  for (int64_t c = 0; c < b.blocks; ++c)
    for (int64_t i = 0; i < p.kernel_h; ++i)
      for (int64_t j = 0; j < p.kernel_w; ++j)
        *offsets++ = c * b.plane + (b.pointwise ? 0 : b.rows.tap_offset(p, i, j, b.block));
}

// The weights of `outputs` output channels from channel `first`, as [bias, then term by term][width], in the order in
// which the tile consumes them: block of input channels, tap, channel of the block. Missing outputs become zeros.
void pack_weight(const Conv2dProblem& p, const Blocking& b, int64_t first, int64_t outputs, int64_t width, float* packed) {
  for (int64_t o = 0; o < width; ++o)
    packed[o] = o < outputs && p.bias != nullptr ? p.bias[(first + o) * p.bias_stride] : 0.0f;
  packed += width;
  const int64_t taps = p.taps();
  const auto term = [&](int64_t c, int64_t tap) { return (c / b.block * taps + tap) * b.block + c % b.block; };
  const float* source = p.weight + first * p.weight_k;
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
    for (int64_t q = 0; q < b.terms; q += F32::kLanes) {
      F32 square[F32::kLanes];
      const int64_t columns = min(F32::kLanes, b.terms - q);
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
  if (!b.pointwise) return pack_rows<kBlock>(p, b.rows, row / p.out_h, row % p.out_h, rows, channel, p.in_group, packed);
  for (int64_t r = row; r < row + rows; ++r, packed += p.out_w * kBlock)
    pack_pixels<kBlock>(p, input_row(p, r / p.out_h, r % p.out_h * p.stride_h - p.padding_h, channel), p.in_group,
                        -p.padding_w, p.out_w, packed, b.plane);
}

// One panel against one chunk: `outputs` channels from `channel`, `rows` rows from `row`.
template <int kVectors, int kBlock>
void multiply(const Conv2dProblem& p, const Blocking& b, const float* input, const int64_t* offsets, const float* weight,
              int64_t channel, int64_t outputs, int64_t row, int64_t rows, const float* next, int64_t next_floats) {
  constexpr int64_t kWidth = kVectors * F32::kLanes;
  alignas(64) float partial[kTileRows * kWidth];
  const int64_t lines = b.pointwise ? 1 : rows, width = b.pointwise ? rows * p.out_w : p.out_w;
  const int64_t tiles = lines * ceil_div(width, kTileRows);
  // The next panel's weights come from memory while this one computes, spread evenly over its tiles.
  const int64_t step = next != nullptr ? ceil_div(next_floats * 4, tiles * b.terms * 8) * 8 : 0;
  const char* prefetch = reinterpret_cast<const char*>(next);
  const char* const prefetch_end = reinterpret_cast<const char*>(next + next_floats);
  GemmTile tile{.a = nullptr, .offsets = offsets, .blocks = b.blocks * p.taps(), .weight = weight + kWidth, .bias = weight,
                .y = nullptr, .pixel_stride = 0, .prefetch = reinterpret_cast<const char*>(weight), .prefetch_step = 0};
  for (int64_t line = 0; line < lines; ++line) {
    const float* a = input + line * p.stride_h * b.rows.row_pitch;
    float* y = p.y + (row + line) * p.out_w * p.out_channels() + channel;
    for (int64_t x = 0; x < width;) {
      const int64_t count = next_tile_rows(width - x);
      tile.a = a + x * kBlock;
      tile.y = outputs < kWidth ? partial : y + x * p.out_channels();
      tile.pixel_stride = outputs < kWidth ? kWidth : p.out_channels();
      if (prefetch < prefetch_end) {
        tile.prefetch = prefetch;
        tile.prefetch_step = step;
        prefetch += b.terms * step;
      } else {
        tile.prefetch = reinterpret_cast<const char*>(weight);
        tile.prefetch_step = 0;
      }
      run_gemm_tile<kVectors, kBlock>(count, tile);
      if (outputs < kWidth)
        for (int64_t m = 0; m < count; ++m)
          for (int64_t o = 0; o < outputs; ++o) y[(x + m) * p.out_channels() + o] = partial[m * kWidth + o];
      x += count;
    }
  }
}

template <int kBlock>
void run_blocked(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Blocking b(p, share);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch + b.offsets);
  float *input = scratch + b.input, *weight = scratch + b.weight;
  fill_offsets(p, b, offsets);
  const int64_t in_group_panels = panels_in_group(p);
  int64_t packed_group = -1, packed_row = -1;
  for (int64_t first = share.panel_begin; first < share.panel_end;) {
    const int64_t group = first / in_group_panels;
    const int64_t last = min(min(first + b.weight_panels, share.panel_end), (group + 1) * in_group_panels);
    const auto channel_in_group = [&](int64_t panel) { return panel % in_group_panels * kPanel; };
    const auto outputs = [&](int64_t panel) { return min(kPanel, p.out_group - channel_in_group(panel)); };
    const auto width = [&](int64_t panel) { return outputs(panel) <= F32::kLanes ? F32::kLanes : kPanel; };
    for (int64_t panel = first; panel < last; ++panel)
      pack_weight(p, b, group * p.out_group + channel_in_group(panel), outputs(panel), width(panel),
                  weight + (panel - first) * b.panel_floats());
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t image_end = b.pointwise ? share.row_end : min(share.row_end, (row / p.out_h + 1) * p.out_h);
      const int64_t rows = min(b.chunk_rows, image_end - row);
      if (packed_group != group || packed_row != row) pack_input<kBlock>(p, b, group, row, rows, input);
      packed_group = group;
      packed_row = row;
      for (int64_t panel = first; panel < last; ++panel) {
        const int64_t channel = group * p.out_group + channel_in_group(panel);
        const bool more = b.weight_panels == 1 && panel + 1 < share.panel_end && p.weight_k == b.terms;
        const float* next = more ? p.weight + (channel + outputs(panel)) * p.weight_k : nullptr;
        const float* packed = weight + (panel - first) * b.panel_floats();
        const auto multiply_panel = width(panel) == kPanel ? multiply<kTileVectors, kBlock> : multiply<1, kBlock>;
        multiply_panel(p, b, input, offsets, packed, channel, outputs(panel), row, rows, next,
                       more ? outputs(panel + 1) * b.terms : 0);
      }
      row += rows;
    }
    first = last;
  }
}

bool accepts(const Conv2dProblem&) { return true; }

void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  switch (block_of(p)) {
    case 16: return run_blocked<16>(p, share, scratch);
    case 8: return run_blocked<8>(p, share, scratch);
    case 4: return run_blocked<4>(p, share, scratch);
    default: return run_blocked<1>(p, share, scratch);
  }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_dense;
const Conv2dAlgorithm conv2d_dense = {"dense", accepts, panels, scratch_floats, run};

}  // namespace lucid::LUCID_ISA
