// What a convolution fetches from far away while its tiles compute.
#pragma once

#include "cpu/integers.h"
#include "cpu/layout.h"
#include "gemm_tile.h"

namespace lucid::LUCID_ISA {

// The input of the next tile, or weights.
struct Next {
  bool input;
  const char* weight;  // or null
  int64_t bytes;
};

// The prefetched addresses of a panel's tiles, evenly over all steps.
class Prefetch {
 public:
  // `tiles` of `terms` each; `weight` are those of the panel itself.
  Prefetch(const Next& next, int64_t tiles, int64_t terms, const float* weight)
      : next_(next), at_(next.weight), end_(next.weight + next.bytes), idle_(reinterpret_cast<const char*>(weight)) {
    const int64_t steps = tiles * terms / kPrefetchTerms;
    step_ = next.weight != nullptr && steps > 0 ? round_up(ceil_div(next.bytes, steps), 16) : 0;
  }

  // Under a tile of blocks of kBlock channels; `input` is that of the tile after it, its blocks `plane` floats apart.
  template <int kBlock>
  void set(GemmTile& tile, const float* input, int64_t plane) {
    if (next_.input) {
      tile.prefetch = reinterpret_cast<const char*>(input);
      tile.prefetch_step = 256;  // every second line: the processor fetches them in pairs
      tile.prefetch_block = plane * kFloatBytes;
      return;
    }
    const bool fetch = at_ < end_;
    tile.prefetch = fetch ? at_ : idle_;
    tile.prefetch_step = fetch ? step_ : 0;
    tile.prefetch_block = tile.prefetch_step * (kBlock / kPrefetchTerms);
    if (fetch) at_ += tile.blocks * kBlock / kPrefetchTerms * step_;
  }

 private:
  Next next_;
  const char *at_, *end_, *idle_;
  int64_t step_;
};

}  // namespace lucid::LUCID_ISA
