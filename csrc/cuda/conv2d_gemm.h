// A convolution as a product of matrices, which is never written down: rows are output pixels, columns the output
// channels of a group, and the depth is the sum's terms (conv2d_terms.h). What the kernels for CUDA cores and those for
// tensor cores share.
#pragma once

#include "cuda/conv2d_epilogue.h"
#include "cuda/conv2d_launch.h"
#include "cuda/conv2d_terms.h"

namespace lucid::cuda {

// Packed weights have this many terms more than a multiple of it could need, so that no loop asks where they end.
constexpr int64_t kGemmDepth = 32;

// How an algorithm packs weights: output channels in vectors, and a tap's terms, which may be more than its channels.
struct GemmLayout {
  int64_t vector, channels;
};

// What conv2d_pack() writes: the terms, and behind them the weights [group][term][channel]. Terms behind the last are
// outside of every image and have zero weights; so have channels that fill up a vector.
struct GemmPacking {
  int64_t channels, sum, terms, columns, weights;  // terms of a tap, of a sum, with those behind; weights of a group

  GemmPacking(const Conv2dShape& shape, const GemmLayout& layout)
      : channels(layout.channels),
        sum(layout.channels * shape.taps()),
        terms((sum + kGemmDepth - 1) / kGemmDepth * kGemmDepth),
        columns((shape.out_group + layout.vector - 1) / layout.vector * layout.vector),
        weights(terms * columns) {}
};

template <class T, class Weight>
struct GemmProblem {
  Conv2dShape shape;
  GemmPacking packing;
  const T* x;
  const Conv2dTerm* terms;
  const Weight* weights;
  Conv2dEpilogue<T> epilogue;
  int64_t pixels;
  unsigned column_tiles, across;  // tiles of a group's channels, and of all groups
};

template <class T, class Weight>
GemmProblem<T, Weight> gemm_problem(const Conv2d& arguments, const GemmLayout& layout, int64_t tile_columns) {
  const Conv2dShape& shape = arguments.shape;
  const GemmPacking packing(shape, layout);
  const auto* terms = static_cast<const Conv2dTerm*>(arguments.packed);
  const int64_t column_tiles = (shape.out_group + tile_columns - 1) / tile_columns;
  return {shape,
          packing,
          static_cast<const T*>(arguments.x),
          terms,
          reinterpret_cast<const Weight*>(terms + packing.terms),
          epilogue_of<T>(arguments),
          shape.out_rows() * shape.out_w,
          unsigned(column_tiles),
          unsigned(column_tiles * shape.groups)};
}

// Tiles of neighbouring channels run at the same time: they read the same pixels.
struct GemmPlace {
  int64_t group, column, pixel;
};

template <class Problem>
__device__ __forceinline__ GemmPlace gemm_place(const Problem& p, int64_t tile_rows, int64_t tile_columns) {
  const unsigned down = blockIdx.x / p.across, across = blockIdx.x - down * p.across, group = across / p.column_tiles;
  return {group, (across - group * p.column_tiles) * tile_columns, down * tile_rows};
}

// A tile's size, and the part of the peak that it reaches where there are enough of them.
struct GemmTile {
  int64_t rows, columns;
  double efficiency;
};

int64_t gemm_blocks(const Conv2dShape& shape, int64_t tile_rows, int64_t tile_columns);

// The tile with which the multiprocessor that has most to do has least, or all together wait least for the second
// cache; one of several is the first. A multiprocessor makes so many products while that cache delivers it an operand.
int best_gemm_tile(const Conv2dShape& shape, const GemmTile* tiles, int count, double products_per_operand);
template <int kCount>
int best_tile(const Conv2dShape& shape, const GemmTile (&tiles)[kCount], double products_per_operand) {
  return best_gemm_tile(shape, tiles, kCount, products_per_operand);
}

// conv2d_pack() with weights in float32, [group][term][channel].
size_t gemm_packed_bytes(const Conv2dShape& shape, const GemmLayout& layout);
Error pack_gemm(const Conv2dPack& arguments, const GemmLayout& layout, Stream stream);

// conv2d_pack() for tensor cores, with weights as elements of x (TF32 of float32), whose columns are multiples of a
// strip: [group][strip][32 bytes of terms][products 0 and 1, 2 and 3][lane][right matrices of two products]. Column n
// of product j is the strip's channel 8 * (n / 2) + 2 * j + n % 2: that is how a lane's sums are of neighbours.
constexpr int kGemmStrip = 32;
size_t gemm_fragments_bytes(const Conv2dShape& shape, const GemmLayout& layout, Dtype dtype);
Error pack_gemm_fragments(const Conv2dPack& arguments, const GemmLayout& layout, Stream stream);

}  // namespace lucid::cuda
