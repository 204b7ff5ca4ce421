#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"groups", LUCID_ATTRIBUTE_INT}, {"relu", LUCID_ATTRIBUTE_BOOL}};

template <class Element>
class LinearStep final : public Step {
 public:
  LinearStep(std::vector<float> weight, std::vector<float> bias, int64_t groups, bool relu, const Value& x,
             const Value& y)
      : groups_(groups), relu_(relu), x_(x), y_(y), weight_(std::move(weight)), bias_(std::move(bias)) {
    weights_ = static_cast<int64_t>(weight_.size()), biases_ = static_cast<int64_t>(bias_.size());
  }
  const char* algorithm() const override { return "linear"; }

  int64_t weight_bytes() const override {
    return weights_ * static_cast<int64_t>(sizeof(Element)) + biases_ * static_cast<int64_t>(sizeof(float));
  }
  void pack_weights(std::byte* packed) override {
    float* bias = reinterpret_cast<float*>(packed);
    Element* weight = reinterpret_cast<Element*>(std::copy(bias_.begin(), bias_.end(), bias));
    for (int64_t i = 0; i < weights_; ++i) assign(weight[i], weight_[i]);
    packed_bias_ = bias, packed_weight_ = weight;
    weight_ = bias_ = {};
  }

  double largest_share(int team) const override {
    const int64_t tasks = described({}).tasks();
    return static_cast<double>((tasks + team - 1) / team) / static_cast<double>(tasks);
  }

  double multiplications() const override { return static_cast<double>(x_.n) * static_cast<double>(weights_); }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const LinearOf<Element> p = described(run);
    kernel_for<Element>(kernels().linear, kernels().linear_bfloat16)(p, team.begin(p.tasks()), team.end(p.tasks()));
  }

 private:
  LinearOf<Element> described(const Run& run) const {
    return {.x = x_.rows(run),
            .weight = packed_weight_,
            .bias = biases_ > 0 ? packed_bias_ : nullptr,
            .bias_stride = 1,
            .y = y_.rows(run),
            .rows = y_.n,
            .in = x_.c / groups_,
            .outputs = y_.c / groups_,
            .groups = groups_,
            .relu = relu_};
  }

  int64_t groups_;
  bool relu_;
  const Value &x_, &y_;
  std::vector<float> weight_, bias_;  // until they are packed
  int64_t weights_, biases_;          // their numbers
  const float* packed_bias_ = nullptr;
  const Element* packed_weight_ = nullptr;
};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  return check_linear({.size = 0,
                       .x = x.get(),
                       .weight = step.step.weight,
                       .bias = step.step.bias,
                       .y = nullptr,
                       .groups = step.integer("groups"),
                       .context = nullptr},
                      y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  const auto make_of = [&](auto element) {
    *made = std::make_unique<LinearStep<decltype(element)>>(dense_copy(step.step.weight), dense_copy(step.step.bias),
                                                            step.integer("groups"), step.flag("relu"), values.x(),
                                                            values.y);
  };
  values.bfloat16 ? make_of(Bfloat16{}) : make_of(float{});
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  made->constants = {matrix_constant(step.step.weight), vector_constant(step.step.bias)};
  made->enqueue = [groups = step.integer("groups"), relu = step.flag("relu"), &x = values.x(),
                   &y = values.y](const Call& call) {
    return call.cuda.linear({.dtype = call.dtype,
                             .rows = y.n,
                             .in = x.c / groups,
                             .outputs = y.c / groups,
                             .groups = groups,
                             .x = call.at(x),
                             .weight = call.constant(0),
                             .bias = call.vector(1),
                             .relu = relu,
                             .y = call.at(y)},
                            call.stream);
  };
  return ok();
}

}  // namespace

const StepKind linear_step = {.described = {.name = "linear",
                                            .fewest_inputs = 1,
                                            .most_inputs = 1,
                                            .attributes = kAttributes,
                                            .attribute_count = std::size(kAttributes),
                                            .weight = LUCID_REQUIRED,
                                            .bias = LUCID_OPTIONAL},
                              .check = check,
                              .make = make,
                              .launch = launch};

}  // namespace lucid::plan
