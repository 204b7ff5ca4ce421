// Steps on images other than convolutions. A plan's image is, for each block of 16 channels, a channels-last image of
// its own; so the operators' kernels run on it block by block.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "plan/steps.h"

namespace lucid::plan {
namespace {

// Calls body(block, first, count) for this thread's share of rows, those of all images of a block numbered through.
template <class Body>
void for_rows(const Value& v, const Team& team, const Body& body) {
  const int64_t rows = v.n * v.h, tasks = v.blocks() * rows;
  for (int64_t i = team.begin(tasks); i < team.end(tasks);) {
    const int64_t first = i % rows, count = std::min(rows - first, team.end(tasks) - i);
    body(i / rows, first, count);
    i += count;
  }
}

float* row_of(const OutputView& view, const Value& v, int64_t block, int64_t row) {
  return view.data + block * view.block + row / v.h * view.image + row % v.h * view.row;
}

class Pool2dStep final : public Step {
 public:
  Pool2dStep(const Pool2d& pool, const Value& x, const Value& y) : pool_(pool), x_(x), y_(y) {}
  const char* algorithm() const override { return pool_.max ? "max_pool2d" : "avg_pool2d"; }
  void run(const Run& run, const Team& team, float*) const override {
    const OutputView x = x_.view(run.arena), y = y_.view(run.arena);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      Pool2d pool = pool_;
      pool.c = kBlock;
      pool.x = {x.data + block * x.block, x.image, x.row, x.pixel};
      pool.y = {y.data + block * y.block, y.image, y.row, y.pixel};
      kernels().pool2d(pool, first, first + count);
    });
    clear_margins(y_, run.arena, team);
  }

 private:
  Pool2d pool_;
  const Value &x_, &y_;
};

// Whether the splits of a radix begin at blocks.
bool splits_at_blocks(int64_t radix, int64_t c) { return radix == 1 || c % kBlock == 0; }

class GlobalAvgPool2dStep final : public Step {
 public:
  GlobalAvgPool2dStep(int64_t radix, const Value& x, const Value& y) : radix_(radix), x_(x), y_(y) {}
  const char* algorithm() const override { return "global_avg_pool2d"; }
  void run(const Run& run, const Team& team, float*) const override {
    const OutputView x = x_.view(run.arena);
    float* y = y_.rows(run.arena);
    if (!splits_at_blocks(radix_, y_.c)) return run_by_channel(x, y, team);
    for (int64_t block = team.begin(y_.blocks()); block < team.end(y_.blocks()); ++block)
      for (int64_t n = 0; n < y_.n; ++n) {
        const int64_t c = block * kBlock;
        kernels().global_avg_pool2d({.x = {x.data + block * x.block, x.image, x.row, x.pixel},
                                     .x_radix = y_.blocks() * x.block,
                                     .y = y + c,
                                     .y_image = y_.c,
                                     .h = x_.h,
                                     .w = x_.w,
                                     .radix = radix_,
                                     .c = std::min(kBlock, y_.c - c),
                                     .channel_blocks = 1},
                                    n, n + 1);
      }
  }

 private:
  void run_by_channel(const OutputView& x, float* y, const Team& team) const {
    const int64_t values = y_.n * y_.c;
    for (int64_t i = team.begin(values); i < team.end(values); ++i) {
      double total = 0;
      for (int64_t r = 0; r < radix_; ++r)
        for (int64_t h = 0; h < x_.h; ++h)
          for (int64_t w = 0; w < x_.w; ++w) total += *x.at(r * y_.c + i % y_.c, i / y_.c, h, w);
      y[i] = static_cast<float>(total / static_cast<double>(x_.h * x_.w));
    }
  }

  int64_t radix_;
  const Value &x_, &y_;
};

// Global average pooling of what a convolution has summed up row by row while it was in registers.
class SumRowsStep final : public Step {
 public:
  SumRowsStep(int64_t radix, const Value& x, const Value& row_sums, const Value& y)
      : radix_(radix), x_(x), row_sums_(row_sums), y_(y) {}
  const char* algorithm() const override { return "sum_rows"; }
  void run(const Run& run, const Team& team, float*) const override {
    const float* sums = row_sums_.rows(run.arena);
    float* y = y_.rows(run.arena);
    const int64_t rows = row_sums_.n / y_.n, begin = team.begin(y_.c), end = team.end(y_.c);
    // In double: a deep ResNeSt's attention amplifies the error of these few sums a hundred times.
    const double pixels = static_cast<double>(x_.h * x_.w);
    for (int64_t n = 0; n < y_.n; ++n)
      for (int64_t c = begin; c < end; ++c) {
        double total = 0;
        for (int64_t row = n * rows; row < (n + 1) * rows; ++row)
          for (int64_t r = 0; r < radix_; ++r) total += static_cast<double>(sums[row * row_sums_.c + r * y_.c + c]);
        y[n * y_.c + c] = static_cast<float>(total / pixels);
      }
  }

 private:
  int64_t radix_;
  const Value &x_, &row_sums_, &y_;
};

// Every thread works out the weights of the channels that it then sums: a barrier less.
class SplitAttentionStep final : public Step {
 public:
  SplitAttentionStep(int64_t radix, int64_t cardinality, const Value& x, const Value& logits, const Value& y)
      : radix_(radix), cardinality_(cardinality), x_(x), logits_(logits), y_(y) {}
  const char* algorithm() const override { return "split_attention"; }
  int64_t scratch_floats(int) const override { return y_.n * radix_ * y_.c; }
  void run(const Run& run, const Team& team, float* scratch) const override {
    const OutputView x = x_.view(run.arena), y = y_.view(run.arena);
    SplitAttention p{.x = {},
                     .x_radix = 0,
                     .logits = logits_.rows(run.arena),
                     .weights = scratch,
                     .y = {},
                     .h = y_.h,
                     .w = y_.w,
                     .radix = radix_,
                     .c = y_.c,
                     .channels = kBlock,
                     .cardinality = cardinality_};
    const int64_t first = team.begin(y_.blocks()), last = team.end(y_.blocks());
    for (int64_t n = 0; n < y_.n; ++n)
      kernels().split_attention_weights(p, n * y_.c + first * kBlock, n * y_.c + std::min(last * kBlock, y_.c));
    if (splits_at_blocks(radix_, y_.c)) {
      for (int64_t block = first; block < last; ++block) {
        p.x = {x.data + block * x.block, x.image, x.row, x.pixel};
        p.x_radix = y_.blocks() * x.block;
        p.y = {y.data + block * y.block, y.image, y.row, y.pixel};
        p.weights = scratch + block * kBlock;
        p.channels = std::min(kBlock, y_.c - block * kBlock);
        kernels().split_attention(p, 0, y_.n * y_.h);
      }
    } else {
      sum_by_channel(x, y, scratch, first * kBlock, std::min(last * kBlock, y_.c));
    }
    clear_margins(y_, run.arena, team);
  }

 private:
  void sum_by_channel(const OutputView& x, const OutputView& y, const float* weights, int64_t begin,
                      int64_t end) const {
    for (int64_t n = 0; n < y_.n; ++n)
      for (int64_t c = begin; c < end; ++c)
        for (int64_t h = 0; h < y_.h; ++h)
          for (int64_t w = 0; w < y_.w; ++w) {
            float sum = 0;
            for (int64_t r = 0; r < radix_; ++r)
              sum += weights[(n * radix_ + r) * y_.c + c] * *x.at(r * y_.c + c, n, h, w);
            *y.at(c, n, h, w) = sum;
          }
  }

  int64_t radix_, cardinality_;
  const Value &x_, &logits_, &y_;
};

// y = x * scale[c] + shift[c].
class BatchNormStep final : public Step {
 public:
  BatchNormStep(std::vector<float> scale, std::vector<float> shift, bool relu, const Value& x, const Value& y)
      : scale_(std::move(scale)), shift_(std::move(shift)), relu_(relu), x_(x), y_(y) {}
  const char* algorithm() const override { return "batch_norm"; }
  // As the kernel has it: (x - mean) * scale + bias, for whole blocks of channels.
  int64_t weight_floats() const override { return 3 * y_.blocks() * kBlock; }
  void pack_weights(float* packed) override {
    constants_ = packed;
    const int64_t size = y_.blocks() * kBlock;
    std::fill(packed, packed + 3 * size, 0.0f);
    std::copy(scale_.begin(), scale_.end(), packed + size);
    std::copy(shift_.begin(), shift_.end(), packed + 2 * size);
  }
  void run(const Run& run, const Team& team, float*) const override {
    const float* constants = constants_;
    const int64_t size = y_.blocks() * kBlock;
    if (!y_.image) {
      if (team.id() == 0)
        kernels().batch_norm(
            {x_.rows(run.arena), constants, constants + size, constants + 2 * size, y_.rows(run.arena), y_.c, relu_}, 0,
            y_.n);
      return;
    }
    const OutputView x = x_.view(run.arena), y = y_.view(run.arena);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      const float* c = constants + block * kBlock;
      for (int64_t row = first; row < first + count; ++row)
        kernels().batch_norm(
            {row_of(x, y_, block, row), c, c + size, c + 2 * size, row_of(y, y_, block, row), kBlock, relu_}, 0, y_.w);
    });
    clear_margins(y_, run.arena, team);
  }

 private:
  std::vector<float> scale_, shift_;
  const float* constants_ = nullptr;
  bool relu_;
  const Value &x_, &y_;
};

// Functions of one or two values of the same shape, element by element.
enum class Function { kAdd, kAddRelu, kRelu, kSigmoid };

class ElementwiseStep final : public Step {
 public:
  ElementwiseStep(Function function, const Value& a, const Value& b, const Value& y)
      : function_(function), a_(a), b_(b), y_(y) {}
  const char* algorithm() const override {
    switch (function_) {
      case Function::kRelu: return "relu";
      case Function::kSigmoid: return "sigmoid";
      default: return "add";
    }
  }
  void run(const Run& run, const Team& team, float*) const override {
    if (!y_.image) {
      const int64_t floats = y_.n * y_.c, first = team.begin(floats);
      return apply(a_.rows(run.arena) + first, b_.rows(run.arena) + first, y_.rows(run.arena) + first,
                   team.end(floats) - first);
    }
    const OutputView a = a_.view(run.arena), b = b_.view(run.arena), y = y_.view(run.arena);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      for (int64_t row = first; row < first + count; ++row)
        apply(row_of(a, y_, block, row), row_of(b, y_, block, row), row_of(y, y_, block, row), y_.w * kBlock);
    });
    clear_margins(y_, run.arena, team);
  }

 private:
  void apply(const float* a, const float* b, float* y, int64_t floats) const {
    Elementwise p{
        .a = a, .b = b, .y = y, .dims = 1, .size = {floats}, .a_stride = {1}, .b_stride = {1}, .y_stride = {1}};
    if (function_ == Function::kSigmoid) {
      for (int64_t i = 0; i < floats; ++i) y[i] = 1.0f / (1.0f + std::exp(-a[i]));
      return;
    }
    if (function_ != Function::kRelu) kernels().add(p, 0, floats);
    if (function_ == Function::kAdd) return;
    if (function_ == Function::kAddRelu) p.a = y;
    kernels().relu(p, 0, floats);
  }

  Function function_;
  const Value &a_, &b_, &y_;
};

// Some channels of a row of pixels, between a plan's layout and the caller's; strides in floats.
void copy_pixels(const float* from, int64_t from_pixel, int64_t from_channel, float* to, int64_t to_pixel,
                 int64_t to_channel, int64_t pixels, int64_t channels) {
  if (channels == kBlock && from_channel == 1 && to_channel == 1) {  // channels-last: a cache line at a time
    for (int64_t w = 0; w < pixels; ++w) std::memcpy(to + w * to_pixel, from + w * from_pixel, kBlock * sizeof(float));
    return;
  }
  for (int64_t w = 0; w < pixels; ++w)
    for (int64_t c = 0; c < channels; ++c) to[w * to_pixel + c * to_channel] = from[w * from_pixel + c * from_channel];
}

// Between the caller's memory and the plan's.
class ImportStep final : public Step {
 public:
  ImportStep(int input, const Value& y) : input_(input), y_(y) {}
  const char* algorithm() const override { return "import"; }
  void run(const Run& run, const Team& team, float*) const override {
    const ImageView& x = run.inputs[input_];
    if (!y_.image) {
      for (int64_t i = team.begin(y_.n * y_.c); i < team.end(y_.n * y_.c); ++i)
        y_.rows(run.arena)[i] = x.data[i / y_.c * x.stride_n + i % y_.c * x.stride_c];
      return;
    }
    const OutputView y = y_.view(run.arena);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      const int64_t channels = std::min(kBlock, y_.c - block * kBlock);
      for (int64_t row = first; row < first + count; ++row) {
        float* to = row_of(y, y_, block, row);
        const float* from = x.data + row / y_.h * x.stride_n + row % y_.h * x.stride_h + block * kBlock * x.stride_c;
        copy_pixels(from, x.stride_w, x.stride_c, to, kBlock, 1, y_.w, channels);
      }
    });
    clear_margins(y_, run.arena, team);
  }

 private:
  int input_;
  const Value& y_;
};

class ExportStep final : public Step {
 public:
  ExportStep(const Value& x, int output) : x_(x), output_(output) {}
  const char* algorithm() const override { return "export"; }
  void run(const Run& run, const Team& team, float*) const override {
    const ImageView& y = run.outputs[output_];
    if (!x_.image) {
      for (int64_t i = team.begin(x_.n * x_.c); i < team.end(x_.n * x_.c); ++i)
        y.data[i / x_.c * y.stride_n + i % x_.c * y.stride_c] = x_.rows(run.arena)[i];
      return;
    }
    const OutputView x = x_.view(run.arena);
    for_rows(x_, team, [&](int64_t block, int64_t first, int64_t count) {
      const int64_t channels = std::min(kBlock, x_.c - block * kBlock);
      for (int64_t row = first; row < first + count; ++row) {
        const float* from = row_of(x, x_, block, row);
        float* to = y.data + row / x_.h * y.stride_n + row % x_.h * y.stride_h + block * kBlock * y.stride_c;
        copy_pixels(from, kBlock, 1, to, y.stride_w, y.stride_c, x_.w, channels);
      }
    });
  }

 private:
  const Value& x_;
  int output_;
};

// (n, c, h, w) to (n, c * h * w).
class FlattenStep final : public Step {
 public:
  FlattenStep(const Value& x, const Value& y) : x_(x), y_(y) {}
  const char* algorithm() const override { return "flatten"; }
  void run(const Run& run, const Team& team, float*) const override {
    const OutputView x = x_.view(run.arena);
    const int64_t planes = x_.n * x_.c;
    float* y = y_.rows(run.arena) + team.begin(planes) * x_.h * x_.w;
    for (int64_t i = team.begin(planes); i < team.end(planes); ++i)
      for (int64_t h = 0; h < x_.h; ++h)
        for (int64_t w = 0; w < x_.w; ++w) *y++ = *x.at(i % x_.c, i / x_.c, h, w);
  }

 private:
  const Value &x_, &y_;
};

// (n, c) to (n, c, 1, 1).
class UnflattenStep final : public Step {
 public:
  UnflattenStep(const Value& x, const Value& y) : x_(x), y_(y) {}
  const char* algorithm() const override { return "unflatten"; }
  void run(const Run& run, const Team& team, float*) const override {
    const OutputView y = y_.view(run.arena);
    const float* x = x_.rows(run.arena);
    for (int64_t i = team.begin(x_.n * x_.c); i < team.end(x_.n * x_.c); ++i) *y.at(i % x_.c, i / x_.c, 0, 0) = x[i];
    clear_margins(y_, run.arena, team);
  }

 private:
  const Value &x_, &y_;
};

}  // namespace

std::unique_ptr<Step> pool2d_step(const Pool2d& pool, const Value& x, const Value& y) {
  return std::make_unique<Pool2dStep>(pool, x, y);
}
std::unique_ptr<Step> global_avg_pool2d_step(int64_t radix, const Value& x, const Value* row_sums, const Value& y) {
  if (row_sums != nullptr) return std::make_unique<SumRowsStep>(radix, x, *row_sums, y);
  return std::make_unique<GlobalAvgPool2dStep>(radix, x, y);
}
std::unique_ptr<Step> split_attention_step(int64_t radix, int64_t cardinality, const Value& x, const Value& logits,
                                           const Value& y) {
  return std::make_unique<SplitAttentionStep>(radix, cardinality, x, logits, y);
}
std::unique_ptr<Step> batch_norm_step(std::vector<float> scale, std::vector<float> shift, bool relu, const Value& x,
                                      const Value& y) {
  return std::make_unique<BatchNormStep>(std::move(scale), std::move(shift), relu, x, y);
}
std::unique_ptr<Step> add_step(bool relu, const Value& a, const Value& b, const Value& y) {
  return std::make_unique<ElementwiseStep>(relu ? Function::kAddRelu : Function::kAdd, a, b, y);
}
std::unique_ptr<Step> relu_step(const Value& x, const Value& y) {
  return std::make_unique<ElementwiseStep>(Function::kRelu, x, x, y);
}
std::unique_ptr<Step> sigmoid_step(const Value& x, const Value& y) {
  return std::make_unique<ElementwiseStep>(Function::kSigmoid, x, x, y);
}
std::unique_ptr<Step> flatten_step(const Value& x, const Value& y) { return std::make_unique<FlattenStep>(x, y); }
std::unique_ptr<Step> unflatten_step(const Value& x, const Value& y) { return std::make_unique<UnflattenStep>(x, y); }
std::unique_ptr<Step> import_step(int input, const Value& y) { return std::make_unique<ImportStep>(input, y); }
std::unique_ptr<Step> export_step(const Value& x, int output) { return std::make_unique<ExportStep>(x, output); }

}  // namespace lucid::plan
