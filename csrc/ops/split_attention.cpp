// split_attention: the weights of every image first, then the weighted sums.
#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_splits(const char* op, long long channels, long long radix, long long cardinality) {
  if (radix < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: radix must be positive, got %lld", op, radix);
  if (cardinality < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: cardinality must be positive, got %lld", op, cardinality);
  if (channels % radix != 0 || channels / radix % cardinality != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: radix (%lld) * cardinality (%lld) must divide the channels of x, got %lld",
                op, radix, cardinality, channels);
  return ok();
}

lucid_status check_split_attention(const lucid_split_attention_args& a, lucid_shape* y) {
  constexpr const char* op = "split_attention";
  LUCID_CHECK(check_tensor(op, "x", a.x, 4, 4));
  LUCID_CHECK(check_sizes(op, "x", *a.x));
  const int64_t* x = a.x->shape;
  LUCID_CHECK(check_splits(op, x[1], a.radix, a.cardinality));
  LUCID_CHECK(check_tensor(op, "logits", a.logits, 2, 2, a.x->dtype));
  LUCID_CHECK(check_shape(op, "logits", *a.logits, {x[0], x[1]}));
  *y = make_shape({x[0], x[1] / a.radix, x[2], x[3]}, a.x->dtype);
  return ok();
}

namespace {

lucid_status run_on_cuda(const lucid_split_attention_args& a) {
  const cuda::Call call("split_attention", a.x->device.id, stream_of(a.context));
  cuda::Input x, logits;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(logits.stage(call, *a.logits, cuda::Order::kRowMajor));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kChannelsLast));
  const cuda::SplitAttention p{.dtype = cuda::dtype_of(a.x->dtype),
                               .n = a.x->shape[0],
                               .pixels = a.x->shape[2] * a.x->shape[3],
                               .radix = a.radix,
                               .c = a.y->shape[1],
                               .cardinality = a.cardinality,
                               .x = x.data(),
                               .logits = logits.data(),
                               .y = y.data()};
  LUCID_CHECK(call.check(call->split_attention(p, call.stream())));
  return y.finish(call);
}

lucid_status run_split_attention(const lucid_split_attention_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_split_attention(a, &shape));
  LUCID_CHECK(find_device("split_attention", a.context, {{"x", a.x}, {"logits", a.logits}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data("split_attention", "x", a.x, device));
  LUCID_CHECK(check_data("split_attention", "logits", a.logits, device));
  LUCID_CHECK(check_output("split_attention", "y", a.y, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a);
  const ImageView x = view_image(*a.x), y = view_image(*a.y);
  const StagedInput input(x), logits(view_image(*a.logits));
  const StagedOutput output(y);
  const Scratch<float> weights(x.n * x.c);
  if (input.data() == nullptr || logits.data() == nullptr || output.data() == nullptr || weights.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "split_attention: no memory for copies of x %s and y",
                ShapeText(a.x->shape, 4).c_str());
  const SplitAttention p{.x = channels_last(input.data(), x),
                         .logits = logits.data(),
                         .weights = weights.data(),
                         .y = channels_last(output.data(), y),
                         .h = y.h,
                         .w = y.w,
                         .radix = a.radix,
                         .c = y.c,
                         .cardinality = a.cardinality,
                         .first = 0,
                         .last = y.c};
  // An exponential and a division take as long as moving some 30 floats.
  parallel_for(x.n * p.c, grain_of(30 * p.radix),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention_weights(p, begin, end); });
  parallel_for(y.n * y.h, grain_of(x.c * x.w),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention(p, begin, end); });
  output.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_split_attention(const lucid_split_attention_args* args) {
  return lucid::with_arguments("split_attention", args, lucid::run_split_attention);
}

extern "C" lucid_status lucid_split_attention_output_shape(const lucid_split_attention_args* args, lucid_shape* y) {
  return lucid::output_shape("split_attention", args, lucid::check_split_attention, y);
}
