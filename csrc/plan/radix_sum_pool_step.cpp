#include <iterator>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"radix", LUCID_ATTRIBUTE_INT}};

// Pools x, or the sums of its rows, which a convolution has formed while they were in registers.
class RadixSumPoolStep final : public Step {
 public:
  RadixSumPoolStep(int64_t radix, const Value& x, const Value& y) : radix_(radix), x_(x), y_(y) {}
  const char* algorithm() const override { return row_sums_ != nullptr ? "sum_rows" : "radix_sum_pool"; }
  bool asks_for_row_sums() const override { return true; }
  void set_row_sums(const Value& sums) override { row_sums_ = &sums; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    if (row_sums_ != nullptr) return sum_rows(run, team);
    with_element(x_, [&](auto element) {
      using Element = decltype(element);
      const RadixSumPoolOf<Element> p{
          .x = as_input(x_.view<Element>(run)), .y = y_.rows(run), .h = x_.h, .w = x_.w, .radix = radix_, .c = y_.c};
      const auto kernel = kernel_for<Element>(kernels().radix_sum_pool, kernels().radix_sum_pool_bfloat16);
      const int64_t blocks = p.channel_blocks();
      for (int64_t block = team.begin(blocks); block < team.end(blocks); ++block)
        for (int64_t n = 0; n < y_.n; ++n) kernel(p, n * blocks + block, n * blocks + block + 1);
    });
  }

 private:
  void sum_rows(const Run& run, const Team& team) const {
    kernels().sum_rows({.sums = row_sums_->rows(run),
                        .y = y_.rows(run),
                        .images = y_.n,
                        .rows = row_sums_->n / y_.n,
                        .radix = radix_,
                        .c = y_.c,
                        .pixels = x_.h * x_.w},
                       team.begin(y_.c), team.end(y_.c));
  }

  int64_t radix_;
  const Value &x_, &y_;
  const Value* row_sums_ = nullptr;
};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  return check_radix_sum_pool(
      {.size = 0, .x = x.get(), .y = nullptr, .radix = step.integer("radix"), .context = nullptr}, y);
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<RadixSumPoolStep>(step.integer("radix"), values.x(), values.y);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  made->enqueue = [radix = step.integer("radix"), &x = values.x(), &y = values.y](const Call& call) {
    return call.cuda.radix_sum_pool({.dtype = call.dtype,
                                     .n = y.n,
                                     .pixels = x.h * x.w,
                                     .radix = radix,
                                     .c = y.c,
                                     .x = call.at(x),
                                     .y = call.at(y)},
                                    call.stream);
  };
  return ok();
}

}  // namespace

const StepKind radix_sum_pool_step = {.described = {.name = "radix_sum_pool",
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
