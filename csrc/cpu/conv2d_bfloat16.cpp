// Convolution of a plan in bfloat16, of any shape: a product of matrices whose rows of x are gathered.
//
// Tiles of some pixels of x (kMostTileRows) stand against panels of 32 outputs. A pixel is a cache line of 32 channels,
// so that a step of the sum, 32 terms, is one block of channels under one tap: a constant offset from the pixel that
// the tile begins at. A pixel of an image of up to four channels is 8 bytes, and a step is eight neighbours of a row.
// Strides are in the distance of a tile's rows, padding is in the zeros around x. Groups that are narrower than a block
// share the blocks that their panel reads, with weights of zero between them: of 4 channels a group 7/8 of the products
// are with zeros, but with a matrix unit nothing that avoids them is faster in a whole network. Sums are float32; y is
// rounded once, with bias, residual and ReLU in it.
#include <bfloat16_product.h>
#include <blocking.h>

#include "cpu/conv2d_problem.h"
#include "cpu/integers.h"
#include "cpu/narrow_block.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kBytes = sizeof(Bfloat16);
constexpr int64_t kStepWeights = 2 * kTileBytes, kBiasBytes = kProductOutputs * kFloatBytes;
constexpr int64_t kWide = kBlockOf<Bfloat16>, kNarrow = kNarrowBlock;  // channels of a pixel
static_assert(kWide == kTileTerms);

int64_t panels(const Conv2dShape& s) { return ceil_div(s.out_channels(), kProductOutputs); }
int64_t rows(const Conv2dShape& s) { return s.out_rows(); }

// The blocks of x that hold the groups of a panel.
template <int64_t kChannels>
struct Blocks {
  int64_t first, end;

  Blocks(const Conv2dShape& s, int64_t panel) {
    const int64_t output = panel * kProductOutputs, last = min(output + kProductOutputs, s.out_channels()) - 1;
    first = output / s.out_group * s.in_group / kChannels;
    end = ceil_div((last / s.out_group + 1) * s.in_group, kChannels);
  }
};

// The steps of a panel's sum: blocks by rows of the window by runs of its columns.
template <int64_t kChannels>
struct Steps {
  static constexpr int64_t kColumns = kTileTerms / kChannels;  // of a run
  int64_t blocks, runs, count;

  // As many for every panel: the most that one needs.
  explicit Steps(const Conv2dShape& s) : blocks(0), runs(ceil_div(s.kernel_w, kColumns)) {
    for (int64_t panel = 0; panel < (s.groups == 1 ? 1 : panels(s)); ++panel) {
      const Blocks<kChannels> needed(s, panel);
      blocks = max(blocks, needed.end - needed.first);
    }
    count = blocks * s.kernel_h * runs;
  }

  int64_t first_block(const Conv2dShape& s, int64_t panel) const {
    return min(Blocks<kChannels>(s, panel).first, ceil_div(s.in_channels(), kChannels) - blocks);
  }
};

template <int64_t kChannels>
bool accepts(const Conv2dShape& s, const Conv2dOptions&) {
  return kChannels == kWide || (s.in_channels() <= kChannels && s.dilation_w == 1);
}

template <int64_t kChannels>
int64_t panel_bytes(const Conv2dShape& s) {
  return kBiasBytes + Steps<kChannels>(s).count * kStepWeights;
}

// The weight between a channel of x and an output; 0 outside of the output's group, and of the window.
float weight_of(const Conv2d& p, int64_t output, int64_t channel, int64_t i, int64_t j) {
  const Conv2dShape& s = p.shape;
  if (output >= s.out_channels() || j >= s.kernel_w || channel / s.in_group != output / s.out_group) return 0.0f;
  return p.operands.weight_at(output, channel % s.in_group, i, j);
}

// bias [32], then weights [step][half][pair of terms][output][2].
template <int64_t kChannels>
void prepare(const Conv2d& p, int64_t panel, char* prepared) {
  const Conv2dShape& s = p.shape;
  const Steps<kChannels> steps(s);
  float* bias = reinterpret_cast<float*>(prepared);
  Bfloat16* to = reinterpret_cast<Bfloat16*>(prepared + kBiasBytes);
  const int64_t first = panel * kProductOutputs, block = steps.first_block(s, panel);
  for (int64_t o = 0; o < kProductOutputs; ++o)
    bias[o] = first + o < s.out_channels() ? p.epilogue.bias_at(first + o) : 0.0f;
  for (int64_t step = 0; step < steps.count; ++step) {
    const int64_t channel = (block + step / steps.runs / s.kernel_h) * kChannels;
    const int64_t i = step / steps.runs % s.kernel_h, j = step % steps.runs * steps.kColumns;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t pair = 0; pair < kTileTerms; pair += 2)
        for (int64_t o = 0; o < kProductOutputs / 2; ++o)
          for (int64_t k = pair; k < pair + 2; ++k)
            *to++ = to_bfloat16(
                weight_of(p, first + half * kProductOutputs / 2 + o, channel + k % kChannels, i, j + k / kChannels));
  }
}

// Bytes from one block, image, row and pixel to the next.
struct Strides {
  int64_t block, image, row, pixel;

  template <class Element>
  explicit Strides(const BlockedView<Element>& v)
      : block(v.block * kBytes), image(v.image * kBytes), row(v.row * kBytes), pixel(v.pixel * kBytes) {}
};

// How the pixels of a share are cut into tiles. A run is pixels at one distance in x (and in the residual): a row of
// the output, or all of the share for a 1x1 convolution of images without gaps. A run is at least as long as a tile;
// its last tile begins before the end of the one before it, and does not store again what that has stored.
struct Tiling {
  int64_t run, height, tiles_in_run, tiles;
  bool flat;

  Tiling(const Conv2d& p, const Conv2dShare& share) {
    const Conv2dShape& s = p.shape;
    const auto& x = p.bfloat16.x;
    const auto& residual = p.bfloat16.residual;
    flat = s.taps() == 1 && s.out_h == s.h && s.out_w == s.w && !s.padded() && x.flat(s.h, s.w) &&
           (residual.data == nullptr || residual.flat(s.h, s.w));
    const int64_t share_rows = share.row_end - share.row_begin;
    run = flat ? share_rows * s.out_w : s.out_w;
    // An instruction of a matrix unit takes the time of its rows and of about four more.
    int64_t lowest = INT64_MAX;
    for (int64_t h = min(run, kMostTileRows); h > 0; --h) {
      const int64_t time = ceil_div(run, h) * (h + 4);
      if (time < lowest) lowest = time, height = h;
    }
    tiles_in_run = ceil_div(run, height);
    tiles = (flat ? 1 : share_rows) * tiles_in_run;
  }
};

// Where the tiles of a chunk lie: bytes from pixel (0, 0).
struct Places {
  int64_t *x, *residual;  // [tiles]: the first pixel
  int64_t* y;             // [tiles][kMostTileRows]: every pixel

  static constexpr int64_t kMostTiles = 256;
  static constexpr int64_t kEntries = kMostTiles * (2 + kMostTileRows);

  explicit Places(char* scratch) {
    x = reinterpret_cast<int64_t*>(scratch);
    residual = x + kMostTiles;
    y = residual + kMostTiles;
  }
};

// The tiles of a share, chunk after chunk.
template <int64_t kChannels>
class Share {
 public:
  Share(const Conv2d& p, const Conv2dShare& share, char* scratch)
      : p_(p), share_(share), tiling_(p, share), places_(scratch), steps_(p.shape) {
    offsets_ = reinterpret_cast<int64_t*>(scratch) + Places::kEntries;
    const Conv2dShape& s = p.shape;
    const Strides x(p.bfloat16.x);
    int64_t* to = offsets_;
    for (int64_t block = 0; block < steps_.blocks; ++block)
      for (int64_t i = 0; i < s.kernel_h; ++i)
        for (int64_t j = 0; j < s.kernel_w; j += steps_.kColumns)
          *to++ = block * x.block + (i * s.dilation_h - s.padding_top) * x.row +
                  (j * s.dilation_w - s.padding_left) * x.pixel;
  }

  void run() {
    const Conv2dShape& s = p_.shape;
    // Pairs of tiles whose pixels stay in L2 while all panels pass.
    const int64_t pair_bytes = 2 * tiling_.height * ceil_div(s.in_channels(), kChannels) * kTileRowBytes;
    const int64_t chunk = 2 * max(1, min(Places::kMostTiles / 2, kBfloat16ChunkBytes / pair_bytes));
    Product product({.offsets = offsets_,
                     .count = steps_.count,
                     .height = tiling_.height,
                     .row_bytes = s.stride_w * Strides(p_.bfloat16.x).pixel,
                     .relu = p_.epilogue.relu});
    for (int64_t tile = 0; tile < tiling_.tiles; tile += chunk) {
      const int64_t count = min(chunk, tiling_.tiles - tile);
      fill(tile, count);
      for (int64_t panel = share_.panel_begin; panel < share_.panel_end; ++panel)
        multiply(product, panel, count, weights_after(panel, tile + count == tiling_.tiles));
      product.finish();  // before the places change
    }
  }

 private:
  void fill(int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; ++i) fill_tile(first + i, i);
    if (count % 2 == 0) return;
    places_.x[count] = places_.x[count - 1];
    places_.residual[count] = places_.residual[count - 1];
    for (int64_t m = 0; m < kMostTileRows; ++m) places_.y[count * kMostTileRows + m] = -1;
  }

  void fill_tile(int64_t tile, int64_t i) {
    const Conv2dShape& s = p_.shape;
    const Strides x(p_.bfloat16.x), y(p_.bfloat16.y), residual(p_.bfloat16.residual);
    const int64_t run = tile / tiling_.tiles_in_run, begin = tile % tiling_.tiles_in_run * tiling_.height;
    const int64_t start = min(begin, tiling_.run - tiling_.height);
    const int64_t pixel =
        share_.row_begin * s.out_w + run * tiling_.run + start;  // those of all images numbered through
    int64_t column = pixel % s.out_w, row = pixel / s.out_w;
    const int64_t image = row / s.out_h, line = row % s.out_h;
    places_.x[i] = image * x.image + line * s.stride_h * x.row + column * s.stride_w * x.pixel;
    places_.residual[i] = image * residual.image + line * residual.row + column * residual.pixel;
    int64_t* places = places_.y + i * kMostTileRows;
    for (int64_t m = 0; m < kMostTileRows; row += 1, column = 0) {
      const int64_t at = row / s.out_h * y.image + row % s.out_h * y.row + (column - m) * y.pixel;
      const int64_t end = min(m + s.out_w - column, kMostTileRows);
      for (; m < end; ++m) places[m] = at + m * y.pixel;
    }
    for (int64_t m = 0; m < begin - start; ++m) places[m] = -1;
    for (int64_t m = tiling_.height; m < kMostTileRows; ++m) places[m] = -1;
  }

  struct Weights {
    const char* data;
    int64_t bytes;
  };

  // What is read after a panel: the next panel, or what follows the share.
  Weights weights_after(int64_t panel, bool last_chunk) const {
    const int64_t bytes = kBiasBytes + steps_.count * kStepWeights;
    const bool last_panel = panel + 1 == share_.panel_end;
    if (last_panel && last_chunk) return {share_.next, share_.next_bytes};
    return {p_.operands.prepared + (last_panel ? share_.panel_begin : panel + 1) * bytes, bytes};
  }

  // All tiles of a chunk against a panel, under which the weights after it are fetched.
  void multiply(Product& product, int64_t panel, int64_t count, Weights after) const {
    const Conv2dBfloat16& to = p_.bfloat16;
    const char* x =
        reinterpret_cast<const char*>(to.x.data) + steps_.first_block(p_.shape, panel) * Strides(to.x).block;
    const char* residual = reinterpret_cast<const char*>(to.residual.data) + panel * Strides(to.residual).block;
    const char* prepared = p_.operands.prepared + panel * (kBiasBytes + steps_.count * kStepWeights);
    ProductBlock block = {.x = {},
                          .residual = {},
                          .weight = prepared + kBiasBytes,
                          .bias = reinterpret_cast<const float*>(prepared),
                          .y = reinterpret_cast<char*>(to.y.data) + panel * Strides(to.y).block,
                          .places = {},
                          .prefetch = after.data,
                          .prefetch_bytes = ceil_div(after.bytes, ceil_div(count, 2) * steps_.count),
                          .first_use = panel == share_.panel_begin};
    for (int64_t first = 0; first < count; first += 2, block.prefetch += steps_.count * block.prefetch_bytes) {
      for (int64_t i = 0; i < 2; ++i) {
        block.x[i] = x + places_.x[first + i];
        if (to.residual.data != nullptr) block.residual[i] = residual + places_.residual[first + i];
        block.places[i] = places_.y + (first + i) * kMostTileRows;
      }
      product.add(block);
    }
  }

  const Conv2d& p_;
  const Conv2dShare share_;
  const Tiling tiling_;
  const Places places_;
  const Steps<kChannels> steps_;
  int64_t* offsets_;
};

template <int64_t kChannels>
int64_t scratch_bytes(const Conv2d& p, const Conv2dShare&) {
  return (Places::kEntries + Steps<kChannels>(p.shape).count) * static_cast<int64_t>(sizeof(int64_t));
}

template <int64_t kChannels>
void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  Share<kChannels>(p, share, scratch).run();
}

template <int64_t kChannels>
constexpr Conv2dAlgorithm algorithm(const char* name) {
  return {.name = name,
          .output_tile = 1,
          .sums_rows = false,
          .packs_input = false,
          .accepts = accepts<kChannels>,
          .panels = panels,
          .rows = rows,
          .panel_bytes = panel_bytes<kChannels>,
          .prepare = prepare<kChannels>,
          .scratch_bytes = scratch_bytes<kChannels>,
          .run = run<kChannels>};
}

}  // namespace

extern const Conv2dAlgorithm conv2d_bfloat16, conv2d_bfloat16_narrow;
const Conv2dAlgorithm conv2d_bfloat16 = algorithm<kWide>("bfloat16");
const Conv2dAlgorithm conv2d_bfloat16_narrow = algorithm<kNarrow>("bfloat16_narrow");

}  // namespace lucid::LUCID_ISA
