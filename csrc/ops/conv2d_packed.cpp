#include "ops/conv2d_packed.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

namespace lucid {
namespace {

constexpr int64_t kBlock = InputView::kBlock;

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

bool reads_in_place(const Conv2d& p) { return p.operands.x.channel == 1 && p.shape.in_channels() % kBlock == 0; }

// Pixels that whole tiles of outputs see.
int64_t seen(int64_t out, int64_t tile, int64_t stride, int64_t kernel, int64_t dilation) {
  return (round_up(out, tile) - 1) * stride + (kernel - 1) * dilation + 1;
}

}  // namespace

PackedOperands::PackedOperands(const Conv2d& p, const Conv2dAlgorithm& algorithm)
    : x_in_place_(reads_in_place(p)),
      h_(seen(p.shape.out_h, algorithm.output_tile, p.shape.stride_h, p.shape.kernel_h, p.shape.dilation_h)),
      w_(seen(p.shape.out_w, algorithm.output_tile, p.shape.stride_w, p.shape.kernel_w, p.shape.dilation_w)),
      x_(x_in_place_ ? 0 : round_up(p.shape.in_channels(), kBlock) * p.shape.n * h_ * w_),
      weights_(p.operands.prepared != nullptr ? 0 : algorithm.panels(p.shape) * algorithm.panel_bytes(p.shape)) {}

Conv2d PackedOperands::pack(const Conv2d& p, const Conv2dAlgorithm& algorithm) const {
  Conv2d packed = p;
  if (p.operands.prepared == nullptr) {
    pack_weights(p, algorithm);
    packed.operands.prepared = weights_.data();
  }
  if (!x_in_place_) {
    packed.operands.x = pack_x(p);
    packed.operands.x_has_halo = true;
  }
  return packed;
}

void PackedOperands::pack_weights(const Conv2d& p, const Conv2dAlgorithm& algorithm) const {
  const int64_t bytes = algorithm.panel_bytes(p.shape);
  parallel_for(algorithm.panels(p.shape), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) algorithm.prepare(p, i, weights_.data() + i * bytes);
  });
}

InputView PackedOperands::pack_x(const Conv2d& p) const {
  const Conv2dShape& s = p.shape;
  const int64_t blocks = round_up(s.in_channels(), kBlock) / kBlock;
  parallel_for(blocks * s.n * h_, grain_of(w_ * kBlock), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) pack_row(p, i / h_ / s.n * kBlock, i / h_ % s.n, i % h_);
  });
  const int64_t row = w_ * kBlock, image = h_ * row;
  return {.data = x_.data() + s.padding_top * row + s.padding_left * kBlock,
          .channel = 1,
          .block = s.n * image,
          .image = image,
          .row = row,
          .pixel = kBlock};
}

// Of the block that begins with a channel. Rows are numbered from the padding on.
void PackedOperands::pack_row(const Conv2d& p, int64_t channel, int64_t image, int64_t row) const {
  const Conv2dShape& s = p.shape;
  const InputView& x = p.operands.x;
  float* to = x_.data() + ((channel / kBlock * s.n + image) * h_ + row) * w_ * kBlock;
  float* const end = to + w_ * kBlock;
  const int64_t h = row - s.padding_top, channels = std::min(kBlock, s.in_channels() - channel);
  if (h < 0 || h >= s.h) {
    std::fill(to, end, 0.0f);
    return;
  }
  to = std::fill_n(to, s.padding_left * kBlock, 0.0f);
  // A valid padding may leave columns out at the end.
  for (int64_t w = 0; w < s.w && to < end; ++w, to += kBlock) {
    const float* from = x.data + x.offset(channel, image, h, w);
    if (x.channel == 1 && channels == kBlock) {
      std::memcpy(to, from, kBlock * sizeof(float));
    } else {
      for (int64_t c = 0; c < channels; ++c) to[c] = from[c * x.channel];
      std::fill(to + channels, to + kBlock, 0.0f);
    }
  }
  std::fill(to, end, 0.0f);
}

}  // namespace lucid
