// Photographs as inputs: bytes at the caller's, which are normalised as they are brought into the plan.
//
// A byte has 256 values, so what each becomes is computed once, for each channel, in the plan's dtype: then a value
// costs two loads and a store, whatever the formula, for planes and for pixels that lie side by side alike, and is to
// the last bit what lucid.data.normalize gives. Folded into the weights of a convolution, mean and std would change its
// padding from zeros to the mean.
#include <cmath>
#include <cstring>

#include "core/status.h"
#include "plan/image_rows.h"

namespace lucid::plan {
namespace {

constexpr int64_t kValues = 256;

float normalized(int64_t value, float mean, float std) { return (static_cast<float>(value) / 255.0f - mean) / std; }

// [c][kValues].
template <class Element>
std::vector<Element> table_of(const lucid_pixels& pixels, int64_t channels) {
  std::vector<Element> table(static_cast<size_t>(channels * kValues));
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t v = 0; v < kValues; ++v)
      assign(table[static_cast<size_t>(c * kValues + v)], normalized(v, pixels.mean[c], pixels.std[c]));
  return table;
}

// A row of bytes at the caller's; strides in bytes.
struct ByteRow {
  const uint8_t* data;
  int64_t pixel, channel;
};

// Some channels of a row; strides in elements.
template <class Element>
void look_up(const ByteRow& from, const Element* table, Element* to, int64_t to_pixel, int64_t to_channel,
             int64_t pixels, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c, table += kValues)
    for (int64_t w = 0; w < pixels; ++w)
      to[w * to_pixel + c * to_channel] = table[from.data[w * from.pixel + c * from.channel]];
}

// A row of pixels of up to four channels, each written as a whole.
template <int kChannels>
void look_up_narrow(const ByteRow& from, const Bfloat16* table, Bfloat16* to, int64_t pixels) {
  const uint8_t* bytes = from.data;
  for (int64_t w = 0; w < pixels; ++w, bytes += from.pixel, to += kNarrowBlock) {
    uint64_t pixel = 0;
    for (int c = 0; c < kChannels; ++c)
      pixel |= static_cast<uint64_t>(table[c * kValues + bytes[c * from.channel]].bits) << 16 * c;
    std::memcpy(to, &pixel, sizeof pixel);
  }
}

constexpr decltype(&look_up_narrow<1>) kLookUpNarrow[kNarrowBlock] = {look_up_narrow<1>, look_up_narrow<2>,
                                                                      look_up_narrow<3>, look_up_narrow<4>};

template <class Element>
class ImportPixelsStep final : public Step {
 public:
  ImportPixelsStep(int input, const lucid_pixels& pixels, const Value& y)
      : input_(input), table_(table_of<Element>(pixels, y.c)), y_(y) {}
  const char* algorithm() const override { return "import_pixels"; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    if (y_.stays_outside) return import_planes(run, team);
    const auto y = y_.view<Element>(run);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      const int64_t channel = block * y.pixel, channels = std::min(y.pixel, y_.c - channel);
      for (int64_t row = first; row < first + count; ++row) {
        const ByteRow from = row_at(run, row / y_.h, channel, row % y_.h);
        Element* const to = row_of(y, y_, block, row);
        const Element* const table = table_at(channel);
        if constexpr (std::is_same_v<Element, Bfloat16>)
          if (y.pixel == kNarrowBlock) {
            kLookUpNarrow[channels - 1](from, table, to, y_.w);
            continue;
          }
        look_up(from, table, to, y.pixel, 1, y_.w, channels);
      }
    });
    if (y_.layout.block != kNarrowBlock) clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  const Element* table_at(int64_t channel) const { return table_.data() + channel * kValues; }

  ByteRow row_at(const Run& run, int64_t n, int64_t c, int64_t h) const {
    const ImageView& x = run.inputs[input_];  // strides are in elements, which are bytes
    const auto* const bytes = reinterpret_cast<const uint8_t*>(x.data);
    return {bytes + (run.first + n) * x.stride_n + c * x.stride_c + h * x.stride_h, x.stride_w, x.stride_c};
  }

  void import_planes(const Run& run, const Team& team) const {
    if constexpr (std::is_same_v<Element, float>) {
      const ImageView y = y_.outside(run);
      const int64_t rows = y.n * y.c * y.h;
      for (int64_t i = team.begin(rows); i < team.end(rows); ++i) {
        const int64_t c = i / y.h % y.c;
        look_up(row_at(run, i / y.h / y.c, c, i % y.h), table_at(c), y.data + i * y.w, 1, 0, y.w, 1);
      }
    }
  }

  int input_;
  std::vector<Element> table_;
  const Value& y_;
};

}  // namespace

bool has_pixels(const lucid_pixels& pixels) { return pixels.mean != nullptr || pixels.std != nullptr; }

lucid_status check_pixels(int input, const lucid_pixels& pixels, const lucid_shape& shape) {
  if (pixels.mean == nullptr || pixels.std == nullptr)
    return fail(LUCID_INVALID_ARGUMENT, "plan: mean and std of input %d must be given together, got one", input);
  if (shape.ndim != 4)
    return fail(LUCID_INVALID_ARGUMENT,
                "plan: an input of pixels must be an image (n, c, h, w), got input %d of %d "
                "dimensions",
                input, shape.ndim);
  for (int64_t c = 0; c < shape.sizes[1]; ++c) {
    const float mean = pixels.mean[c], std = pixels.std[c];
    if (!std::isfinite(mean))
      return fail(LUCID_INVALID_ARGUMENT, "plan: the mean of input %d must be finite, got %g", input, mean);
    if (!std::isfinite(std) || std <= 0)
      return fail(LUCID_INVALID_ARGUMENT, "plan: the std of input %d must be positive and finite, got %g", input, std);
    if (!std::isfinite(normalized(0, mean, std)) || !std::isfinite(normalized(kValues - 1, mean, std)))
      return fail(LUCID_INVALID_ARGUMENT,
                  "plan: (v / 255 - mean) / std of input %d must be finite, got mean %g and std %g", input, mean, std);
  }
  return ok();
}

std::unique_ptr<Step> import_pixels_step(int input, const lucid_pixels& pixels, const Value& y) {
  if (y.is_bfloat16()) return std::make_unique<ImportPixelsStep<Bfloat16>>(input, pixels, y);
  return std::make_unique<ImportPixelsStep<float>>(input, pixels, y);
}

}  // namespace lucid::plan
