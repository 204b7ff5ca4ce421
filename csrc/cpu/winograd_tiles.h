// The tiles of Winograd's algorithms (conv2d_winograd.cpp): those of a chunk, and how their outputs leave.
#pragma once

#include "blocking.h"
#include "cpu/conv2d_panel.h"
#include "cpu/conv2d_problem.h"
#include "winograd_transform.h"

namespace lucid::LUCID_ISA {

constexpr int64_t kOutputPiece = 8;  // channels that a group's outputs are a multiple of

template <int kTile>
constexpr int64_t kWinogradProducts = Filter<kTile>::kSize * Filter<kTile>::kSize;  // of a channel

template <int kTile>
int64_t winograd_tile_rows(const Conv2dShape& s) {
  return s.n * ceil_div(s.out_h, kTile);
}

// Tile t of the chunk is tile column (first + t) % columns of tile row row_begin + (first + t) / columns.
template <int kTile>
struct WinogradTiles {
  const Conv2d& p;
  const Conv2dShape& s;
  int64_t columns;  // tiles in a row
  int64_t row_begin, first, count;

  struct Place {
    int64_t n, h, w;  // of the tile's first output
    int64_t row;      // of tiles, those of all images numbered through
  };
  Place place(int64_t tile) const {
    const int64_t t = first + tile, row = row_begin + t / columns, rows = ceil_div(s.out_h, kTile);
    return {row / rows, row % rows * kTile, t % columns * kTile, row};
  }

  // The pixels under a tile, kLanes channels from c on: where they lie, or beside zeros in `aside`, where x comes
  // without its padding.
  struct Input {
    const float* data;
    int64_t row, pixel;
  };
  Input input(int64_t c, const Place& at, float* aside) const {
    constexpr int64_t kSize = Filter<kTile>::kSize;
    const InputView& x = p.operands.x;
    const int64_t top = at.h - s.padding_top, left = at.w - s.padding_left;
    if (p.operands.x_has_halo || (top >= 0 && left >= 0 && top + kSize <= s.h && left + kSize <= s.w))
      return {x.data + x.offset(c, at.n, top, left), x.row, x.pixel};
    float* to = aside;
    for (int64_t h = top; h < top + kSize; ++h)
      for (int64_t w = left; w < left + kSize; ++w, to += F32::kLanes) {
        const bool there = h >= 0 && h < s.h && w >= 0 && w < s.w;
        (there ? F32::load(x.data + x.offset(c, at.n, h, w)) : F32::zero()).store(to);
      }
    return {aside, kSize * F32::kLanes, F32::kLanes};
  }

  // m is [xi][tile][kPanel], the xi m_step floats apart.
  void transform_outputs(const Panel& panel, const float* m, int64_t m_step, const float* bias) const {
    constexpr int64_t kYBlock = OutputView::kBlock;
    const OutputView &y = p.operands.y, &residual = p.epilogue.residual;
    float* const row_sums = p.epilogue.row_sums;
    for (int64_t o = 0; o < panel.outputs; o += F32::kLanes) {
      const int64_t channel = panel.channel + o, outputs = min(F32::kLanes, panel.outputs - o);
      const bool whole = outputs == F32::kLanes && channel % kYBlock + F32::kLanes <= kYBlock;  // of one block of y
      for (int64_t t = 0; t < count; ++t) {
        const Place at = place(t);
        const TileOutput to{
            .y = y.at(channel, at.n, at.h, at.w),
            .row = y.row,
            .pixel = y.pixel,
            .residual = residual.data != nullptr ? residual.at(channel, at.n, at.h, at.w) : nullptr,
            .residual_row = residual.row,
            .residual_pixel = residual.pixel,
            .rows = min(kTile, s.out_h - at.h),
            .columns = min(kTile, s.out_w - at.w),
            .relu = p.epilogue.relu,
            .sums = row_sums != nullptr ? row_sums + at.row * s.out_channels() + channel : nullptr,
            .first_sum = at.w == 0,
        };
        if (whole)
          transform_output<kTile>(m + t * kPanel + o, m_step, bias + o, to);
        else
          transform_aside(m + t * kPanel + o, m_step, bias + o, channel, outputs, at, to);
      }
    }
  }

 private:
  // Outputs that do not fill a vector, or lie in two blocks of y: computed beside it and copied in pieces.
  void transform_aside(const float* m, int64_t m_step, const float* bias, int64_t channel, int64_t outputs,
                       const Place& at, TileOutput to) const {
    constexpr int64_t kLanes = F32::kLanes;
    alignas(64) float y[kTile * kTile * kLanes] = {}, residual[kTile * kTile * kLanes] = {};
    const auto for_pieces = [&](const auto& body) {
      for (int64_t i = 0; i < to.rows; ++i)
        for (int64_t j = 0; j < to.columns; ++j)
          for (int64_t o = 0; o < outputs; o += kOutputPiece) body(channel + o, i, j, (i * kTile + j) * kLanes + o);
    };
    if (to.residual != nullptr)
      for_pieces([&](int64_t c, int64_t i, int64_t j, int64_t place) {
        __builtin_memcpy(residual + place, p.epilogue.residual.at(c, at.n, at.h + i, at.w + j),
                         kOutputPiece * sizeof(float));
      });
    alignas(64) float sums[kLanes] = {};
    float* const row_sums = to.sums;
    if (row_sums != nullptr && !to.first_sum)
      __builtin_memcpy(sums, row_sums, static_cast<size_t>(outputs) * sizeof(float));
    to.sums = row_sums != nullptr ? sums : nullptr;
    to.y = y;
    to.residual = to.residual != nullptr ? residual : nullptr;
    to.row = to.residual_row = kTile * kLanes;
    to.pixel = to.residual_pixel = kLanes;
    transform_output<kTile>(m, m_step, bias, to);
    if (row_sums != nullptr) __builtin_memcpy(row_sums, sums, static_cast<size_t>(outputs) * sizeof(float));
    for_pieces([&](int64_t c, int64_t i, int64_t j, int64_t place) {
      __builtin_memcpy(p.operands.y.at(c, at.n, at.h + i, at.w + j), y + place, kOutputPiece * sizeof(float));
    });
  }
};

}  // namespace lucid::LUCID_ISA
