#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

class MulStep final : public Step {
 public:
  MulStep(const Value& a, const Value& b, const Value& y) : a_(a), b_(b), y_(y) {}
  const char* algorithm() const override { return "mul"; }

  // The sum over one split, whose weights are given.
  void run(const Run& run, const Team& team, std::byte*) const override {
    with_element(y_, [&](auto element) {
      using Element = decltype(element);
      SplitAttentionOf<Element> p{.x = as_input(a_.view<Element>(run)),
                                  .logits = nullptr,
                                  .weights = b_.rows(run),
                                  .y = y_.view<Element>(run),
                                  .h = y_.h,
                                  .w = y_.w,
                                  .radix = 1,
                                  .c = y_.c,
                                  .cardinality = 1,
                                  .first = 0,
                                  .last = 0};
      for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
        p.first = block * y_.layout.block;
        p.last = std::min(p.first + y_.layout.block, y_.c);
        kernel_for<Element>(kernels().split_attention, kernels().split_attention_bfloat16)(p, first, first + count);
      });
    });
    clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  const Value &a_, &b_, &y_;
};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly a(step.inputs[0]), b(step.inputs[1]);
  return check_mul({.size = 0, .a = a.get(), .b = b.get(), .y = nullptr, .context = nullptr}, y);
}

lucid_status make(const Description&, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<MulStep>(values.x(), *values.inputs[1], values.y);
  return ok();
}

lucid_status launch(const Description&, const Operands& values, Launch* made) {
  made->enqueue = [&a = values.x(), &b = *values.inputs[1], &y = values.y](const Call& call) {
    const int64_t pixels = y.h * y.w;
    return call.cuda.elementwise({.function = cuda::ElementwiseFunction::kMultiply,
                                  .dtype = call.dtype,
                                  .a = call.at(a),
                                  .b = call.at(b),
                                  .y = call.at(y),
                                  .dims = 3,
                                  .size = {y.n, pixels, y.c},
                                  .a_stride = {pixels * y.c, y.c, 1},
                                  .b_stride = {y.c, 0, 1},
                                  .y_stride = {pixels * y.c, y.c, 1},
                                  .relu = false},
                                 call.stream);
  };
  return ok();
}

}  // namespace

const StepKind mul_step = {.described = {.name = "mul",
                                         .fewest_inputs = 2,
                                         .most_inputs = 2,
                                         .attributes = nullptr,
                                         .attribute_count = 0,
                                         .weight = LUCID_ABSENT,
                                         .bias = LUCID_ABSENT},
                           .check = check,
                           .make = make,
                           .launch = launch};

}  // namespace lucid::plan
