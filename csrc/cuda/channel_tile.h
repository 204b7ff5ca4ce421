// How blocks of threads cover pixels by channels: threads side by side take vectors of channels, which lie side by side
// in memory, and rows of such threads take a pixel each. What belongs to a channel stays in registers while a thread
// goes from pixel to pixel.
#pragma once

#include "cuda/divisor.h"
#include "cuda/elements.h"

namespace lucid::cuda {

struct ChannelTile {
  static constexpr int kThreads = 256;  // of a block at most
  int32_t lanes, rows;                  // threads for the vectors of a pixel, pixels at once
  int32_t channel_blocks;               // of `lanes` vectors; they are numbered first
  int32_t steps;                        // pixels of a thread
  int32_t vectors;                      // of a pixel
  int64_t pixels;
  Divisor by_lanes, by_channel_blocks;

  // Pixels of a block, which a thread meets `rows` apart.
  __host__ __device__ int64_t block_pixels() const { return static_cast<int64_t>(rows) * steps; }
  __host__ __device__ int64_t pixel_blocks() const { return (pixels + block_pixels() - 1) / block_pixels(); }

  int64_t blocks() const { return channel_blocks * pixel_blocks(); }
  // Whole warps.
  int64_t threads() const { return (static_cast<int64_t>(lanes) * rows + 31) / 32 * 32; }
};

// Blocks are of one size, and `steps` grows from `fewest` to `most` when that leaves enough of them: the sizes decide
// alone, not the device.
inline ChannelTile channel_tile(int64_t pixels, int64_t c, int64_t width, int64_t most_lanes, int64_t fewest,
                                int64_t most) {
  constexpr int64_t kEnoughBlocks = 1024;
  ChannelTile tile{};
  tile.pixels = pixels;
  tile.vectors = static_cast<int32_t>(c / width);
  tile.lanes = tile.rows = tile.steps = 1;
  if (pixels == 0 || c == 0) return tile;
  const int64_t channel_blocks = blocks_of(tile.vectors, most_lanes);
  const int64_t lanes = blocks_of(tile.vectors, channel_blocks);
  tile.channel_blocks = static_cast<int32_t>(channel_blocks);
  tile.lanes = static_cast<int32_t>(lanes);
  tile.rows = static_cast<int32_t>(ChannelTile::kThreads / lanes);
  int64_t steps = fewest;
  while (2 * steps <= most && blocks_of(pixels, tile.rows * steps * 2) * channel_blocks >= kEnoughBlocks) steps *= 2;
  tile.steps = static_cast<int32_t>(steps);
  tile.by_lanes = Divisor(lanes);
  tile.by_channel_blocks = Divisor(channel_blocks);
  return tile;
}

// Where a thread stands.
struct TilePlace {
  bool active;          // else it has nothing but barriers to pass
  int32_t lane, row;    // in the block
  int32_t vector;       // of channels, in the pixel
  int64_t pixel_block;  // of all, or of the image
  int64_t pixel, end;   // its first one, and the end of the block's

  __device__ __forceinline__ TilePlace(const ChannelTile& tile, uint32_t block) {
    const int32_t thread = static_cast<int32_t>(threadIdx.x);
    row = tile.by_lanes.quotient(thread);
    lane = tile.by_lanes.remainder(thread, row);
    const int32_t quotient = tile.by_channel_blocks.quotient(static_cast<int32_t>(block));
    vector = tile.by_channel_blocks.remainder(static_cast<int32_t>(block), quotient) * tile.lanes + lane;
    pixel_block = quotient;
    active = row < tile.rows && vector < tile.vectors;
    const int64_t begin = pixel_block * tile.block_pixels();
    pixel = begin + row;
    end = begin + tile.block_pixels() < tile.pixels ? begin + tile.block_pixels() : tile.pixels;
  }
};

}  // namespace lucid::cuda
