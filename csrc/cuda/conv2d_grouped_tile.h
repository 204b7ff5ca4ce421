// How grouped_tensor_3x3 cuts its work: channels into slabs, and these into chunks for warps; images into tiles.
#pragma once

#include "cuda/backend.h"
#include "cuda/conv2d_launch.h"

namespace lucid::cuda::grouped {

constexpr int kWarp = 32, kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kTaps = 9, kVector = 8;
constexpr int kSlab = 64;               // channels
constexpr int kRows = 16, kTerms = 16;  // of a step
constexpr int kMostImages = 4;
constexpr int kMostShared = 48 * 1024;  // bytes: two blocks on any device
constexpr int kFragments = 4;           // of sixteen pixels, which a warp multiplies at once if it holds no weights

// Of a chunk of 8 outputs times kTiles, whose weights a warp holds: 5 steps of two taps, or 9.
template <int kTiles>
constexpr int kHeldSteps = kTiles == 1   ? 5
                           : kTiles == 2 ? 9
                                         : 0;

// Words of weights that a lane loads at once.
template <int kTiles>
constexpr int kLoaded = kTiles == 1 ? 2 : 4;

inline int round_up(int64_t value, int64_t multiple) { return int((value + multiple - 1) / multiple * multiple); }

// How a slab is cut for warps: each has a chunk, 8 outputs times `tiles` of one group.
struct Slabs {
  int in, out;               // channels of a group, with zeros
  int groups, count;         // groups of a slab, slabs
  int tiles, chunks, parts;  // 8 outputs of a chunk, chunks of a slab, warps for each
  int steps;                 // of a chunk's products
  int copied;                // pixels that all threads copy together

  explicit Slabs(const Conv2dShape& shape) {
    const bool eight = shape.in_group <= kVector && shape.out_group <= kVector;
    in = eight ? kVector : round_up(shape.in_group, kTerms);
    tiles = eight ? 1 : in == kTerms && shape.out_group <= 16 ? 2 : 4;
    out = round_up(shape.out_group, 8 * tiles);
    groups = kSlab / (in > out ? in : out);
    count = int((shape.groups + groups - 1) / groups);
    chunks = groups * chunks_of_group();
    parts = kWarps / chunks;
    steps = eight ? (kTaps + 1) / 2 : kTaps * (in / kTerms);
    copied = kThreads / vectors();
  }
  __host__ __device__ bool eight() const { return in == kVector; }
  __host__ __device__ int chunks_of_group() const { return out / (8 * tiles); }
  __host__ __device__ int step_words() const { return kWarp * tiles * 2; }  // of weights, two of them each
  __host__ __device__ int chunk_words() const { return steps * step_words(); }
  int64_t weights() const { return int64_t{count} * chunks * chunk_words() * 2; }
  int vectors() const { return groups * in / kVector; }  // of a pixel
};

// Where a pixel of a tile lies in shared memory, in bytes, and which one it is of x or y, from the block's first image
// on; -1 if there is none.
struct Spot {
  int32_t memory, pixel;
};

// What a block computes, `h` rows of `w` of each image, and its pixels: rows of which, with a stride of 2, the odd
// columns stand behind the even ones, so that neighbours among the outputs see neighbours.
struct ImageTile {
  int h, w, images, down, across;  // size, images at once, how many of them an image has
  int stride, rows, columns;
  int odd;  // where odd columns stand; without a stride, behind the last
  int pixel_bytes, row_bytes;

  __host__ __device__ int outputs() const { return images * h * w; }
  __host__ __device__ int pixels() const { return images * rows * columns; }
  __host__ __device__ int fragments() const { return (outputs() + kRows - 1) / kRows; }
  __host__ __device__ int pixel_memory() const { return images * rows * row_bytes; }
  int shared() const { return pixel_memory() + (pixels() + fragments() * kRows) * int(sizeof(Spot)); }
};

// About how long a block keeps a multiprocessor: what is done for its fragments, pixels and weights.
inline int64_t cost_of_block(const Slabs& slabs, const ImageTile& tile) {
  const int64_t fragments = int64_t{tile.fragments()} * slabs.chunks;
  const int64_t batches = slabs.tiles < 4 ? 1 : (fragments + kWarps * kFragments - 1) / (kWarps * kFragments);
  return fragments * (6 * slabs.steps + 16) + 4 * tile.pixels() + batches * kWarps * slabs.chunk_words() / 16;
}

inline ImageTile image_tile(const Conv2dShape& shape, const Slabs& slabs, int64_t h, int64_t w, int64_t images) {
  ImageTile tile{};
  const int stride = int(shape.stride_h);
  tile.h = int(h), tile.w = int(w), tile.images = int(images), tile.stride = stride;
  tile.down = int((shape.out_h + h - 1) / h), tile.across = int((shape.out_w + w - 1) / w);
  tile.rows = (tile.h - 1) * stride + 3;
  tile.columns = stride == 1 ? tile.w + 2 : 2 * (tile.w + 1);
  tile.odd = tile.columns / stride;
  // Eight outputs that are neighbours lie in all banks: vectors of a pixel are odd, and the first output of a row lies
  // as if it were behind the last of the row before it, or near that.
  constexpr int kBanks = 8;
  const int pixel = slabs.vectors() | 1, row = tile.columns * pixel;
  int more = 0;
  while (more < kBanks && (stride * (row + more) - tile.w * pixel) % kBanks > stride - 1) ++more;
  tile.pixel_bytes = pixel * kVector * 2;
  tile.row_bytes = (row + more % kBanks) * kVector * 2;
  return tile;
}

inline int64_t blocks_of(const Conv2dShape& shape, const Slabs& slabs, const ImageTile& tile) {
  return (shape.n + tile.images - 1) / tile.images * tile.down * tile.across * slabs.count;
}

// The tile with the least work for the multiprocessor that has most.
inline ImageTile best_image_tile(const Conv2dShape& shape, const Slabs& slabs) {
  const int64_t devices = multiprocessors();
  ImageTile best{};
  int64_t least = 0;
  const auto consider = [&](const ImageTile& tile) {
    if (tile.shared() > kMostShared) return false;
    const int64_t work = (blocks_of(shape, slabs, tile) + devices - 1) / devices * cost_of_block(slabs, tile);
    if (best.h == 0 || work < least) best = tile, least = work;
    return true;
  };
  for (int64_t across = 1; across <= shape.out_w; ++across) {
    const int64_t w = (shape.out_w + across - 1) / across;
    for (int64_t h = 1; h <= shape.out_h && consider(image_tile(shape, slabs, h, w, 1)); ++h) {
    }
    if (w <= kRows) break;
  }
  for (int64_t images = 2; images <= kMostImages && images <= shape.n; ++images)
    consider(image_tile(shape, slabs, shape.out_h, shape.out_w, images));
  return best;
}

}  // namespace lucid::cuda::grouped
