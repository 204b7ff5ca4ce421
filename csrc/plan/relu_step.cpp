#include "core/status.h"
#include "ops/checks.h"
#include "plan/elementwise_step.h"

namespace lucid::plan {
namespace {

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  return check_relu({.size = 0, .x = x.get(), .y = nullptr, .context = nullptr}, y);
}

lucid_status make(const Description&, const Operands& values, std::unique_ptr<Step>* made) {
  *made = elementwise_step("relu", {&Kernels::relu, &Kernels::relu_bfloat16}, false, values.x(), values.x(), values.y);
  return ok();
}

lucid_status launch(const Description&, const Operands& values, Launch* made) {
  made->enqueue = elementwise_kernel(cuda::ElementwiseFunction::kRelu, false, values.x(), values.x(), values.y);
  return ok();
}

}  // namespace

const StepKind relu_step = {.described = {.name = "relu",
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
