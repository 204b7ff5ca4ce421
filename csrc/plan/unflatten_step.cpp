#include "core/status.h"
#include "ops/shapes.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

// (n, c) to (n, c, 1, 1).
class UnflattenStep final : public Step {
 public:
  UnflattenStep(const Value& x, const Value& y) : x_(x), y_(y) {}
  const char* algorithm() const override { return "unflatten"; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const float* x = x_.rows(run);
    with_element(y_, [&](auto element) {
      const auto y = y_.view<decltype(element)>(run);
      for (int64_t i = team.begin(x_.n * x_.c); i < team.end(x_.n * x_.c); ++i)
        assign(*y.at(i % x_.c, i / x_.c, 0, 0), x[i]);
    });
    clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  const Value &x_, &y_;
};

lucid_status check(const Description& step, lucid_shape* y) {
  LUCID_CHECK(check_tensor("unflatten", "x", ShapeOnly(step.inputs[0]).get(), 2, 2));
  *y = make_shape({step.inputs[0].sizes[0], step.inputs[0].sizes[1], 1, 1});
  return ok();
}

lucid_status make(const Description&, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<UnflattenStep>(values.x(), values.y);
  return ok();
}

lucid_status launch(const Description&, const Operands& values, Launch* made) {
  made->enqueue = [&x = values.x(), &y = values.y](const Call& call) {
    const auto bytes = static_cast<size_t>(y.bytes());
    return call.cuda.copy_on_device(call.at(y), call.at(x), bytes, call.stream);
  };
  return ok();
}

}  // namespace

const StepKind unflatten_step = {.described = {.name = "unflatten",
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
