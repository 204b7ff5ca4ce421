// The operands of a product of bfloat16 matrices whose rows of x are gathered.
#pragma once

#include <stdint.h>

namespace lucid::LUCID_ISA {

// What all blocks of a call have in common. A step is 32 terms of the sum: 64 bytes of every row of x.
struct ProductSteps {
  const int64_t* offsets;  // of the steps: bytes from the start of a row
  int64_t count;
  int64_t height;     // rows of a tile
  int64_t row_bytes;  // from one of them to the next
  bool relu;
};

// One product: y = max(0, bias + x * weight + residual), rounded to bfloat16.
struct ProductBlock {
  const char* x[2];         // of each tile: the first row
  const char* residual[2];  // likewise, in rows of 64 bytes; or null
  const char* weight;       // [steps][2][16][16][2]: halves of the outputs, pairs of terms, outputs
  const float* bias;        // [32]
  char* y;
  const int64_t* places[2];  // of a tile's 16 rows: bytes from y, or negative for a row that is not stored
  // What may be in memory still, and a product may fetch: weights that later ones need, from here on and so many bytes
  // further every step; x and what lies behind it, which no product has read yet.
  const char* prefetch;
  int64_t prefetch_bytes;
  bool first_use;
};

}  // namespace lucid::LUCID_ISA
