// 1x1 convolution on the matrix unit: pixels by panels of 32 outputs. The pixels of a share are cut into chunks whose
// split form stays in L2; every chunk meets every panel. x is split while the first panel of a chunk is computed, the
// weights of a panel while its first two tiles are. Stored split, a weight takes 6 bytes instead of 4.
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

// How the scratch memory of a share is used: a chunk's split x, a split panel, the places of pixels.
struct Blocking {
  int64_t height, chunk;        // rows of a tile, pixels of a chunk
  int64_t pair;                 // bytes of the split x of two tiles, and of a split panel
  int64_t weight, places, end;  // bytes from the start of the scratch memory, which is x

  Blocking(const Conv2dShape& s, const Conv2dShare& share) {
    const int64_t pixels = (share.row_end - share.row_begin) * s.out_w;
    pair = s.in_group / kTileTerms * kSplitWeightBytes;
    const int64_t most_pairs = max(1, kSplitInputBytes / pair);
    const int64_t even = ceil_div(pixels, ceil_div(pixels, most_pairs * 2 * kMostTileRows));
    height = tile_height(even);
    const int64_t pairs = ceil_div(even, 2 * height);
    chunk = pairs * 2 * height;
    weight = pairs * pair;
    places = weight + pair;
    end = places + 3 * place_count() * static_cast<int64_t>(sizeof(int64_t));
  }

  int64_t place_count() const { return chunk + kMostTileRows; }
};

int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) { return Blocking(p.shape, share).end; }

// Where the pixels of a chunk lie: floats from channel 0 of pixel 0 of x, y and the residual.
struct Places {
  int64_t *x, *y, *residual;

  Places(const Blocking& b, char* scratch) {
    x = reinterpret_cast<int64_t*>(scratch + b.places);
    y = x + b.place_count();
    residual = y + b.place_count();
  }

  // For the pixels from `first` on, those of all images numbered through. Tiles beyond the last read it again.
  void fill(const Conv2d& p, int64_t first, int64_t count, int64_t place_count) const {
    const Conv2dShape& s = p.shape;
    const OutputView &to = p.operands.y, &other = p.epilogue.residual;
    int64_t w = first % s.out_w, h = first / s.out_w % s.out_h, n = first / s.out_w / s.out_h;
    for (int64_t m = 0; m < count; ++m) {
      x[m] = p.operands.x.offset(0, n, h * s.stride_h, w * s.stride_w);
      y[m] = n * to.image + h * to.row + w * to.pixel;
      residual[m] = n * other.image + h * other.row + w * other.pixel;
      if (++w < s.out_w) continue;
      w = 0;
      if (++h == s.out_h) h = 0, ++n;
    }
    for (int64_t m = count; m < place_count; ++m) x[m] = x[count - 1];
  }
};

// The panels of one share against its chunks. A product is finished under the next one, which may be another panel's.
class Products {
 public:
  Products(const Conv2d& p, const Conv2dShare& share, char* scratch)
      : p_(p), b_(p.shape, share), tiles_(b_.height), places_(b_, scratch), scratch_(scratch) {
    finished_.y_block = p.operands.y.block;
    finished_.residual_block = p.epilogue.residual.block;
    finished_.floor = floor_of(p.epilogue.relu);
    product_.tiles = &tiles_;
    product_.block = p.operands.x.block;
    product_.height = b_.height;
    product_.steps = p.shape.in_group / kTileTerms;
    product_.split_weight = scratch + b_.weight;
    product_.y = products_[0];
    product_.finished = &finished_;
  }

  int64_t chunk() const { return b_.chunk; }

  // The panels [begin, end) of one group, for `count` pixels from `pixel`.
  void run(int64_t begin, int64_t end, int64_t pixel, int64_t count) {
    const Conv2dShape& s = p_.shape;
    const int64_t group = begin / panels_in_group(s);
    product_.x = p_.operands.x.data + p_.operands.x.offset(group * s.in_group, 0, 0, 0);
    places_.fill(p_, pixel, count, b_.place_count());
    for (int64_t panel = begin; panel < end; ++panel) run_panel(panel, panel == begin, count);
    finished_.store();  // before the places change
  }

 private:
  void run_panel(int64_t panel, bool split_x, int64_t count) {
    const float* bias = reinterpret_cast<const float*>(p_.operands.prepared + panel * panel_bytes(p_.shape));
    product_.weight = bias + kPanel;
    product_.split_x = scratch_;
    for (int64_t m = 0; m < count; m += 2 * b_.height, product_.split_x += b_.pair) {
      product_.places = places_.x + m;
      const auto multiply = count - m > b_.height ? run_bf16x3_product<2> : run_bf16x3_product<1>;
      multiply(product_, split_x, m == 0);
      finished_.product = product_.y;
      finished_.bias = bias;
      finished_.y = p_.operands.y.at(panel * kPanel, 0, 0, 0);
      finished_.y_places = places_.y + m;
      const OutputView& residual = p_.epilogue.residual;
      finished_.residual = residual.data != nullptr ? residual.at(panel * kPanel, 0, 0, 0) : nullptr;
      finished_.residual_places = places_.residual + m;
      finished_.rows = min(2 * b_.height, count - m);
      finished_.stored = 0;
      product_.y = products_[product_.y == products_[0]];  // the other one
    }
  }

  const Conv2d& p_;
  const Blocking b_;
  Tiles tiles_;
  const Places places_;
  char* const scratch_;
  alignas(64) float products_[2][2 * kMostTileRows * kPanel];
  FinishedRows finished_ = {};
  Bf16x3Product product_ = {};
};

void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const Conv2dShape& s = p.shape;
  Products products(p, share, scratch);
  const int64_t pixel_end = share.row_end * s.out_w;
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t end = min(share.panel_end, (begin / panels_in_group(s) + 1) * panels_in_group(s));
    for (int64_t pixel = share.row_begin * s.out_w; pixel < pixel_end; pixel += products.chunk())
      products.run(begin, end, pixel, min(products.chunk(), pixel_end - pixel));
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
