#include "ops/staging.h"

#include <algorithm>

#include "core/parallel.h"

namespace lucid {
namespace {

int64_t copy_size(const ImageView& v) { return v.dense_channels_last() ? 0 : v.n * v.c * v.h * v.w; }

// Calls move(view offset, dense offset) for every element, one row of pixels a task. Channels go by 16, so that both
// sides of a transposition stay within a few cache lines.
template <class Move>
void for_each_element(const ImageView& v, const Move& move) {
  constexpr int64_t kChannels = 16;
  parallel_for(v.n * v.h, grain_of(v.w * v.c), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t from = row / v.h * v.stride_n + row % v.h * v.stride_h, to = row * v.w * v.c;
      for (int64_t c0 = 0; c0 < v.c; c0 += kChannels)
        for (int64_t x = 0; x < v.w; ++x)
          for (int64_t c = c0; c < std::min(v.c, c0 + kChannels); ++c)
            move(from + x * v.stride_w + c * v.stride_c, to + x * v.c + c);
    }
  });
}

}  // namespace

StagedInput::StagedInput(const ImageView& view)
    : copy_(copy_size(view)), data_(view.dense_channels_last() ? view.data : copy_.data()) {
  if (data_ == view.data || data_ == nullptr) return;
  float* copy = copy_.data();
  for_each_element(view, [&](int64_t from, int64_t to) { copy[to] = view.data[from]; });
}

StagedOutput::StagedOutput(const ImageView& view)
    : view_(view), copy_(copy_size(view)), data_(view.dense_channels_last() ? view.data : copy_.data()) {}

void StagedOutput::finish() const {
  if (data_ == view_.data) return;
  for_each_element(view_, [&](int64_t to, int64_t from) { view_.data[to] = data_[from]; });
}

}  // namespace lucid
