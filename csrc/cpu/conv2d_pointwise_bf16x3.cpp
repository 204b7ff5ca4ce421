// 1x1 convolution on the matrix unit: pixels by panels of 32 outputs. The pixels of a share are cut into chunks whose
// split form stays in L2; every chunk meets every panel. x is split under a chunk's first panel, and the weights of a
// panel under its first two tiles: kept split they would take 6 bytes each, in memory and on the way from there.
#include <math.h>

#include "bf16x3_product.h"
#include "cpu/conv2d.h"

namespace lucid::LUCID_ISA {

extern const Conv2dAlgorithm conv2d_dense;

namespace {

constexpr int64_t kPanel = kProductOutputs;
constexpr int64_t kMostSplit = 192 << 10;  // floats of a chunk's split x; an L2 of 2 MB also holds a panel and y
// Of smaller weights the splitting takes more time than the products save: 64 to 64 channels at 56x56 0.22 ms after
// 0.15, 64 to 128 0.35 after 0.30, 256 to 64 0.50 after 0.55.
constexpr int64_t kFewestWeights = 16384;

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t panels_in_group(const Conv2dProblem& p) { return p.out_group / kPanel; }
int64_t panels(const Conv2dProblem& p) { return p.groups * panels_in_group(p); }
int64_t rows(const Conv2dProblem& p) { return p.out_rows(); }
int64_t panel_floats(const Conv2dProblem& p) { return (1 + p.in_group) * kPanel; }

bool accepts(const Conv2dProblem& p) {
  return p.planned && p.taps() == 1 && p.padding_h == 0 && p.padding_w == 0 && p.in_group % kTileTerms == 0 &&
         p.out_group % kPanel == 0 && p.in_group * p.out_group >= kFewestWeights;
}

// A panel is that of the dense algorithm, whose panels are as wide: bias [32], then weights [in_group][32].
void prepare(const Conv2dProblem& p, int64_t panel, float* prepared) { conv2d_dense.prepare(p, panel, prepared); }

// How the scratch memory of a share is used: a chunk's split x, a split panel, the places of pixels.
struct Layout {
  int64_t height, chunk;        // rows of a tile, pixels of a chunk
  int64_t pair;                 // floats of the split x of two tiles, and of a split panel
  int64_t weight, places, end;  // positions

  Layout(const Conv2dProblem& p, const Conv2dShare& share) {
    const int64_t pixels = (share.row_end - share.row_begin) * p.out_w;
    pair = p.in_group / kTileTerms * 2 * kSplitParts * kTileBytes / static_cast<int64_t>(sizeof(float));
    const int64_t most_pairs = kMostSplit > pair ? kMostSplit / pair : 1;
    const int64_t even = ceil_div(pixels, ceil_div(pixels, most_pairs * 2 * kMostTileRows));
    height = tile_height(even);
    const int64_t pairs = ceil_div(even, 2 * height);
    chunk = pairs * 2 * height;
    weight = pairs * pair;
    places = weight + pair;
    end = places + 3 * 2 * place_count();
  }

  int64_t place_count() const { return chunk + kMostTileRows; }
};

int64_t scratch_floats(const Conv2dProblem& p, const Conv2dShare& share) { return Layout(p, share).end; }

// Where the pixels of a chunk lie: floats from channel 0 of pixel 0 of x, y and the residual.
struct Places {
  int64_t *x, *y, *residual;

  Places(const Layout& layout, float* scratch) {
    x = reinterpret_cast<int64_t*>(scratch + layout.places);
    y = x + layout.place_count();
    residual = y + layout.place_count();
  }

  // For the pixels from `first` on, those of all images numbered through. Tiles beyond the last read it again.
  void fill(const Conv2dProblem& p, int64_t first, int64_t count, int64_t place_count) const {
    int64_t w = first % p.out_w, h = first / p.out_w % p.out_h, n = first / p.out_w / p.out_h;
    for (int64_t m = 0; m < count; ++m) {
      x[m] = n * p.x_n + h * p.stride_h * p.x_h + w * p.stride_w * p.x_w;
      y[m] = n * p.y.image + h * p.y.row + w * p.y.pixel;
      residual[m] = n * p.residual.image + h * p.residual.row + w * p.residual.pixel;
      if (++w < p.out_w) continue;
      w = 0;
      if (++h == p.out_h) h = 0, ++n;
    }
    for (int64_t m = count; m < place_count; ++m) x[m] = x[count - 1];
  }
};

void run(const Conv2dProblem& p, const Conv2dShare& share, float* scratch) {
  const Layout layout(p, share);
  const TileConfiguration configuration(layout.height);
  const Places places(layout, scratch);
  const int64_t pixel_end = share.row_end * p.out_w, pair_pixels = 2 * layout.height;
  alignas(64) float products[2][2 * kMostTileRows * kPanel];
  FinishedRows finished{.product = nullptr,
                        .bias = nullptr,
                        .residual = nullptr,
                        .y = nullptr,
                        .y_places = nullptr,
                        .residual_places = nullptr,
                        .y_block = p.y.block,
                        .residual_block = p.residual.block,
                        .floor = p.relu ? 0.0f : -INFINITY,
                        .rows = 0,
                        .stored = 0};
  Bf16x3Product product{.x = nullptr,
                        .places = nullptr,
                        .block = p.x_block,
                        .height = layout.height,
                        .steps = p.in_group / kTileTerms,
                        .weight = nullptr,
                        .split_x = nullptr,
                        .split_weight = reinterpret_cast<char*>(scratch + layout.weight),
                        .y = products[0],
                        .finished = &finished};
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t group = begin / panels_in_group(p), end = min(share.panel_end, (group + 1) * panels_in_group(p));
    product.x = p.x + group * p.in_group / F32::kLanes * p.x_block;
    for (int64_t pixel = share.row_begin * p.out_w; pixel < pixel_end; pixel += layout.chunk) {
      const int64_t count = min(layout.chunk, pixel_end - pixel);
      places.fill(p, pixel, count, layout.place_count());
      for (int64_t i = begin; i < end; ++i) {
        const float* bias = p.prepared + i * panel_floats(p);
        product.weight = bias + kPanel;
        float* split_x = scratch;
        for (int64_t m = 0; m < count; m += pair_pixels, split_x += layout.pair) {
          product.split_x = reinterpret_cast<char*>(split_x);
          product.places = places.x + m;
          const auto multiply = count - m > layout.height ? run_bf16x3_product<2> : run_bf16x3_product<1>;
          multiply(product, i == begin, m == 0);
          finished.product = product.y;
          finished.bias = bias;
          finished.y = p.y.at(i * kPanel, 0, 0, 0);
          finished.y_places = places.y + m;
          if (p.residual.data != nullptr) finished.residual = p.residual.at(i * kPanel, 0, 0, 0);
          finished.residual_places = places.residual + m;
          finished.rows = min(pair_pixels, count - m);
          finished.stored = 0;
          product.y = products[product.y == products[0]];  // the other one
        }
      }
      finished.store();  // before the places change
    }
    begin = end;
  }
}

}  // namespace

extern const Conv2dAlgorithm conv2d_pointwise_bf16x3;
const Conv2dAlgorithm conv2d_pointwise_bf16x3 = {
    "pointwise_bf16x3", 1, false, false, accepts, panels, rows, panel_floats, prepare, scratch_floats, run};

}  // namespace lucid::LUCID_ISA
