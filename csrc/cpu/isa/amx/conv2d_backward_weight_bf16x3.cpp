// The gradient of a convolution's weights on the matrix unit: as conv2d_backward_weight.cpp, a product whose sum runs
// over pixels, by products of 32 channels of dy by 32 of x.
//
// The left operand wants the terms of a row side by side, so dy is transposed; the right one wants two terms of a
// channel side by side, and a vector of x beside that of the next pixel has them. Both are split a chunk of pixels at a
// time and stay in L2, where every panel of dy meets every panel of x.
//
// The pixels under a window are numbered through as if the rows of the image had no end: x has the zeros of its padding
// between them, dy as many, and a tap is a distance. Pairs of pixels that begin at an even place serve every even
// distance, and a copy of those that begin at an odd one the others. Were dy moved instead, by single pixels, tiles
// would lie across cache lines, and a 3x3 window would take a quarter longer.
#include <bf16x3_product.h>
#include <bf16x3_split.h>
#include <conv2d_weight_pixels.h>

#include "cpu/conv2d_weight_task.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kBlock = PixelList::kBlock, kPanel = 2 * kBlock;
static_assert(F32::kLanes == kBlock && kPanel == kProductOutputs && kPanel == 2 * kMostTileRows);
// Of a sum: both operands of a run, 24 KB each, stay in L1.
constexpr int64_t kRunSteps = 4;
static_assert(kRunSteps * kTileTerms <= kRunTerms);

// Whether the unit is faster. It wants whole panels; more than one of each, since 32 by 32 channels cost as much to
// split as to multiply (1x1 at 56x56 1.46 ms after 1.41, 64 by 32 2.3 after 2.5; 3x3 of stride 2 in 32 groups at 14x14
// 6.9 after 5.7, of stride 1 4.0 after 4.1); pixels for more than a step (16 pixels 0.70 ms after 0.38, 64 1.0 after
// 1.6); and most of the pixels of a chunk (3x3 at 2x2 0.19 ms after 0.08, 4x4 2.6 after 2.3, 7x7 20 after 28).
bool accepts(const Conv2dShape& s) {
  if (s.in_group % kPanel != 0 || s.out_group % kPanel != 0) return false;
  const PixelNumbers numbers(s);
  const bool one_panel = s.in_group * s.out_group == kPanel * kPanel;
  if (numbers.pointwise) return !one_panel && !s.padded() && s.out_rows() * s.out_w >= 48;
  if (one_panel && s.stride_h * s.stride_w > 1) return false;
  if (numbers.x_pixels > 8 * numbers.dy_pixels) return false;  // a window that reaches far takes memory
  return 3 * s.out_h * s.out_w >= 2 * ceil_div(s.out_h, numbers.chunk) * numbers.dy_pixels;
}

// How a thread's scratch memory is used.
struct Blocking {
  PixelNumbers numbers;
  SplitTerms dy, x;                                             // of a panel, without their data; of x in one copy
  int64_t dy_panel, x_copy, x_panel;                            // bytes
  int64_t taps_pitch, totals_pitch;                             // floats from a tap to the next, and from an output
  int64_t zeros, packed, dy_begin, x_begin, totals, bias, end;  // bytes; the places of pixels are first

  explicit Blocking(const Conv2dBackwardWeight& p) : numbers(p.shape) {
    const int64_t x_pixels = numbers.x_pixels, dy_pixels = numbers.dy_pixels;
    dy.row = odd_lines(dy_pixels / 2) * kFloatBytes;
    dy.tile = kMostTileRows * dy.row;
    dy.part = 2 * dy.tile;
    dy_panel = kSplitParts * dy.part;
    x.row = kTileRowBytes;
    x.tile = odd_lines(x_pixels / 2 * kBlock) * kFloatBytes;
    x.part = 2 * x.tile;
    x_copy = kSplitParts * x.part;
    x_panel = numbers.copies * x_copy;
    taps_pitch = p.c_together * kPanel;
    totals_pitch = odd_lines(p.shape.taps() * taps_pitch);
    zeros = round_up(x_pixels * static_cast<int64_t>(sizeof(const float*)), kBlockBytes);
    packed = zeros + max(p.k_together, p.c_together) * kPanel * kFloatBytes;
    const int64_t packed_x = channels_last(p.x) ? 0 : x_pixels * p.c_together;
    const int64_t packed_dy = channels_last(p.dy) ? 0 : dy_pixels * p.k_together;
    dy_begin = packed + max(packed_x, packed_dy) * kPanel * kFloatBytes;
    x_begin = dy_begin + p.k_together * dy_panel;
    totals = x_begin + p.c_together * x_panel;
    bias = totals + p.k_together * kPanel * totals_pitch * kFloatBytes;
    end = bias + p.k_together * kPanel * kFloatBytes;
  }
};

// 16 channels of 32 pixels, each into a row.
[[gnu::always_inline]] inline void split_transposed(const float* const* places, int64_t channel, const SplitTerms& to,
                                                    char* data) {
  F32 even[kBlock], odd[kBlock];
#pragma GCC unroll 16
  for (int i = 0; i < kBlock; ++i) even[i] = F32::load(places[2 * i] + channel);
  transpose(even);
#pragma GCC unroll 16
  for (int i = 0; i < kBlock; ++i) odd[i] = F32::load(places[2 * i + 1] + channel);
  transpose(odd);
#pragma GCC unroll 16
  for (int c = 0; c < kBlock; ++c) split(even[c], odd[c], data + c * to.row, to.part);
}

void split_dy(const Pixels& pixels, int64_t steps, int64_t channels, const Blocking& b, char* data) {
  for (int64_t step = 0; step < steps; ++step, data += kTileRowBytes)
    for (int64_t block = 0; block < channels / kBlock; ++block)
      split_transposed(pixels.places + step * kTileTerms, block * pixels.block, b.dy,
                       data + block / 2 * b.dy_panel + block % 2 * b.dy.tile);
}

// Pairs of pixels that begin at the first one.
void split_x(const Pixels& pixels, int64_t pairs, int64_t channels, const Blocking& b, char* data) {
  for (int64_t pair = 0; pair < pairs; ++pair, data += kTileRowBytes) {
    const float *even = pixels.places[2 * pair], *odd = pixels.places[2 * pair + 1];
    for (int64_t block = 0; block < channels / kBlock; ++block)
      split(F32::load(even + block * pixels.block), F32::load(odd + block * pixels.block),
            data + block / 2 * b.x_panel + block % 2 * b.x.tile, b.x.part);
  }
}

void add_bias(const Pixels& pixels, int64_t count, int64_t channels, float* bias) {
  for (int64_t block = 0; block < channels / kBlock; ++block) {
    F32 sum = F32::zero();
    for (int64_t m = 0; m < count; ++m) sum = sum + F32::load(pixels.places[m] + block * pixels.block);
    (F32::load(bias + block * kBlock) + sum).store(bias + block * kBlock);
  }
}

// A finished product on its way to the totals, vector by vector.
struct FinishedSums {
  static constexpr int64_t kVectors = kPanel * 2;
  const float* product = nullptr;  // [32][32]
  float* totals = nullptr;
  int64_t pitch = 0;  // floats
  int64_t added = kVectors;

  [[gnu::always_inline]] void add_vector() {
    float* total = totals + added / 2 * pitch + added % 2 * kBlock;
    (F32::load(total) + F32::load(product + added * kBlock)).store(total);
    ++added;
  }
  void add() {
    while (added < kVectors) add_vector();
  }
};

// product = dy * x, while the one before is added to its totals, and x of the next step is fetched.
[[gnu::noinline]] void multiply(Tiles& tiles, SplitTerms dy, SplitTerms x, int64_t steps, FinishedSums& finished,
                                float* product) {
  constexpr int64_t kLines = kSplitXBytes / kTileRowBytes / 24;  // in a gap
  tiles.clear_sums();
  for (int64_t step = 0; step < steps; ++step) {
    const auto fill = [&](int64_t gap) __attribute__((always_inline)) {
      const int64_t tile = gap * kLines / kMostTileRows;
      const char* lines = x.at(tile % 2, tile / 2) + kTileBytes + gap * kLines % kMostTileRows * kTileRowBytes;
#pragma GCC unroll 4
      for (int64_t i = 0; i < kLines; ++i) __builtin_prefetch(lines + i * kTileRowBytes);
      if (finished.added < FinishedSums::kVectors) finished.add_vector();
    };
    Bf16x3Step<2, decltype(fill)>{tiles, fill, dy, x}.run();
    dy.data += kTileRowBytes;
    x.data += kTileBytes;
  }
  finished.add();
  tiles.store_sums<0>(product);
  tiles.store_sums<1>(product + kMostTileRows * kPanel);
  keep_order();
}

// A task, chunk by chunk.
class WeightSums {
 public:
  WeightSums(const Conv2dBackwardWeight& p, int64_t index)
      : p_(p), s_(p.shape), y_(p.shape), b_(p), n_(b_.numbers), task_(p, index), tiles_(kMostTileRows) {
    y_.h = s_.out_h, y_.w = s_.out_w, y_.stride_h = y_.stride_w = 1;
    __builtin_memset(p.scratch + b_.totals, 0, static_cast<size_t>(b_.end - b_.totals));
    __builtin_memset(p.scratch + b_.zeros, 0, static_cast<size_t>(b_.packed - b_.zeros));
  }

  void run() {
    const int64_t rows = n_.pointwise ? s_.out_rows() * s_.out_w : s_.out_rows();
    const int64_t together = n_.pointwise ? rows : s_.out_h;
    for (int64_t first = 0; first < rows;) {
      const int64_t count = min(n_.chunk, (first / together + 1) * together - first);
      const int64_t steps = ceil_div(count * n_.pitch, kTileTerms);
      split_chunk_of_dy(first, count, steps);
      split_chunk_of_x(first, count, steps);
      for (int64_t step = 0; step < steps; step += kRunSteps) add_run(step, min(kRunSteps, steps - step));
      first += count;
    }
    finished_.add();
    write();
  }

 private:
  float* floats(int64_t offset) const { return reinterpret_cast<float*>(p_.scratch + offset); }

  PixelList list_of(const Conv2dShape& s, const InputView& view, int64_t channel, int64_t channels,
                    int64_t most) const {
    return {s,
            view,
            channel,
            channels,
            most,
            reinterpret_cast<const float**>(p_.scratch),
            floats(b_.zeros),
            floats(b_.packed)};
  }

  void split_chunk_of_dy(int64_t first, int64_t count, int64_t steps) const {
    PixelList list = list_of(y_, p_.dy, task_.k, task_.outputs, n_.dy_pixels);
    if (n_.pointwise)
      list.add_pixels(first, count);
    else
      for (int64_t r = 0; r < count; ++r)
        list.add_row(input_row(y_, p_.dy, first / s_.out_h, first % s_.out_h + r), 0, n_.pitch);
    const Pixels& pixels = list.fill(steps * kTileTerms);
    split_dy(pixels, steps, task_.outputs, b_, p_.scratch + b_.dy_begin);
    if (p_.dbias != nullptr && task_.c_block == 0) add_bias(pixels, count * n_.pitch, task_.outputs, floats(b_.bias));
  }

  void split_chunk_of_x(int64_t first, int64_t count, int64_t steps) const {
    PixelList list = list_of(s_, p_.x, task_.c, task_.inputs, n_.x_pixels);
    char* to = p_.scratch + b_.x_begin;
    if (n_.pointwise) {
      list.add_pixels(first, count);
      split_x(list.fill(steps * kTileTerms), steps * kTileTerms / 2, task_.inputs, b_, to);
      return;
    }
    const int64_t top = first % s_.out_h * s_.stride_h - s_.padding_top;
    for (int64_t i = 0; i < s_.stride_h; ++i)
      for (int64_t j = 0; j < s_.stride_w; ++j)
        for (int64_t r = 0; r < n_.phase_rows; ++r)
          list.add_row(input_row(s_, p_.x, first / s_.out_h, top + r * s_.stride_h + i), j - s_.padding_left, n_.pitch);
    const Pixels& pixels = list.fill(n_.x_pixels);
    split_x(pixels, n_.x_pixels / 2, task_.inputs, b_, to);
    if (n_.copies == 2)
      split_x({pixels.places + 1, pixels.block}, n_.x_pixels / 2 - 1, task_.inputs, b_, to + b_.x_copy);
  }

  void add_run(int64_t first, int64_t steps) {
    for (int64_t k = 0; k < task_.outputs; k += kPanel)
      for (int64_t c = 0; c < task_.inputs; c += kPanel)
        for (int64_t tap = 0; tap < s_.taps(); ++tap) {
          const int64_t distance = n_.tap_distance(s_, tap);
          SplitTerms dy = b_.dy, x = b_.x;
          dy.data = p_.scratch + b_.dy_begin + k / kPanel * b_.dy_panel + first * kTileRowBytes;
          x.data = p_.scratch + b_.x_begin + c / kPanel * b_.x_panel + distance % 2 * b_.x_copy + first * kTileBytes +
                   distance / 2 * kTileRowBytes;
          float* product = products_[finished_.product == products_[0]];
          multiply(tiles_, dy, x, steps, finished_, product);
          finished_ = {.product = product,
                       .totals = floats(b_.totals) + k * b_.totals_pitch + tap * b_.taps_pitch + c,
                       .pitch = b_.totals_pitch,
                       .added = 0};
        }
  }

  void write() const {
    for (int64_t k = 0; k < task_.outputs; ++k) {
      const float* totals = floats(b_.totals) + k * b_.totals_pitch;
      float* out = p_.dweight + (task_.k + k) * p_.dweight_k + task_.c_block * kPanel * p_.dweight_c;
      for (int64_t i = 0; i < s_.kernel_h; ++i)
        for (int64_t j = 0; j < s_.kernel_w; ++j, totals += b_.taps_pitch)
          for (int64_t c = 0; c < task_.inputs; ++c)
            out[i * p_.dweight_h + j * p_.dweight_w + c * p_.dweight_c] = totals[c];
      if (p_.dbias != nullptr && task_.c_block == 0) p_.dbias[(task_.k + k) * p_.dbias_stride] = floats(b_.bias)[k];
    }
  }

  const Conv2dBackwardWeight& p_;
  const Conv2dShape& s_;
  Conv2dShape y_;  // dy as the input of a convolution that sees each of its pixels once
  const Blocking b_;
  const PixelNumbers& n_;
  const WeightTask task_;
  Tiles tiles_;
  FinishedSums finished_;
  alignas(64) float products_[2][kPanel * kPanel];
};

int64_t scratch_bytes(const Conv2dBackwardWeight& p) { return Blocking(p).end; }

void run(const Conv2dBackwardWeight& p, int64_t begin, int64_t end) {
  for (int64_t index = begin; index < end; ++index) WeightSums(p, index).run();
}

}  // namespace

extern const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_bf16x3;
const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_bf16x3 = {
    .block = kPanel,
    .most_outputs = 512,  // by 256 channels of x 0.21 TFLOP/s, by 512 0.24
    .most_terms = 576,    // or 64 channels of 3x3
    .accepts = accepts,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

}  // namespace lucid::LUCID_ISA
