// 1x1 convolution on the matrix unit: two tiles of pixels by panels of 32 outputs, 128 or 256 terms at a time.
// Where the split weights of a share stay in L2, pairs of tiles come one after the other and meet all panels; else x
// stays there, and panels come and meet all pairs. What comes is split into a buffer that stays in L1, where the
// products hide it: x under the first panel, weights under the products before their own. Measured with what stops them
// left out, one after the other, in bench/results/amx.md.
#include <bf16x3_finish.h>
#include <bf16x3_operands.h>
#include <bf16x3_product.h>
#include <blocking.h>

#include "cpu/conv2d_panel.h"
#include "cpu/conv2d_problem.h"
#include "cpu/epilogue.h"

namespace lucid::LUCID_ISA {

extern const Conv2dAlgorithm conv2d_dense;

namespace {

// A panel is one of the dense algorithm: bias [32], then weights [in_group][32].
static_assert(kProductOutputs == kPanel);
constexpr int64_t kBiasBytes = kPanel * kFloatBytes, kStepBytes = kTileTerms * kPanel * kFloatBytes;
constexpr int64_t kThirdOfGaps = 8;                    // of a step of two tiles
constexpr int64_t kSums = 2 * kMostTileRows * kPanel;  // of two tiles

int64_t rows(const Conv2dShape& s) { return s.out_rows(); }
int64_t panel_bytes(const Conv2dShape& s) { return conv2d_dense.panel_bytes(s); }
void prepare(const Conv2d& p, int64_t panel, char* prepared) { conv2d_dense.prepare(p, panel, prepared); }

bool accepts(const Conv2dShape& s, const Conv2dOptions&) {
  return s.taps() == 1 && !s.padded() && s.in_group % kTileTerms == 0 && s.out_group % kPanel == 0 &&
         s.in_group * s.out_group >= kFewestSplitWeights;
}

// How many rows the tiles should have that hold `rows` in all. An instruction takes the time of its rows and of about
// four more (7.4 ns for 16, 6.3 for 12, 4.9 for 8).
int64_t tile_height(int64_t rows) {
  int64_t best = kMostTileRows, lowest = INT64_MAX;
  for (int64_t height = kMostTileRows; height >= kMostTileRows / 2; --height) {
    const int64_t time = ceil_div(rows, height) * (height + 4);
    if (time < lowest) lowest = time, best = height;
  }
  return best;
}

// How a share is cut, and how its scratch memory is used: split x, split weights, sums that wait for more terms, the
// places of pixels.
struct Blocking {
  int64_t steps, part_steps;  // of 32 terms: all, and those that are multiplied before the others
  int64_t height, chunk;      // rows of a tile, pixels of a chunk
  bool weights_stay;          // split, of all panels; else x does, of all pixels of a chunk
  // Bytes from the start of the scratch memory, which is x.
  int64_t weight, sums, places, end;

  Blocking(const Conv2dShape& s, const Conv2dShare& share) {
    const int64_t pixels = (share.row_end - share.row_begin) * s.out_w;
    const int64_t panels = min(panels_in_group(s), share.panel_end - share.panel_begin);
    steps = s.in_group / kTileTerms;
    height = tile_height(pixels);
    weights_stay = panels * steps * kSplitWeightBytes <= kSplitWeightsBytes;
    part_steps = ceil_div(steps, ceil_div(steps, weights_stay ? kStepsOfX : kStepsOfWeights));
    const int64_t all = ceil_div(pixels, 2 * height);
    const int64_t most = weights_stay ? kPlacedPairs : max(1, kSplitInputBytes / (steps * kSplitXBytes));
    const int64_t pairs = ceil_div(all, ceil_div(all, most));
    chunk = pairs * 2 * height;
    weight = (weights_stay ? part_steps : pairs * steps) * kSplitXBytes;
    sums = weight + (weights_stay ? panels * steps : 2 * part_steps) * kSplitWeightBytes;
    places = sums + (part_steps == steps ? 0 : weights_stay ? panels : pairs) * kSums * kFloatBytes;
    end = places + 3 * chunk * static_cast<int64_t>(sizeof(int64_t));
  }
};

int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) { return Blocking(p.shape, share).end; }

// Where the pixels of a chunk lie: floats from channel 0 of pixel 0 of x, y and the residual.
struct Places {
  int64_t *x, *y, *residual;

  Places(const Blocking& b, char* scratch) {
    x = reinterpret_cast<int64_t*>(scratch + b.places);
    y = x + b.chunk;
    residual = y + b.chunk;
  }

  // For the pixels from `first` on, those of all images numbered through.
  void fill(const Conv2d& p, int64_t first, int64_t count) const {
    const Conv2dShape& s = p.shape;
    const InputView& from = p.operands.x;
    const OutputView &to = p.operands.y, &other = p.epilogue.residual;
    for (int64_t m = 0; m < count;) {
      const int64_t w = (first + m) % s.out_w, row = (first + m) / s.out_w, h = row % s.out_h, n = row / s.out_h;
      const int64_t end = min(count, m + s.out_w - w);
      int64_t at_x = from.offset(0, n, h * s.stride_h, w * s.stride_w);
      int64_t at_y = n * to.image + h * to.row + w * to.pixel;
      int64_t at_residual = n * other.image + h * other.row + w * other.pixel;
      for (; m < end; ++m) {
        x[m] = at_x, y[m] = at_y, residual[m] = at_residual;
        at_x += s.stride_w * from.pixel, at_y += to.pixel, at_residual += other.pixel;
      }
    }
  }
};

// The panels of one share against its chunks. A product is finished under the next one, which may be another panel's.
class Products {
 public:
  Products(const Conv2d& p, const Conv2dShare& share, char* scratch)
      : p_(p), share_(share), b_(p.shape, share), tiles_(b_.height), places_(b_, scratch), scratch_(scratch) {
    for (int i = 0; i < 2; ++i) {
      rows_[i].product = products_[i];
      rows_[i].y_block = p.operands.y.block;
      rows_[i].residual_block = p.epilogue.residual.block;
      rows_[i].floor = floor_of(p.epilogue.relu);
    }
  }

  // The panels [begin, end) of one group.
  void run(int64_t begin, int64_t end) {
    const int64_t first = share_.row_begin * p_.shape.out_w, last = share_.row_end * p_.shape.out_w;
    begin_ = begin, end_ = end;
    for (int64_t pixel = first; pixel < last; pixel += b_.chunk) {
      count_ = min(b_.chunk, last - pixel);
      places_.fill(p_, pixel, count_);
      b_.weights_stay ? pass_pixels(pixel == first, pixel + count_ == last) : pass_panels(pixel + count_ == last);
      finished().store();  // before the places change
    }
  }

 private:
  // Two tiles of pixels, from `pixel` of the chunk, by a panel: some steps.
  struct Product {
    int64_t panel, pixel, pixels, step, steps;
  };
  Product product(int64_t panel, int64_t pixel, int64_t step) const {
    return {panel, pixel, min(pair(), count_ - pixel), step, min(b_.part_steps, b_.steps - step)};
  }
  bool ends(const Product& product) const { return product.step + product.steps == b_.steps; }
  int64_t pair() const { return 2 * b_.height; }
  FinishedRows& finished() { return rows_[1 - coming_]; }

  void pass_pixels(bool first_chunk, bool last_chunk) {
    for (int64_t m = 0; m < count_; m += pair())
      for (int64_t step = 0; step < b_.steps; step += b_.part_steps) {
        const Product some = product(begin_, m, step);
        const int64_t times = some.steps * kThirdOfGaps;
        const bool first = first_chunk && m == 0, last = last_chunk && m + pair() >= count_ && ends(some);
        aim_at_x(some, times * (end_ - begin_));
        weight_ahead_ = {share_.next, last ? share_.next_bytes : 0, times * (end_ - begin_)};
        for (int64_t panel = begin_; panel < end_; ++panel) {
          const Product a = product(panel, m, step);
          if (first) split_next(a, times);
          multiply(a, panel == begin_);
        }
      }
  }

  void pass_panels(bool last_chunk) {
    for (int64_t panel = begin_; panel < end_; ++panel)
      for (int64_t step = 0; step < b_.steps; step += b_.part_steps) {
        const Product a = product(panel, 0, step);
        const int64_t times = a.steps * kThirdOfGaps * ceil_div(count_, pair());
        split_next(a, times);
        if (!exists(following(following(a))))
          weight_ahead_ = last_chunk ? WeightAhead(share_.next, min(share_.next_bytes, a.steps * kStepBytes), times)
                                     : WeightAhead(weight(begin_, 0), a.steps * kStepBytes, times);
        for (int64_t m = 0; m < count_; m += pair()) multiply(product(panel, m, step), panel == begin_);
      }
  }

  // The weights that are multiplied after those of `a`.
  Product following(const Product& a) const {
    if (b_.weights_stay)
      return a.panel + 1 < end_ ? product(a.panel + 1, a.pixel, a.step)
                                : product(begin_, a.pixel, a.step + b_.part_steps);
    return ends(a) ? product(a.panel + 1, a.pixel, 0) : product(a.panel, a.pixel, a.step + b_.part_steps);
  }
  bool exists(const Product& a) const { return a.panel < end_ && a.step < b_.steps; }

  // Those of `a` are there from now on; meanwhile the following ones are split, and those behind them fetched.
  void split_next(const Product& a, int64_t times) {
    if (a.panel == begin_ && a.step == 0) split_weight_ = split_weight(a, 1);
    split_weight_.finish();
    const Product next = following(a), later = following(next);
    if (exists(next)) split_weight_ = split_weight(next, times);
    if (exists(next) && exists(later))
      weight_ahead_ = {weight(later.panel, later.step), later.steps * kStepBytes, times};
  }
  SplitWeight split_weight(const Product& a, int64_t times) const {
    return {reinterpret_cast<const float*>(weight(a.panel, a.step)), split_place(a), 0, 32 * a.steps,
            ceil_div(32 * a.steps, times)};
  }
  char* split_place(const Product& a) const {
    const int64_t parts = ceil_div(b_.steps, b_.part_steps), panel = a.panel - begin_;
    const int64_t step =
        b_.weights_stay ? panel * b_.steps + a.step : (panel * parts + a.step / b_.part_steps) % 2 * b_.part_steps;
    return scratch_ + b_.weight + step * kSplitWeightBytes;
  }

  const char* weight(int64_t panel, int64_t step) const {
    return p_.operands.prepared + panel * panel_bytes(p_.shape) + kBiasBytes + step * kStepBytes;
  }
  const float* x(int64_t step) const {
    const InputView& x = p_.operands.x;
    const int64_t group = begin_ / panels_in_group(p_.shape);
    return x.data + x.offset(group * p_.shape.in_group + step * kTileTerms, 0, 0, 0);
  }

  // What follows `some`: more terms of its pixels, or the next pixels.
  void aim_at_x(const Product& some, int64_t times) {
    const Product next =
        ends(some) ? product(begin_, some.pixel + pair(), 0) : product(begin_, some.pixel, some.step + some.steps);
    const int64_t lines = next.pixel < count_ ? 2 * next.steps * next.pixels : 0;
    x_ahead_ = {x(next.step), places_.x + next.pixel, p_.operands.x.block, next.pixels, 0,
                lines,        ceil_div(lines, times)};
  }

  void begin_rows(const Product& a) {
    const OutputView& residual = p_.epilogue.residual;
    FinishedRows& rows = rows_[coming_];
    rows.bias = reinterpret_cast<const float*>(weight(a.panel, 0) - kBiasBytes);
    rows.x = x(0);
    rows.x_places = places_.x + a.pixel;
    rows.x_block = p_.operands.x.block;
    rows.terms = p_.shape.in_group;
    rows.y = p_.operands.y.at(a.panel * kPanel, 0, 0, 0);
    rows.y_places = places_.y + a.pixel;
    rows.residual = residual.data != nullptr ? residual.at(a.panel * kPanel, 0, 0, 0) : nullptr;
    rows.residual_places = places_.residual + a.pixel;
    rows.rows = a.pixels;
    rows.stored = 0;
  }

  void multiply(const Product& a, bool split_x) {
    if (ends(a)) begin_rows(a);
    if (a.pixels > b_.height)
      split_x ? multiply<2, true>(a) : multiply<2, false>(a);
    else
      split_x ? multiply<1, true>(a) : multiply<1, false>(a);
    finished().store();
    if (ends(a)) coming_ = 1 - coming_;
  }

  // With kSplitX, the split x is formed on the way; else it is there already.
  template <int kTiles, bool kSplitX>
  [[gnu::noinline]] void multiply(const Product& a) {
    constexpr int kGaps = 12 * kTiles;
    const int64_t pair_index = a.pixel / pair(), panel_index = a.panel - begin_;
    const SplitX x_split{
        x(a.step),           places_.x + a.pixel,
        p_.operands.x.block, a.pixels,
        b_.height,           scratch_ + (b_.weights_stay ? 0 : pair_index * b_.steps + a.step) * kSplitXBytes};
    const char* const split_weight = split_place(a);
    float* const sums =
        reinterpret_cast<float*>(scratch_ + b_.sums) + (b_.weights_stay ? panel_index : pair_index) * kSums;
    if constexpr (kSplitX)
#pragma GCC unroll 24
      for (int64_t gap = 0; gap < kGaps; ++gap) x_split.split_some<kTiles, kGaps>(0, gap);
    if (a.step == 0) {
      tiles_.clear_sums();
    } else {
      tiles_.load_sums<0>(sums);
      if constexpr (kTiles == 2) tiles_.load_sums<1>(sums + b_.height * kPanel);
    }
    FinishedRows& done = finished();
    const int64_t rows = ceil_div(4, a.steps);  // in a third of the gaps
    for (int64_t step = 0; step < a.steps; ++step) {
      const auto fill = [&](int64_t gap) __attribute__((always_inline)) {
        if constexpr (kSplitX)
          if (step + 1 < a.steps) x_split.split_some<kTiles, kGaps>(step + 1, gap);
        if (gap % 3 == 0)
          for (int64_t i = 0; i < rows && done.stored < done.rows; ++i) done.store_row();
        if (gap % 3 == 1) split_weight_.split_some(), weight_ahead_.fetch_some();
        if (gap % 3 == 2) x_ahead_.fetch_some();
      };
      Bf16x3Step<kTiles, decltype(fill)>{tiles_, fill, split_x_at(x_split.to + step * kSplitXBytes),
                                         split_weight_at(split_weight + step * kSplitWeightBytes)}
          .run();
    }
    float* const to = ends(a) ? products_[coming_] : sums;
    tiles_.store_sums<0>(to);
    if constexpr (kTiles == 2) tiles_.store_sums<1>(to + b_.height * kPanel);
    keep_order();
  }

  const Conv2d& p_;
  const Conv2dShare& share_;
  const Blocking b_;
  Tiles tiles_;
  const Places places_;
  char* const scratch_;
  int64_t begin_ = 0, end_ = 0, count_ = 0;  // panels of a group, pixels of a chunk
  SplitWeight split_weight_ = {};
  WeightAhead weight_ahead_ = {};
  XAhead x_ahead_ = {};
  alignas(64) float products_[2][kSums];
  FinishedRows rows_[2] = {};
  int64_t coming_ = 0;
};

void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const int64_t in_group = panels_in_group(p.shape);
  Products products(p, share, scratch);
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t end = min(share.panel_end, (begin / in_group + 1) * in_group);
    products.run(begin, end);
    begin = end;
  }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_pointwise_bf16x3;
const Conv2dAlgorithm conv2d_pointwise_bf16x3 = {
    .name = "pointwise_bf16x3",
    .output_tile = 1,
    .sums_rows = false,
    .packs_input = false,
    .accepts = accepts,
    .panels = panels_of_groups,
    .rows = rows,
    .panel_bytes = panel_bytes,
    .prepare = prepare,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

}  // namespace lucid::LUCID_ISA
