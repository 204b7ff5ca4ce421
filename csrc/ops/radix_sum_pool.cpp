// radix_sum_pool: the mean over the pixels of the sum of the splits.
#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_radix_sum_pool(const lucid_radix_sum_pool_args& a, lucid_shape* y) {
  constexpr const char* op = "radix_sum_pool";
  LUCID_CHECK(check_tensor(op, "x", a.x, 4, 4));
  LUCID_CHECK(check_sizes(op, "x", *a.x));
  const long long channels = a.x->shape[1], radix = a.radix;
  if (radix < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: radix must be positive, got %lld", op, radix);
  if (channels % radix != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: radix (%lld) must divide the channels of x, got %lld", op, radix,
                channels);
  *y = make_shape({a.x->shape[0], channels / radix}, a.x->dtype);
  return ok();
}

namespace {

lucid_status run_on_cuda(const lucid_radix_sum_pool_args& a) {
  const cuda::Call call("radix_sum_pool", a.x->device.id, stream_of(a.context));
  cuda::Input x;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kRowMajor));
  const cuda::RadixSumPool p{.dtype = cuda::dtype_of(a.x->dtype),
                             .n = a.x->shape[0],
                             .pixels = a.x->shape[2] * a.x->shape[3],
                             .radix = a.radix,
                             .c = a.y->shape[1],
                             .x = x.data(),
                             .y = y.data()};
  LUCID_CHECK(call.check(call->radix_sum_pool(p, call.stream())));
  return y.finish(call);
}

lucid_status run_radix_sum_pool(const lucid_radix_sum_pool_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_radix_sum_pool(a, &shape));
  LUCID_CHECK(find_device("radix_sum_pool", a.context, {{"x", a.x}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data("radix_sum_pool", "x", a.x, device));
  LUCID_CHECK(check_output("radix_sum_pool", "y", a.y, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a);
  const ImageView x = view_image(*a.x), y = view_image(*a.y);
  const StagedInput input(x);
  const StagedOutput output(y);
  if (input.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "radix_sum_pool: no memory for copies of x %s and y",
                ShapeText(a.x->shape, 4).c_str());
  const RadixSumPool p{
      .x = channels_last(input.data(), x), .y = output.data(), .h = x.h, .w = x.w, .radix = a.radix, .c = y.c};
  parallel_for(x.n * p.channel_blocks(), grain_of(x.h * x.w * p.radix * std::min(RadixSumPool::kChannels, p.c)),
               [&](int64_t begin, int64_t end, int) { kernels().radix_sum_pool(p, begin, end); });
  output.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_radix_sum_pool(const lucid_radix_sum_pool_args* args) {
  return lucid::with_arguments("radix_sum_pool", args, lucid::run_radix_sum_pool);
}

extern "C" lucid_status lucid_radix_sum_pool_output_shape(const lucid_radix_sum_pool_args* args, lucid_shape* y) {
  return lucid::output_shape("radix_sum_pool", args, lucid::check_radix_sum_pool, y);
}
