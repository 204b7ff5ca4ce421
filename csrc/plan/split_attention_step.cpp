#include <iterator>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"radix", LUCID_ATTRIBUTE_INT}, {"cardinality", LUCID_ATTRIBUTE_INT}};

// Every thread works out the weights of the channels that it then sums: a barrier less.
class SplitAttentionStep final : public Step {
 public:
  SplitAttentionStep(int64_t radix, int64_t cardinality, const Value& x, const Value& logits, const Value& y)
      : radix_(radix), cardinality_(cardinality), x_(x), logits_(logits), y_(y) {}
  const char* algorithm() const override { return "split_attention"; }
  int64_t scratch_bytes(int) const override { return y_.n * radix_ * y_.c * static_cast<int64_t>(sizeof(float)); }

  void run(const Run& run, const Team& team, std::byte* scratch) const override {
    with_element(y_, [&](auto element) { run_on<decltype(element)>(run, team, reinterpret_cast<float*>(scratch)); });
    clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  // Without its images, its logits and its channels.
  template <class Element>
  SplitAttentionOf<Element> problem(float* weights) const {
    return {.x = {},
            .logits = nullptr,
            .weights = weights,
            .y = {},
            .h = y_.h,
            .w = y_.w,
            .radix = radix_,
            .c = y_.c,
            .cardinality = cardinality_,
            .first = 0,
            .last = 0};
  }

  template <class Element>
  void run_on(const Run& run, const Team& team, float* weights) const {
    const int64_t block = y_.layout.block;
    const int64_t begin = team.begin(y_.blocks()) * block, end = std::min(team.end(y_.blocks()) * block, y_.c);
    SplitAttention logits = problem<float>(weights);
    logits.logits = logits_.rows(run);
    for (int64_t n = 0; n < y_.n; ++n) kernels().split_attention_weights(logits, n * y_.c + begin, n * y_.c + end);
    SplitAttentionOf<Element> p = problem<Element>(weights);
    p.x = as_input(x_.view<Element>(run));
    p.y = y_.view<Element>(run);
    for (p.first = begin; p.first < end; p.first = p.last) {
      p.last = std::min(p.first + block, end);
      kernel_for<Element>(kernels().split_attention, kernels().split_attention_bfloat16)(p, 0, y_.n * y_.h);
    }
  }

  int64_t radix_, cardinality_;
  const Value &x_, &logits_, &y_;
};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]), logits(step.inputs[1]);
  return check_split_attention({.size = 0,
                                .x = x.get(),
                                .logits = logits.get(),
                                .y = nullptr,
                                .radix = step.integer("radix"),
                                .cardinality = step.integer("cardinality"),
                                .context = nullptr},
                               y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<SplitAttentionStep>(step.integer("radix"), step.integer("cardinality"), values.x(),
                                               *values.inputs[1], values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  made->enqueue = [radix = step.integer("radix"), cardinality = step.integer("cardinality"), &x = values.x(),
                   &logits = *values.inputs[1], &y = values.y](const Call& call) {
    return call.cuda.split_attention({.dtype = call.dtype,
                                      .n = y.n,
                                      .pixels = y.h * y.w,
                                      .radix = radix,
                                      .c = y.c,
                                      .cardinality = cardinality,
                                      .x = call.at(x),
                                      .logits = call.at(logits),
                                      .y = call.at(y)},
                                     call.stream);
  };
  return ok();
}

}  // namespace

const StepKind split_attention_step = {.described = {.name = "split_attention",
                                                     .fewest_inputs = 2,
                                                     .most_inputs = 2,
                                                     .attributes = kAttributes,
                                                     .attribute_count = std::size(kAttributes),
                                                     .weight = LUCID_ABSENT,
                                                     .bias = LUCID_ABSENT},
                                       .check = check,
                                       .make = make,
                                       .launch = launch};

}  // namespace lucid::plan
