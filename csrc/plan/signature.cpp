// What a caller must give a plan, and gets from it.
#include <cstddef>
#include <string>
#include <vector>

#include "core/status.h"
#include "ops/shapes.h"
#include "plan/plan.h"

namespace lucid::plan {
namespace {

lucid_status describe(const lucid_plan& plan, const char* kind, const std::vector<int>& values,
                      const std::vector<std::string>& names, lucid_shape (*shape_of)(const Value&), int32_t index,
                      const char** name, lucid_shape* shape) {
  const auto count = static_cast<int32_t>(values.size());
  if (index < 0 || index >= count)
    return fail(LUCID_INVALID_ARGUMENT, "plan: the index of an %s must be between 0 and %d, got %d", kind, count - 1,
                index);
  const auto at = static_cast<size_t>(index);
  if (name != nullptr) *name = names.empty() ? "" : names[at].c_str();
  if (shape != nullptr) *shape = shape_of(plan.values[static_cast<size_t>(values[at])]);
  return ok();
}

}  // namespace

lucid_shape output_shape(const Value& v) {
  const int64_t sizes[] = {v.batch, v.c, v.h, v.w};
  return make_shape(sizes, v.image ? 4 : 2);
}

lucid_shape input_shape(const Value& v) {
  lucid_shape shape = output_shape(v);
  if (v.pixels) shape.dtype = kUint8;
  return shape;
}

}  // namespace lucid::plan

extern "C" int32_t lucid_plan_input_count(const lucid_plan* plan) { return static_cast<int32_t>(plan->inputs.size()); }
extern "C" int32_t lucid_plan_output_count(const lucid_plan* plan) {
  return static_cast<int32_t>(plan->outputs.size());
}
extern "C" int32_t lucid_plan_step_count(const lucid_plan* plan) { return plan->described_steps; }

extern "C" lucid_status lucid_plan_input(const lucid_plan* plan, int32_t index, const char** name, lucid_shape* shape) {
  using namespace lucid::plan;
  return describe(*plan, "input", plan->inputs, plan->input_names, input_shape, index, name, shape);
}

extern "C" lucid_status lucid_plan_output(const lucid_plan* plan, int32_t index, const char** name,
                                          lucid_shape* shape) {
  using namespace lucid::plan;
  return describe(*plan, "output", plan->outputs, plan->output_names, output_shape, index, name, shape);
}
