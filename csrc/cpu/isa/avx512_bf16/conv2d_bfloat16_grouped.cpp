// Grouped 3x3 convolution of a plan in bfloat16, with 1, 2, 4, 8 or 16 channels in and out of every group.
//
// As a product of matrices it would multiply mostly zeros: 7 of 8 at 4 channels a group. Here a vector of 16 outputs
// meets permutations of a pixel's pairs of channels, in each of which every lane sees another pair of its group:
//
//   y[l] = sum over r, taps of x[pair r of the group of l] . weight_r[l]
//
// A permuted vector serves every tap and output that it feeds, up to three columns by two rows of a tile, so that loads
// and shuffles are a third of the products. Which pair a lane takes is data and lies beside the weights: one tile
// serves all widths of a group. A panel is a block of 32 outputs, and reads the same block of x.
#include <bfloat16_rows.h>
#include <pairs.h>

#include "cpu/conv2d_problem.h"
#include "cpu/epilogue.h"
#include "cpu/integers.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kBytes = sizeof(Bfloat16), kOutputs = kBlockOf<Bfloat16>, kLanes = F32::kLanes;
constexpr int64_t kPixel = kBlockBytes;
constexpr int kRows = 2, kColumns = 7;  // of a tile; 7 divides the widths 56, 28, 14 and 7
constexpr int kTaps = 9;

// Of a permutation: the pairs that the lanes take, then the weights of the taps.
constexpr int64_t kPermutationBytes = (1 + kTaps) * kBlockBytes;
constexpr int64_t kBiasBytes = kOutputs * kFloatBytes;

int64_t permutations(const Conv2dShape& s) { return max(1, s.in_group / 2); }
int64_t panels(const Conv2dShape& s) { return ceil_div(s.out_channels(), kOutputs); }
int64_t rows(const Conv2dShape& s) { return s.out_rows(); }
int64_t vector_bytes(const Conv2dShape& s) { return permutations(s) * kPermutationBytes; }
int64_t panel_bytes(const Conv2dShape& s) { return kBiasBytes + 2 * vector_bytes(s); }
int64_t scratch_bytes(const Conv2d&, const Conv2dShare&) { return 0; }

bool accepts(const Conv2dShape& s, const Conv2dOptions&) {
  const int64_t g = s.in_group;
  return g == s.out_group && g <= 16 && (g & (g - 1)) == 0 && s.kernel_h == 3 && s.kernel_w == 3 && s.dilation_h == 1 &&
         s.dilation_w == 1 && s.stride_h == s.stride_w && s.stride_h <= 2;
}

// bias [32], then for both vectors of outputs [permutation][pairs, taps][lane].
void prepare(const Conv2d& p, int64_t panel, char* prepared) {
  const Conv2dShape& s = p.shape;
  const int64_t first = panel * kOutputs, pairs = permutations(s);
  float* bias = reinterpret_cast<float*>(prepared);
  for (int64_t o = 0; o < kOutputs; ++o) bias[o] = first + o < s.out_channels() ? p.epilogue.bias_at(first + o) : 0.0f;
  const auto weight = [&](int64_t output, int64_t channel, int64_t tap) {
    if (output >= s.out_channels() || channel / s.in_group != output / s.out_group) return 0.0f;
    return p.operands.weight_at(output, channel % s.in_group, tap / 3, tap % 3);
  };
  char* to = prepared + kBiasBytes;
  for (int64_t vector = 0; vector < 2; ++vector)
    for (int64_t r = 0; r < pairs; ++r, to += kPermutationBytes)
      for (int64_t l = 0; l < kLanes; ++l) {
        const int64_t output = vector * kLanes + l, pair = output / (2 * pairs) * pairs + r;
        reinterpret_cast<int32_t*>(to)[l] = static_cast<int32_t>(pair);
        auto* taps = reinterpret_cast<Bfloat16*>(to + kBlockBytes) + 2 * l;
        for (int64_t tap = 0; tap < kTaps; ++tap, taps += kOutputs)
          for (int64_t k = 0; k < 2; ++k) taps[k] = to_bfloat16(weight(first + output, first + 2 * pair + k, tap));
      }
}

// Distances in bytes.
struct Tile {
  const char* x;  // the pixel under the first tap of the first output
  int64_t x_row;
  const char* weight;  // of a vector of outputs
  int64_t permutations;
  const float* bias;
  char* y;
  int64_t y_row;
  const char* residual;  // or null
  int64_t residual_row;
  bool relu;
};

// One permutation: every pixel of x that the tile reads, under every tap.
template <int kStride, int kHeight, int kWidth>
[[gnu::always_inline]] inline void add_permutation(F32 (&sums)[kHeight][kWidth], const char* x_first, int64_t x_row,
                                                   const char* weight) {
  const Pairs pairs = Pairs::load(weight);
  Pairs w[kTaps];
#pragma GCC unroll 9
  for (int tap = 0; tap < kTaps; ++tap) w[tap] = Pairs::load(weight + (1 + tap) * kBlockBytes);
#pragma GCC unroll 8
  for (int y = 0; y < (kHeight - 1) * kStride + 3; ++y)
#pragma GCC unroll 16
    for (int x = 0; x < (kWidth - 1) * kStride + 3; ++x) {
      keep_order();
      const Pairs pixel = Pairs::load_permuted(x_first + y * x_row + x * kPixel, pairs);
#pragma GCC unroll 2
      for (int row = 0; row < kHeight; ++row)
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) {
          const int i = y - row * kStride, column = (x - j) / kStride;
          if (i >= 0 && i < 3 && x >= j && (x - j) % kStride == 0 && column < kWidth)
            accumulate(sums[row][column], pixel, w[i * 3 + j]);
        }
    }
}

template <int kStride, int kHeight, int kWidth>
[[gnu::noinline]] void multiply(const Tile& t) {
  F32 sums[kHeight][kWidth];
#pragma GCC unroll 2
  for (int row = 0; row < kHeight; ++row)
#pragma GCC unroll 8
    for (int x = 0; x < kWidth; ++x) sums[row][x] = F32::load(t.bias);
  const char *x = t.x, *weight = t.weight;
  const int64_t x_row = t.x_row;
  // The rows below, which the next tiles read.
#pragma GCC unroll 4
  for (int y = 0; y < kHeight * kStride; ++y)
#pragma GCC unroll 16
    for (int column = 0; column < kWidth * kStride; ++column)
      __builtin_prefetch(x + ((kHeight - 1) * kStride + 3 + y) * x_row + column * kPixel);
  for (int64_t r = 0; r < t.permutations; ++r, weight += kPermutationBytes)
    add_permutation<kStride>(sums, x, x_row, weight);
  const F32 floor = F32::broadcast(floor_of(t.relu));
#pragma GCC unroll 2
  for (int row = 0; row < kHeight; ++row)
#pragma GCC unroll 8
    for (int x = 0; x < kWidth; ++x) {
      F32 sum = sums[row][x];
      if (t.residual != nullptr)
        sum = sum + Whole{}.load(reinterpret_cast<const Bfloat16*>(t.residual + row * t.residual_row + x * kPixel));
      store_rounded(max(floor, sum), t.y + row * t.y_row + x * kPixel);
    }
}

// Halves below the full tile: 7, 3, 1 columns. Gives how many it took of the `left` ones.
template <int kStride, int kHeight, int kWidth = kColumns>
int64_t run_tile(const Tile& t, int64_t left) {
  if constexpr (kWidth > 1)
    if (left < kWidth) return run_tile<kStride, kHeight, kWidth / 2>(t, left);
  multiply<kStride, kHeight, kWidth>(t);
  return kWidth;
}

// Rows [row, row + height) of one image, for a vector of outputs.
template <int kStride>
void run_rows(const Conv2d& p, int64_t panel, int64_t vector, int64_t row, int64_t height) {
  const Conv2dShape& s = p.shape;
  const Conv2dBfloat16& to = p.bfloat16;
  const int64_t image = row / s.out_h, line = row % s.out_h, channel = panel * kOutputs + vector * kLanes;
  const char* prepared = p.operands.prepared + panel * panel_bytes(s);
  const auto* x = to.x.at(panel * kOutputs, image, line * kStride - s.padding_top, -s.padding_left);
  Tile tile = {.x = reinterpret_cast<const char*>(x),
               .x_row = to.x.row * kBytes,
               .weight = prepared + kBiasBytes + vector * vector_bytes(s),
               .permutations = permutations(s),
               .bias = reinterpret_cast<const float*>(prepared) + vector * kLanes,
               .y = reinterpret_cast<char*>(to.y.at(channel, image, line, 0)),
               .y_row = to.y.row * kBytes,
               .residual = nullptr,
               .residual_row = to.residual.row * kBytes,
               .relu = p.epilogue.relu};
  if (to.residual.data != nullptr)
    tile.residual = reinterpret_cast<const char*>(to.residual.at(channel, image, line, 0));
  for (int64_t left = s.out_w; left > 0;) {
    const int64_t columns = height == kRows ? run_tile<kStride, kRows>(tile, left) : run_tile<kStride, 1>(tile, left);
    left -= columns;
    tile.x += columns * kStride * kPixel;
    tile.y += columns * kPixel;
    if (tile.residual != nullptr) tile.residual += columns * kPixel;
  }
}

void run(const Conv2d& p, const Conv2dShare& share, char*) {
  const Conv2dShape& s = p.shape;
  const auto run_rows_at = s.stride_h == 1 ? run_rows<1> : run_rows<2>;
  for (int64_t panel = share.panel_begin; panel < share.panel_end; ++panel)
    for (int64_t row = share.row_begin, height; row < share.row_end; row += height) {
      height = min(kRows, min(share.row_end, (row / s.out_h + 1) * s.out_h) - row);
      for (int64_t vector = 0; vector < 2; ++vector) run_rows_at(p, panel, vector, row, height);
    }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_bfloat16_grouped;
const Conv2dAlgorithm conv2d_bfloat16_grouped = {.name = "bfloat16_grouped",
                                                 .output_tile = 1,
                                                 .sums_rows = false,
                                                 .packs_input = false,
                                                 .accepts = accepts,
                                                 .panels = panels,
                                                 .rows = rows,
                                                 .panel_bytes = panel_bytes,
                                                 .prepare = prepare,
                                                 .scratch_bytes = scratch_bytes,
                                                 .run = run};

}  // namespace lucid::LUCID_ISA
