// split_attention: the weights of every image first, then the weighted sums.
#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

using Long = long long;  // what %lld prints

lucid_status check(const lucid_split_attention_args& a, ImageView* x, ImageView* logits, ImageView* y) {
  constexpr const char* op = "split_attention";
  LUCID_CHECK(view_image(op, "x", a.x, 4, x));
  LUCID_CHECK(check_not_empty(op, "x", *a.x));
  if (a.radix < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: radix must be positive, got %lld", op, Long{a.radix});
  if (a.cardinality < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: cardinality must be positive, got %lld", op, Long{a.cardinality});
  if (x->c % a.radix != 0 || x->c / a.radix % a.cardinality != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: radix (%lld) * cardinality (%lld) must divide the channels of x (%lld)",
                op, Long{a.radix}, Long{a.cardinality}, Long{x->c});
  LUCID_CHECK(view_image(op, "logits", a.logits, 2, logits));
  LUCID_CHECK(check_shape(op, "logits", *a.logits, {x->n, x->c}));
  LUCID_CHECK(view_image(op, "y", a.y, 4, y));
  return check_shape(op, "y", *a.y, {x->n, x->c / a.radix, x->h, x->w});
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_split_attention(const lucid_split_attention_args* a) {
  using namespace lucid;
  ImageView x, logits, y;
  LUCID_CHECK(check(*a, &x, &logits, &y));
  const StagedInput input(x), staged_logits(logits);
  const StagedOutput output(y);
  const Scratch weights(x.n * x.c);
  if (input.data() == nullptr || staged_logits.data() == nullptr || output.data() == nullptr ||
      weights.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "split_attention: no memory for copies of x %s and y",
                ShapeText(a->x->shape, 4).c_str());
  const SplitAttention p{.x = {input.data(), x.h * x.w * x.c, x.w * x.c, x.c},
                         .x_radix = y.c,
                         .logits = staged_logits.data(),
                         .weights = weights.data(),
                         .y = {output.data(), y.h * y.w * y.c, y.w * y.c, y.c},
                         .h = y.h,
                         .w = y.w,
                         .radix = a->radix,
                         .c = y.c,
                         .channels = y.c,
                         .cardinality = a->cardinality};
  // An exponential and a division take as long as moving some 30 floats.
  parallel_for(x.n * p.c, grain_of(30 * p.radix),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention_weights(p, begin, end); });
  parallel_for(y.n * y.h, grain_of(x.c * x.w),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention(p, begin, end); });
  output.finish();
  return ok();
}
