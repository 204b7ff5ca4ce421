#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "ops/checks.h"
#include "plan/pool_step.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {
    {"kernel_size", LUCID_ATTRIBUTE_PAIR},       {"stride", LUCID_ATTRIBUTE_PAIR},
    {"padding", LUCID_ATTRIBUTE_PADDING},        {"ceil_mode", LUCID_ATTRIBUTE_BOOL},
    {"count_include_pad", LUCID_ATTRIBUTE_BOOL}, {"divisor_override", LUCID_ATTRIBUTE_INT}};

lucid_status describe(const Description& step, AvgPool2d* pool, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  lucid_avg_pool2d_args args{};
  args.x = x.get();
  std::copy_n(step.values("kernel_size"), 2, args.kernel_size);
  std::copy_n(step.values("stride"), 2, args.stride);
  step.padding("padding", args.padding, args.extra_padding);
  args.ceil_mode = step.flag("ceil_mode");
  args.count_include_pad = step.flag("count_include_pad");
  args.divisor_override = step.integer("divisor_override");
  return check_avg_pool2d(args, pool, y);
}

lucid_status check(const Description& step, lucid_shape* y) {
  AvgPool2d pool;
  return describe(step, &pool, y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  AvgPool2d pool;
  lucid_shape y;
  LUCID_CHECK(describe(step, &pool, &y));
  *made = std::make_unique<PoolStep<AvgPool2dOf>>("avg_pool2d", &Kernels::avg_pool2d, &Kernels::avg_pool2d_bfloat16,
                                                  pool, values.x(), values.y);
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

const StepKind avg_pool2d_step = {.described = {.name = "avg_pool2d",
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
