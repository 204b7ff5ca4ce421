// Winograd's algorithms (conv2d_winograd.cpp) with products on the matrix unit: of two tiles of 32 channels by a panel
// of 32 outputs. The transformed input of a chunk is kept split, as many tiles as fit into L2, and meets every panel;
// the transformed weights are split on the way, those of the next xi under the last products of this one.
#include <bf16x3_operands.h>
#include <bf16x3_product.h>
#include <blocking.h>

#include "cpu/winograd_tiles.h"

namespace lucid::LUCID_ISA {

extern const Conv2dAlgorithm conv2d_winograd_4x4, conv2d_winograd_2x2;

namespace {

// A panel is one of the other algorithm: bias [32], then u [xi][channels][32].
static_assert(kProductOutputs == kPanel);

template <int kTile>
constexpr const Conv2dAlgorithm& kOnVectors = kTile == 4 ? conv2d_winograd_4x4 : conv2d_winograd_2x2;

template <int kTile>
bool accepts(const Conv2dShape& s, const Conv2dOptions& options) {
  return s.in_group % kTileTerms == 0 && s.in_group >= kFewestSplitChannels && s.out_group % kPanel == 0 &&
         kOnVectors<kTile>.accepts(s, options);
}
template <int kTile>
int64_t panel_bytes(const Conv2dShape& s) {
  return kOnVectors<kTile>.panel_bytes(s);
}
template <int kTile>
void prepare(const Conv2d& p, int64_t panel, char* prepared) {
  kOnVectors<kTile>.prepare(p, panel, prepared);
}

// How the scratch memory of a share is used. The xi are an odd number of cache lines apart, as of the other algorithm.
template <int kTile>
struct Blocking {
  int64_t steps;           // of 32 channels
  int64_t columns;         // tiles in a row
  int64_t height, pairs;   // rows of a tile of the matrix unit; pairs of those in a chunk
  int64_t v_step, m_step;  // bytes and floats between the xi
  int64_t weight, m, end;  // bytes from the start of the scratch memory, which is v

  Blocking(const Conv2dShape& s, const Conv2dShare& share) {
    steps = s.in_group / kTileTerms;
    columns = ceil_div(s.out_w, kTile);
    const int64_t tiles = (share.row_end - share.row_begin) * columns;
    const int64_t most = max(1, kSplitWinogradBytes / (kWinogradProducts<kTile> * steps * kSplitXBytes));
    const int64_t even = ceil_div(tiles, ceil_div(tiles, most * 2 * kMostTileRows));
    height = min(kMostTileRows, ceil_div(even, 2 * ceil_div(even, 2 * kMostTileRows)));
    pairs = ceil_div(even, 2 * height);
    v_step = pairs * steps * kSplitXBytes + kBlockBytes;
    m_step = odd_lines(kPanel * chunk());
    weight = kWinogradProducts<kTile> * v_step;
    m = weight + slots() * kSplitWeightBytes;
    end = m + kWinogradProducts<kTile> * m_step * kFloatBytes;
  }

  int64_t chunk() const { return pairs * 2 * height; }
  // Of split u, a step each: the next xi overwrites this one a step behind its last use, so that one xi is in L1.
  int64_t slots() const { return steps + 1; }
};

template <int kTile>
int64_t scratch_bytes(const Conv2d& p, const Conv2dShare& share) {
  return Blocking<kTile>(p.shape, share).end;
}

template <int kTile>
class Products {
 public:
  Products(const Conv2d& p, const Conv2dShare& share, char* scratch)
      : p_(p), share_(share), b_(p.shape, share), tiles_(b_.height), scratch_(scratch) {}

  // The panels [begin, end) of one group.
  void run(int64_t begin, int64_t end) {
    const Conv2dShape& s = p_.shape;
    const int64_t tiles = (share_.row_end - share_.row_begin) * b_.columns, channel = begin / panels_in_group(s);
    split_all(begin);
    for (int64_t first = 0; first < tiles; first += b_.chunk()) {
      const WinogradTiles<kTile> chunk{p_, s, b_.columns, share_.row_begin, first, min(b_.chunk(), tiles - first)};
      split_inputs(chunk, channel * s.in_group);
      for (int64_t panel = begin; panel < end; ++panel) {
        const bool last = panel + 1 == end;
        multiply(panel, last ? begin : panel + 1, chunk.count);
        chunk.transform_outputs(Panel(s, panel), m(0), b_.m_step, bias(panel));
      }
    }
  }

 private:
  const float* bias(int64_t panel) const {
    return reinterpret_cast<const float*>(p_.operands.prepared + panel * panel_bytes<kTile>(p_.shape));
  }
  const float* u(int64_t panel, int64_t xi) const { return bias(panel) + kPanel + xi * p_.shape.in_group * kPanel; }
  char* v(int64_t xi, int64_t pair) const { return scratch_ + xi * b_.v_step + pair * b_.steps * kSplitXBytes; }
  float* m(int64_t xi) const { return reinterpret_cast<float*>(scratch_ + b_.m) + xi * b_.m_step; }

  char* slot(int64_t index) const { return scratch_ + b_.weight + index % b_.slots() * kSplitWeightBytes; }

  // Step `step` of u, on its way to a slot.
  static SplitWeight splitting(const float* u, int64_t step, char* to, int64_t together) {
    return {.data = u + step * kTileTerms * kPanel, .to = to, .vector = 0, .vectors = 32, .count = together};
  }
  // u of the first xi of a panel, under nothing.
  void split_all(int64_t panel) {
    slot_ = 0;
    for (int64_t step = 0; step < b_.steps; ++step) splitting(u(panel, 0), step, slot(step), 32).finish();
  }

  void split_inputs(const WinogradTiles<kTile>& chunk, int64_t channel) {
    constexpr int64_t kLanes = F32::kLanes;
    constexpr int64_t kFloats = kWinogradProducts<kTile> * kLanes;
    alignas(64) float even[kFloats], odd[kFloats], aside[kFloats];
    for (int64_t step = 0; step < b_.steps; ++step)
      for (int64_t t = 0; t < chunk.count; ++t) {
        const auto at = chunk.place(t);
        const auto transform = [&](int64_t c, float* to) {
          const auto tile = chunk.input(c, at, aside);
          transform_input<kTile>(tile.data, tile.row, tile.pixel, to, kLanes);
        };
        transform(channel + step * kTileTerms, even);
        transform(channel + step * kTileTerms + kLanes, odd);
        const int64_t row = t % (2 * b_.height);
        char* to = v(0, t / (2 * b_.height)) + step * kSplitXBytes + row / b_.height * kSplitParts * kTileBytes +
                   row % b_.height * kTileRowBytes;
        for (int64_t xi = 0; xi < kWinogradProducts<kTile>; ++xi, to += b_.v_step)
          split(F32::load(even + xi * kLanes), F32::load(odd + xi * kLanes), to, kTileBytes);
      }
  }

  // m = v * u for every xi, and u of the first xi of the panel `next` is split.
  void multiply(int64_t panel, int64_t next, int64_t count) {
    const int64_t u_bytes = p_.shape.in_group * kPanel * kFloatBytes;
    for (int64_t xi = 0; xi < kWinogradProducts<kTile>; ++xi) {
      const bool last = xi + 1 == kWinogradProducts<kTile>;
      const float* const following = last ? u(next, 0) : u(panel, xi + 1);
      for (int64_t t = 0, pair = 0; t < count; t += 2 * b_.height, ++pair) {
        const bool last_pair = t + 2 * b_.height >= count;
        const float* const split = last_pair ? following : nullptr;
        WeightAhead ahead{following, pair == 0 ? u_bytes : 0, b_.steps * kFetches};
        if (count - t > b_.height)
          multiply_pair<2>(v(xi, pair), split, ahead, m(xi) + t * kPanel);
        else
          multiply_pair<1>(v(xi, pair), split, ahead, m(xi) + t * kPanel);
      }
      slot_ = (slot_ + b_.steps) % b_.slots();
    }
  }

  static constexpr int64_t kFetches = 8;  // in a step

  // `following` is what is split on the way, or null.
  template <int kTiles>
  [[gnu::noinline]] void multiply_pair(const char* x, const float* following, WeightAhead& ahead, float* to) {
    tiles_.clear_sums();
    for (int64_t step = 0; step < b_.steps; ++step) {
      SplitWeight split;
      if (following != nullptr) split = splitting(following, step, slot(slot_ + step + b_.steps), kTiles == 2 ? 2 : 3);
      const auto fill = [&](int64_t gap) __attribute__((always_inline)) {
        split.split_some();
        if (gap % 3 == 0) ahead.fetch_some();
      };
      Bf16x3Step<kTiles, decltype(fill)>{tiles_, fill, split_x_at(x + step * kSplitXBytes),
                                         split_weight_at(slot(slot_ + step))}
          .run();
    }
    tiles_.template store_sums<0>(to);
    if constexpr (kTiles == 2) tiles_.template store_sums<1>(to + b_.height * kPanel);
    keep_order();
  }

  const Conv2d& p_;
  const Conv2dShare& share_;
  const Blocking<kTile> b_;
  Tiles tiles_;
  char* const scratch_;
  int64_t slot_ = 0;  // of the first step of the xi that is multiplied
};

template <int kTile>
void run(const Conv2d& p, const Conv2dShare& share, char* scratch) {
  const int64_t in_group = panels_in_group(p.shape);
  Products<kTile> products(p, share, scratch);
  for (int64_t begin = share.panel_begin; begin < share.panel_end;) {
    const int64_t end = min(share.panel_end, (begin / in_group + 1) * in_group);
    products.run(begin, end);
    begin = end;
  }
}

template <int kTile>
constexpr Conv2dAlgorithm algorithm(const char* name) {
  return {
      .name = name,
      .output_tile = kTile,
      .sums_rows = true,
      .packs_input = false,
      .accepts = accepts<kTile>,
      .panels = panels_of_groups,
      .rows = winograd_tile_rows<kTile>,
      .panel_bytes = panel_bytes<kTile>,
      .prepare = prepare<kTile>,
      .scratch_bytes = scratch_bytes<kTile>,
      .run = run<kTile>,
  };
}

}  // namespace

extern const Conv2dAlgorithm conv2d_winograd_4x4_bf16x3, conv2d_winograd_2x2_bf16x3;
const Conv2dAlgorithm conv2d_winograd_4x4_bf16x3 = algorithm<4>("winograd_4x4_bf16x3");
const Conv2dAlgorithm conv2d_winograd_2x2_bf16x3 = algorithm<2>("winograd_2x2_bf16x3");

}  // namespace lucid::LUCID_ISA
