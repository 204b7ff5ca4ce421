// Between the caller's memory and the plan's.
#include <cstring>

#include "plan/image_rows.h"

namespace lucid::plan {
namespace {

// Some channels of a row of pixels; strides in elements.
template <class From, class To>
void copy_pixels(const From* from, int64_t from_pixel, int64_t from_channel, To* to, int64_t to_pixel,
                 int64_t to_channel, int64_t pixels, int64_t channels) {
  constexpr int64_t kLine = kBlockOf<float>;
  if constexpr (std::is_same_v<From, To>)
    if (channels == kLine && from_channel == 1 && to_channel == 1) {  // channels-last: a cache line at a time
      for (int64_t w = 0; w < pixels; ++w) std::memcpy(to + w * to_pixel, from + w * from_pixel, kBlockBytes);
      return;
    }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t w = 0; w < pixels; ++w)
      assign(to[w * to_pixel + c * to_channel], to_float(from[w * from_pixel + c * from_channel]));
}

// A row of a photograph: the loop below for three planes, as pairs of channels, which compilers make vectors of.
void narrow_planes(const float* from, int64_t from_channel, Bfloat16* to, int64_t pixels) {
  constexpr int64_t kTogether = 32;
  const auto bits = [&](int64_t c, int64_t w) -> uint32_t { return to_bfloat16(from[c * from_channel + w]).bits; };
  for (int64_t first = 0; first < pixels; first += kTogether) {
    const int64_t end = std::min(first + kTogether, pixels);
    uint32_t pairs[2 * kTogether];
    for (int64_t w = first; w < end; ++w) {
      pairs[2 * (w - first)] = bits(0, w) | bits(1, w) << 16;
      pairs[2 * (w - first) + 1] = bits(2, w);
    }
    std::memcpy(to + first * kNarrowBlock, pairs, static_cast<size_t>(end - first) * sizeof(uint64_t));
  }
}

// A row of pixels of up to four channels, each written as a whole.
void narrow_pixels(const float* from, int64_t from_pixel, int64_t from_channel, Bfloat16* to, int64_t pixels,
                   int64_t channels) {
  if (channels == 3 && from_pixel == 1) return narrow_planes(from, from_channel, to, pixels);
  for (int64_t w = 0; w < pixels; ++w, from += from_pixel, to += kNarrowBlock) {
    uint64_t pixel = 0;
    for (int64_t c = 0; c < channels; ++c)
      pixel |= static_cast<uint64_t>(to_bfloat16(from[c * from_channel]).bits) << 16 * c;
    std::memcpy(to, &pixel, sizeof pixel);
  }
}

class ImportStep final : public Step {
 public:
  ImportStep(int input, const Value& y) : input_(input), y_(y) {}
  const char* algorithm() const override { return "import"; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const ImageView x = micro_batch_of(run.inputs[input_], run);
    if (!y_.image) {
      for (int64_t i = team.begin(y_.n * y_.c); i < team.end(y_.n * y_.c); ++i)
        y_.rows(run)[i] = x.data[i / y_.c * x.stride_n + i % y_.c * x.stride_c];
      return;
    }
    with_element(y_, [&](auto element) {
      const auto y = y_.view<decltype(element)>(run);
      for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
        const int64_t channel = block * y.pixel, channels = std::min(y.pixel, y_.c - channel);
        for (int64_t row = first; row < first + count; ++row) {
          const float* from = x.data + row / y_.h * x.stride_n + row % y_.h * x.stride_h + channel * x.stride_c;
          if constexpr (sizeof element == sizeof(Bfloat16))
            if (y.pixel == kNarrowBlock) {
              narrow_pixels(from, x.stride_w, x.stride_c, row_of(y, y_, block, row), y_.w, channels);
              continue;
            }
          copy_pixels(from, x.stride_w, x.stride_c, row_of(y, y_, block, row), y.pixel, 1, y_.w, channels);
        }
      });
    });
    if (y_.layout.block != kNarrowBlock) clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  int input_;
  const Value& y_;
};

class ExportStep final : public Step {
 public:
  ExportStep(const Value& x, int output) : x_(x), output_(output) {}
  const char* algorithm() const override { return "export"; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const ImageView y = micro_batch_of(run.outputs[output_], run);
    if (!x_.image) {
      for (int64_t i = team.begin(x_.n * x_.c); i < team.end(x_.n * x_.c); ++i)
        y.data[i / x_.c * y.stride_n + i % x_.c * y.stride_c] = x_.rows(run)[i];
      return;
    }
    with_element(x_, [&](auto element) {
      const auto x = x_.view<decltype(element)>(run);
      for_rows(x_, team, [&](int64_t block, int64_t first, int64_t count) {
        const int64_t channel = block * x.pixel, channels = std::min(x.pixel, x_.c - channel);
        for (int64_t row = first; row < first + count; ++row) {
          float* to = y.data + row / x_.h * y.stride_n + row % x_.h * y.stride_h + channel * y.stride_c;
          copy_pixels(row_of(x, x_, block, row), x.pixel, 1, to, y.stride_w, y.stride_c, x_.w, channels);
        }
      });
    });
  }

 private:
  const Value& x_;
  int output_;
};

}  // namespace

std::unique_ptr<Step> import_step(int input, const Value& y) { return std::make_unique<ImportStep>(input, y); }
std::unique_ptr<Step> export_step(const Value& x, int output) { return std::make_unique<ExportStep>(x, output); }

}  // namespace lucid::plan
