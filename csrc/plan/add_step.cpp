#include <iterator>

#include "core/status.h"
#include "ops/checks.h"
#include "plan/elementwise_step.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"relu", LUCID_ATTRIBUTE_BOOL}};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly a(step.inputs[0]), b(step.inputs[1]);
  return check_add({.size = 0, .a = a.get(), .b = b.get(), .y = nullptr, .context = nullptr}, y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  *made = elementwise_step("add", {&Kernels::add, &Kernels::add_bfloat16}, step.flag("relu"), values.x(),
                           *values.inputs[1], values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  made->enqueue =
      elementwise_kernel(cuda::ElementwiseFunction::kAdd, step.flag("relu"), values.x(), *values.inputs[1], values.y);
  return ok();
}

}  // namespace

const StepKind add_step = {.described = {.name = "add",
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
