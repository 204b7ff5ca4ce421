// Steps on rows (n, c).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "plan/steps.h"

namespace lucid::plan {
namespace {

class LinearStep final : public Step {
 public:
  LinearStep(std::vector<float> weight, std::vector<float> bias, int64_t groups, bool relu, const Value& x,
             const Value& y)
      : groups_(groups),
        has_bias_(!bias.empty()),
        relu_(relu),
        x_(x),
        y_(y),
        given_weight_(std::move(weight)),
        given_bias_(std::move(bias)) {}
  const char* algorithm() const override { return "linear"; }
  int64_t weight_floats() const override { return y_.c * (x_.c / groups_ + (has_bias_ ? 1 : 0)); }
  void pack_weights(float* packed) override {
    weight_ = packed;
    std::copy(given_bias_.begin(), given_bias_.end(), std::copy(given_weight_.begin(), given_weight_.end(), packed));
    given_weight_ = {};
    given_bias_ = {};
  }

  double largest_share(int team) const override {
    const int64_t all = groups_ * tasks();
    return static_cast<double>((all + team - 1) / team) / static_cast<double>(all);
  }

  void run(const Run& run, const Team& team, float*) const override {
    const int64_t in = x_.c / groups_, out = y_.c / groups_, row_blocks = this->row_blocks(), tasks = this->tasks();
    const float* bias = has_bias_ ? weight_ + y_.c * in : nullptr;
    for (int64_t i = team.begin(groups_ * tasks); i < team.end(groups_ * tasks);) {
      const int64_t group = i / tasks, last = std::min(team.end(groups_ * tasks), (group + 1) * tasks);
      kernels().linear({.x = x_.rows(run.arena) + group * in,
                        .weight = weight_ + group * out * in,
                        .bias = bias != nullptr ? bias + group * out : nullptr,
                        .bias_stride = 1,
                        .y = y_.rows(run.arena) + group * out,
                        .rows = y_.n,
                        .in = in,
                        .outputs = out,
                        .x_row = x_.c,
                        .y_row = y_.c,
                        .row_blocks = row_blocks,
                        .relu = relu_},
                       i % tasks, last - group * tasks);
      i = last;
    }
  }

 private:
  int64_t row_blocks() const { return (y_.n + Linear::kRows - 1) / Linear::kRows; }
  int64_t tasks() const {
    return (y_.c / groups_ + Linear::kOutputs - 1) / Linear::kOutputs * row_blocks();
  }  // of a group

  int64_t groups_;
  bool has_bias_, relu_;
  const Value &x_, &y_;
  std::vector<float> given_weight_, given_bias_;  // until they are packed
  const float* weight_ = nullptr;
};

class SoftmaxStep final : public Step {
 public:
  SoftmaxStep(const Value& x, const Value& y) : x_(x), y_(y) {}
  const char* algorithm() const override { return "softmax"; }
  void run(const Run& run, const Team& team, float*) const override {
    for (int64_t n = team.begin(y_.n); n < team.end(y_.n); ++n) {
      const float* x = x_.rows(run.arena) + n * x_.c;
      float* y = y_.rows(run.arena) + n * y_.c;
      const float largest = *std::max_element(x, x + x_.c);
      float total = 0;
      for (int64_t c = 0; c < y_.c; ++c) total += y[c] = std::exp(x[c] - largest);
      for (int64_t c = 0; c < y_.c; ++c) y[c] /= total;
    }
  }

 private:
  const Value &x_, &y_;
};

}  // namespace

std::unique_ptr<Step> linear_step(std::vector<float> weight, std::vector<float> bias, int64_t groups, bool relu,
                                  const Value& x, const Value& y) {
  return std::make_unique<LinearStep>(std::move(weight), std::move(bias), groups, relu, x, y);
}
std::unique_ptr<Step> softmax_step(const Value& x, const Value& y) { return std::make_unique<SoftmaxStep>(x, y); }

}  // namespace lucid::plan
