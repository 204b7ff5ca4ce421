// The most that the tile matrix unit can do: products of full tiles that stay in its registers.
//
// Four sums are independent, as in the product of bf16x3_product.h, with as much between two instructions.
#include <bf16x3_format.h>
#include <bf16x3_tiles.h>
#include <matrix_peak.h>

namespace lucid::LUCID_ISA {

int64_t matrix_peak(int64_t iterations, float* result) {
  alignas(64) char operand[kTileBytes] = {};  // zeros: they take as long as other numbers
  alignas(64) float sums[2 * kMostTileRows * kProductOutputs];
  Tiles tiles(kMostTileRows);
  tiles.clear_sums();
  tiles.load_x<0>(operand, kTileRowBytes);
  tiles.load_x<1>(operand, kTileRowBytes);
  tiles.load_weight<0>(operand);
  tiles.load_weight<1>(operand);
  for (int64_t step = 0; step < iterations; ++step) {
    tiles.multiply<0, 0>();
    space_out();
    space_out();
    tiles.multiply<0, 1>();
    space_out();
    space_out();
    tiles.multiply<1, 0>();
    space_out();
    space_out();
    tiles.multiply<1, 1>();
    space_out();
    space_out();
  }
  tiles.store_sums<0>(sums);
  tiles.store_sums<1>(sums + kMostTileRows * kProductOutputs);
  *result = sums[0];
  return iterations * 2 * (2 * kMostTileRows) * kProductOutputs * kTileTerms;
}

}  // namespace lucid::LUCID_ISA
