// The operands of products on their way, a little in every gap between two products: split into bfloat16, and fetched
// before that. In each gap as much is done as in the others, by loops of a constant length: a branch that is predicted
// wrongly keeps tiles from being loaded early. Counters that spread the same work over the gaps exactly cost a quarter
// of the whole time.
#pragma once

#include <bf16x3_format.h>
#include <bf16x3_split.h>
#include <stdint.h>
#include <vec.h>

#include "cpu/integers.h"

namespace lucid::LUCID_ISA {

// Two tiles of x, split as [step][tile][part][16][32].
struct SplitX {
  const float* data;
  const int64_t* places;  // of the pixels, in floats
  int64_t block;          // floats from 16 channels to the next
  int64_t pixels, height;
  char* to;

  // Part `gap` of kGaps of a step; what the next step reads is fetched.
  template <int kTiles, int kGaps>
  [[gnu::always_inline]] void split_some(int64_t step, int64_t gap) const {
#pragma GCC unroll 3
    for (int64_t i = kTiles * 16 * gap / kGaps; i < kTiles * 16 * (gap + 1) / kGaps; ++i) {
      const int64_t tile = i / 16, row = i % 16;
      const float* even = data + places[min(tile * height + row, pixels - 1)] + 2 * step * block;
      const float* odd = even + block;
      __builtin_prefetch(odd + block);
      __builtin_prefetch(odd + 2 * block);
      split(F32::load(even), F32::load(odd),
            to + step * kSplitXBytes + tile * kSplitParts * kTileBytes + row * kTileRowBytes, kTileBytes);
    }
  }
};

// Weights [32 * steps][32] that are multiplied next, split as [step][part][half][16][32], some vectors at a time.
struct SplitWeight {
  const float* data = nullptr;
  char* to = nullptr;
  int64_t vector = 0, vectors = 0;
  int64_t count = 0;  // at a time

  [[gnu::always_inline]] void split_some() {
    for (int64_t i = 0; i < count && vector < vectors; ++i, ++vector) {
      const int64_t step = vector / 32, row = vector / 2 % 16, half = vector % 2;
      const float* even = data + (step * kTileTerms + row) * kProductOutputs + half * 16;
      split(F32::load(even), F32::load(even + 16 * kProductOutputs),
            to + step * kSplitWeightBytes + half * kTileBytes + row * kTileRowBytes, 2 * kTileBytes);
    }
  }
  void finish() {
    count = vectors;
    split_some();
  }
};

// Weights that are read later, some lines at a time.
struct WeightAhead {
  const char* at = nullptr;
  int64_t lines = 0;
  int64_t count = 0;  // at a time

  WeightAhead() = default;
  WeightAhead(const void* from, int64_t bytes, int64_t times)
      : at(static_cast<const char*>(from)), lines(bytes / kBlockBytes), count(ceil_div(lines, times)) {}

  [[gnu::always_inline]] void fetch_some() {
    for (int64_t i = 0; i < count && lines > 0; ++i, --lines, at += kBlockBytes) __builtin_prefetch(at, 0, 2);
  }
};

// x that is split next, some lines at a time: of each block of 16 channels all pixels.
struct XAhead {
  const float* data = nullptr;
  const int64_t* places = nullptr;
  int64_t block = 0;  // floats from 16 channels to the next
  int64_t pixels = 0, pixel = 0;
  int64_t lines = 0;
  int64_t count = 0;  // at a time

  [[gnu::always_inline]] void fetch_some() {
    for (int64_t i = 0; i < count && lines > 0; ++i, --lines) {
      __builtin_prefetch(data + places[pixel]);
      if (++pixel == pixels) pixel = 0, data += block;
    }
  }
};

}  // namespace lucid::LUCID_ISA
