#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "ops/checks.h"
#include "plan/pool_step.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"output_size", LUCID_ATTRIBUTE_PAIR}};

lucid_status describe(const Description& step, AvgPool2d* pool, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  lucid_adaptive_avg_pool2d_args args{};
  args.x = x.get();
  std::copy_n(step.values("output_size"), 2, args.output_size);
  return check_adaptive_avg_pool2d(args, pool, y);
}

lucid_status check(const Description& step, lucid_shape* y) {
  AvgPool2d pool;
  return describe(step, &pool, y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  AvgPool2d pool;
  lucid_shape y;
  LUCID_CHECK(describe(step, &pool, &y));
  *made = std::make_unique<PoolStep<AvgPool2dOf>>("adaptive_avg_pool2d", &Kernels::avg_pool2d,
                                                  &Kernels::avg_pool2d_bfloat16, pool, values.x(), values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  AvgPool2d pool;
  lucid_shape y;
  LUCID_CHECK(describe(step, &pool, &y));
  made->enqueue = avg_pool2d_kernel(pool, values.x(), values.y);
  return ok();
}

}  // namespace

const StepKind adaptive_avg_pool2d_step = {.described = {.name = "adaptive_avg_pool2d",
                                                         .fewest_inputs = 1,
                                                         .most_inputs = 1,
                                                         .attributes = kAttributes,
                                                         .attribute_count = std::size(kAttributes),
                                                         .weight = LUCID_ABSENT,
                                                         .bias = LUCID_ABSENT},
                                           .check = check,
                                           .make = make,
                                           .launch = launch};

}  // namespace lucid::plan
