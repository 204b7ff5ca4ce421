// Grouped convolution with 1, 2, 4 or 8 channels in and out of every group: ResNeXt's 3x3, and depthwise layers.
//
// A group is narrower than a vector, so a matrix product would multiply mostly zeros (20 % of peak at 4 channels a
// group). Instead a vector holds several groups, and permuted copies of the input meet permuted weights; see
// group_tile.h. Bound by the shuffles and FMAs of the tile while the packed input stays in L2.
#include "cpu/conv2d.h"
#include "cpu/group_tile.h"
#include "cpu/pack.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int kLanes = F32::kLanes;

// Vectors of channels packed together: 256 bytes of a pixel at once, whole pairs of cache lines from memory.
constexpr int64_t kVectorsTogether = 64 / kLanes;
constexpr int64_t kInputChunk = 16 << 10;  // floats of one vector's chunk

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t panels(const Conv2dProblem& p) { return (p.out_channels() + kLanes - 1) / kLanes; }

struct Blocking {
  int64_t chunk_rows;
  PackedRows rows;
  int64_t bias_and_weight;  // floats
  int64_t input, end;       // positions in the scratch memory

  Blocking(const Conv2dProblem& p, const Conv2dShare& share) : rows(p, 1, kLanes) {
    const int64_t row = p.stride_h * rows.row_pitch, longest = min(share.row_end - share.row_begin, p.out_h);
    chunk_rows = max(1, min(longest, 1 + (kInputChunk - rows.plane) / row));
    // Whole pairs of rows: the tile of one row has half the reuse.
    if (chunk_rows < longest && chunk_rows > 1) chunk_rows -= chunk_rows % 2;
    rows = PackedRows(p, chunk_rows, kLanes);
    bias_and_weight = (1 + p.in_group * p.taps()) * kLanes;
    input = kVectorsTogether * bias_and_weight;
    end = input + kVectorsTogether * rows.plane;
  }
};

int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) { return Blocking(p, share).end; }

// [bias], then [permutation][tap], a vector each; lanes beyond the last channel are zeros.
void pack_weight(const Conv2dProblem& p, int64_t panel, float* packed) {
  const int64_t group = p.in_group;
  for (int64_t l = 0; l < kLanes; ++l) {
    const int64_t channel = panel * kLanes + l;
    const bool exists = channel < p.out_channels();
    packed[l] = exists && p.bias != nullptr ? p.bias[channel * p.bias_stride] : 0.0f;
    float* out = packed + kLanes + l;
    for (int64_t r = 0; r < group; ++r) {
      const int c = permuted_channel(static_cast<int>(group), static_cast<int>(r), static_cast<int>(l));
      for (int64_t i = 0; i < p.kernel_h; ++i)
        for (int64_t j = 0; j < p.kernel_w; ++j, out += kLanes)
          *out = exists ? p.weight[channel * p.weight_k + c * p.weight_c + i * p.weight_h + j * p.weight_w] : 0.0f;
    }
  }
}

// Copies the channels that exist of a tile that was computed aside.
void copy_partial(const float* tile, int64_t pixels, int64_t channels, float* y, int64_t y_pixel) {
  for (int64_t m = 0; m < pixels; ++m)
    for (int64_t c = 0; c < channels; ++c) y[m * y_pixel + c] = tile[m * kLanes + c];
}

// `rows` rows of one vector of channels, 3x3.
template <int kGroup, int kStride>
void convolve_3x3(const Conv2dProblem& p, const Blocking& b, const float* input, const float* weight, int64_t channels,
                  int64_t rows, float* y) {
  alignas(64) float partial[2 * kGroupTile * kLanes];
  const int64_t y_pixel = p.out_channels(), y_row = p.out_w * y_pixel;
  const bool whole = channels == kLanes;
  for (int64_t row = 0; row < rows; row += 2)
    for (int64_t x = 0; x < p.out_w; x += kGroupTile) {
      const int64_t columns = min(kGroupTile, p.out_w - x);
      float* out = y + row * y_row + x * y_pixel;
      const GroupTile tile{.x = input + row * kStride * b.rows.row_pitch + x * kLanes,
                           .phase_pitch = b.rows.phase_pitch,
                           .row_pitch = b.rows.row_pitch,
                           .weight = weight + kLanes,
                           .bias = weight,
                           .y = whole ? out : partial,
                           .y_pixel = whole ? y_pixel : kLanes,
                           .y_row = whole ? y_row : kGroupTile * kLanes};
      const bool pair = row + 1 < rows;
      pair ? run_group_tile<kGroup, 2, kStride>(columns, tile) : run_group_tile<kGroup, 1, kStride>(columns, tile);
      if (whole) continue;
      copy_partial(partial, columns, channels, out, y_pixel);
      if (pair) copy_partial(partial + kGroupTile * kLanes, columns, channels, out + y_row, y_pixel);
    }
}

// kColumns outputs of one row under any window.
template <int kGroup, int R, int kColumns>
void add_window(F32 (&sums)[kColumns], const Conv2dProblem& p, const Blocking& b, const float* input, const float* weight) {
  for (int64_t i = 0; i < p.kernel_h; ++i)
    for (int64_t j = 0; j < p.kernel_w; ++j) {
      const float* x = input + b.rows.tap_offset(p, i, j, kLanes);
      const F32 w = F32::load(weight + ((R * p.kernel_h + i) * p.kernel_w + j) * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < kColumns; ++m) accumulate(sums[m], load_permuted<kGroup, R>(x + m * kLanes), w);
    }
  if constexpr (R + 1 < kGroup) add_window<kGroup, R + 1>(sums, p, b, input, weight);
}

template <int kGroup, int kColumns>
void convolve_tile(const Conv2dProblem& p, const Blocking& b, const float* input, const float* weight, int64_t channels,
                   float* y) {
  F32 sums[kColumns];
  for (F32& sum : sums) sum = F32::load(weight);
  add_window<kGroup, 0>(sums, p, b, input, weight + kLanes);
  alignas(64) float tile[kColumns * kLanes];
  for (int m = 0; m < kColumns; ++m) sums[m].store(tile + m * kLanes);
  copy_partial(tile, kColumns, channels, y, p.out_channels());
}

// `rows` rows of one vector of channels, any window.
template <int kGroup>
void convolve(const Conv2dProblem& p, const Blocking& b, const float* input, const float* weight, int64_t channels,
              int64_t rows, float* y) {
  constexpr int kColumns = 8;
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = input + row * p.stride_h * b.rows.row_pitch;
    float* out = y + row * p.out_w * p.out_channels();
    int64_t x = 0;
    for (; x + kColumns <= p.out_w; x += kColumns)
      convolve_tile<kGroup, kColumns>(p, b, in + x * kLanes, weight, channels, out + x * p.out_channels());
    for (; x < p.out_w; ++x)
      convolve_tile<kGroup, 1>(p, b, in + x * kLanes, weight, channels, out + x * p.out_channels());
  }
}

using Convolve = void (*)(const Conv2dProblem&, const Blocking&, const float* input, const float* weight,
                          int64_t channels, int64_t rows, float* y);

void run_with(Convolve convolve, const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Blocking b(p, share);
  for (int64_t first = share.panel_begin; first < share.panel_end; first += kVectorsTogether) {
    const int64_t last = min(first + kVectorsTogether, share.panel_end);
    const int64_t channel = first * kLanes, channels = min(last * kLanes, p.out_channels()) - channel;
    for (int64_t panel = first; panel < last; ++panel)
      pack_weight(p, panel, scratch + (panel - first) * b.bias_and_weight);
    for (int64_t row = share.row_begin; row < share.row_end;) {
      const int64_t image = row / p.out_h;
      const int64_t rows = min(b.chunk_rows, min(share.row_end, (image + 1) * p.out_h) - row);
      pack_rows<kLanes>(p, b.rows, image, row % p.out_h, rows, channel, channels, scratch + b.input);
      for (int64_t panel = first; panel < last; ++panel)
        convolve(p, b, scratch + b.input + (panel - first) * b.rows.plane, scratch + (panel - first) * b.bias_and_weight,
                 min(kLanes, p.out_channels() - panel * kLanes), rows,
                 p.y + row * p.out_w * p.out_channels() + panel * kLanes);
      row += rows;
    }
  }
}

bool accepts(const Conv2dProblem& p) {
  const int64_t g = p.in_group;
  return p.out_group == g && g <= kLanes && (g == 1 || g == 2 || g == 4 || g == 8);
}

bool accepts_3x3(const Conv2dProblem& p) {
  return accepts(p) && p.kernel_h == 3 && p.kernel_w == 3 && p.dilation_h == 1 && p.dilation_w == 1 &&
         p.stride_h == p.stride_w && p.stride_h <= 2;
}

template <int kGroup>
Convolve tile_3x3(int64_t stride) {
  return stride == 1 ? convolve_3x3<kGroup, 1> : convolve_3x3<kGroup, 2>;
}

void run_3x3(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  Convolve convolve = nullptr;
  switch (p.in_group) {
    case 1: convolve = tile_3x3<1>(p.stride_h); break;
    case 2: convolve = tile_3x3<2>(p.stride_h); break;
    case 4: convolve = tile_3x3<4>(p.stride_h); break;
    default:
      if constexpr (kLanes >= 8) convolve = tile_3x3<8>(p.stride_h);
  }
  run_with(convolve, p, share, scratch);
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
  run_with(any, p, share, scratch);
}

}  // namespace

extern const Conv2dAlgorithm conv2d_grouped_3x3, conv2d_grouped;
const Conv2dAlgorithm conv2d_grouped_3x3 = {"grouped_3x3", accepts_3x3, panels, scratch_floats, run_3x3};
const Conv2dAlgorithm conv2d_grouped = {"grouped", accepts, panels, scratch_floats, run};

}  // namespace lucid::LUCID_ISA
