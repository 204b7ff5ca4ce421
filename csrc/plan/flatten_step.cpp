#include "core/status.h"
#include "ops/shapes.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

// (n, c, h, w) to (n, c * h * w).
class FlattenStep final : public Step {
 public:
  FlattenStep(const Value& x, const Value& y) : x_(x), y_(y) {}
  const char* algorithm() const override { return "flatten"; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const int64_t planes = x_.n * x_.c;
    float* y = y_.rows(run) + team.begin(planes) * x_.h * x_.w;
    with_element(x_, [&](auto element) {
      const auto x = x_.view<decltype(element)>(run);
      for (int64_t i = team.begin(planes); i < team.end(planes); ++i)
        for (int64_t h = 0; h < x_.h; ++h)
          for (int64_t w = 0; w < x_.w; ++w) *y++ = to_float(*x.at(i % x_.c, i / x_.c, h, w));
    });
  }

 private:
  const Value &x_, &y_;
};

lucid_status check(const Description& step, lucid_shape* y) {
  LUCID_CHECK(check_tensor("flatten", "x", ShapeOnly(step.inputs[0]).get(), 4, 4));
  const int64_t* x = step.inputs[0].sizes;
  *y = make_shape({x[0], x[1] * x[2] * x[3]});
  return ok();
}

lucid_status make(const Description&, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<FlattenStep>(values.x(), values.y);
  return ok();
}

lucid_status launch(const Description&, const Operands& values, Launch* made) {
  made->enqueue = [&x = values.x(), &y = values.y](const Call& call) {
    const int64_t pixels = x.h * x.w;
    return call.cuda.convert(
        conversion({x.n, x.c, x.h, x.w}, {call.at(x), call.dtype, {x.c * pixels, 1, x.w * x.c, x.c}},
                   {call.at(y), call.dtype, {x.c * pixels, pixels, x.w, 1}}),
        call.stream);
  };
  return ok();
}

}  // namespace

const StepKind flatten_step = {.described = {.name = "flatten",
                                             .fewest_inputs = 1,
                                             .most_inputs = 1,
                                             .attributes = nullptr,
                                             .attribute_count = 0,
                                             .weight = LUCID_ABSENT,
                                             .bias = LUCID_ABSENT},
                               .check = check,
                               .make = make,
                               .launch = launch};

}  // namespace lucid::plan
