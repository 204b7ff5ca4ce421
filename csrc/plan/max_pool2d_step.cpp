#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "ops/checks.h"
#include "plan/pool_step.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"kernel_size", LUCID_ATTRIBUTE_PAIR},
                                                {"stride", LUCID_ATTRIBUTE_PAIR},
                                                {"padding", LUCID_ATTRIBUTE_PADDING},
                                                {"dilation", LUCID_ATTRIBUTE_PAIR},
                                                {"ceil_mode", LUCID_ATTRIBUTE_BOOL}};

lucid_status describe(const Description& step, MaxPool2d* pool, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  lucid_max_pool2d_args args{};
  args.x = x.get();
  std::copy_n(step.values("kernel_size"), 2, args.kernel_size);
  std::copy_n(step.values("stride"), 2, args.stride);
  step.padding("padding", args.padding, args.extra_padding);
  std::copy_n(step.values("dilation"), 2, args.dilation);
  args.ceil_mode = step.flag("ceil_mode");
  return check_max_pool2d(args, pool, y);
}

lucid_status check(const Description& step, lucid_shape* y) {
  MaxPool2d pool;
  return describe(step, &pool, y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  MaxPool2d pool;
  lucid_shape y;
  LUCID_CHECK(describe(step, &pool, &y));
  *made = std::make_unique<PoolStep<MaxPool2dOf>>("max_pool2d", &Kernels::max_pool2d, &Kernels::max_pool2d_bfloat16,
                                                  pool, values.x(), values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  MaxPool2d pool;
  lucid_shape shape;
  LUCID_CHECK(describe(step, &pool, &shape));
  made->enqueue = [h = pool.h, w = pool.w, &x = values.x(), &y = values.y](const Call& call) {
    return call.cuda.max_pool2d(
        {.dtype = call.dtype, .n = y.n, .c = y.c, .h = h, .w = w, .x = call.at(x), .y = call.at(y), .indices = nullptr},
        call.stream);
  };
  return ok();
}

}  // namespace

const StepKind max_pool2d_step = {.described = {.name = "max_pool2d",
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
