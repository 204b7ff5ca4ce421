#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"relu", LUCID_ATTRIBUTE_BOOL}};

// y = x * weight[c] + bias[c], which the kernel computes as (x - 0) * weight + bias.
class BatchNormStep final : public Step {
 public:
  BatchNormStep(std::vector<float> weight, std::vector<float> bias, bool relu, const Value& x, const Value& y)
      : weight_(std::move(weight)), bias_(std::move(bias)), relu_(relu), x_(x), y_(y) {}
  const char* algorithm() const override { return "batch_norm"; }

  // Means, weights and biases, for whole blocks of channels.
  int64_t weight_bytes() const override { return 3 * channels() * static_cast<int64_t>(sizeof(float)); }
  void pack_weights(std::byte* packed) override {
    float* constants = reinterpret_cast<float*>(packed);
    std::fill(constants, constants + 3 * channels(), 0.0f);
    std::copy(weight_.begin(), weight_.end(), constants + channels());
    std::copy(bias_.begin(), bias_.end(), constants + 2 * channels());
    constants_ = constants;
    weight_ = bias_ = {};
  }

  void run(const Run& run, const Team& team, std::byte*) const override {
    if (!y_.image) {
      if (team.id() == 0) normalize(x_.rows(run), constants_, y_.rows(run), y_.c, y_.n);
      return;
    }
    with_element(y_, [&](auto element) {
      const auto x = x_.view<decltype(element)>(run), y = y_.view<decltype(element)>(run);
      for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
        for (int64_t row = first; row < first + count; ++row)
          normalize(row_of(x, y_, block, row), constants_ + block * y.pixel, row_of(y, y_, block, row), y.pixel, y_.w);
      });
    });
    clear_halo(y_, run, team);
  }

 private:
  int64_t channels() const { return y_.blocks() * y_.layout.block; }

  template <class Element>
  void normalize(const Element* x, const float* constants, Element* y, int64_t c, int64_t pixels) const {
    kernel_for<Element>(kernels().batch_norm, kernels().batch_norm_bfloat16)({.x = x,
                                                                              .mean = constants,
                                                                              .scale = constants + channels(),
                                                                              .bias = constants + 2 * channels(),
                                                                              .residual = nullptr,
                                                                              .y = y,
                                                                              .c = c,
                                                                              .relu = relu_},
                                                                             0, pixels);
  }

  std::vector<float> weight_, bias_;  // until they are packed
  const float* constants_ = nullptr;
  bool relu_;
  const Value &x_, &y_;
};

// Weight and bias have the shape that the operator asks of mean and var, too.
lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  return check_batch_norm({.size = 0,
                           .x = x.get(),
                           .y = nullptr,
                           .weight = step.step.weight,
                           .bias = step.step.bias,
                           .mean = step.step.weight,
                           .var = step.step.weight,
                           .eps = 0.0,
                           .relu = step.flag("relu"),
                           .context = nullptr,
                           .residual = nullptr},
                          y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<BatchNormStep>(dense_copy(step.step.weight), dense_copy(step.step.bias), step.flag("relu"),
                                          values.x(), values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  made->constants = {vector_constant(step.step.weight), vector_constant(step.step.bias)};
  made->enqueue = [relu = step.flag("relu"), &x = values.x(), &y = values.y](const Call& call) {
    return call.cuda.batch_norm({.dtype = call.dtype,
                                 .pixels = y.n * y.h * y.w,
                                 .c = y.c,
                                 .x = call.at(x),
                                 .residual = nullptr,
                                 .mean = nullptr,
                                 .var = nullptr,
                                 .weight = call.vector(0),
                                 .bias = call.vector(1),
                                 .eps = 0.0,
                                 .relu = relu,
                                 .y = call.at(y)},
                                call.stream);
  };
  return ok();
}

}  // namespace

const StepKind batch_norm_step = {.described = {.name = "batch_norm",
                                                .fewest_inputs = 1,
                                                .most_inputs = 1,
                                                .attributes = kAttributes,
                                                .attribute_count = std::size(kAttributes),
                                                .weight = LUCID_REQUIRED,
                                                .bias = LUCID_REQUIRED},
                                  .check = check,
                                  .make = make,
                                  .launch = launch};

}  // namespace lucid::plan
