// avg_pool2d and adaptive_avg_pool2d: the mean of each window.
#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/pool_window.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_avg_pool2d(const lucid_avg_pool2d_args& a, AvgPool2d* pool, lucid_shape* y) {
  constexpr int64_t dilation[2] = {1, 1};
  PoolAxis h, w;
  const PoolWindow window{.kernel_size = a.kernel_size,
                          .stride = a.stride,
                          .padding = padding_sides(a.padding, a.extra_padding),
                          .dilation = dilation,
                          .ceil_mode = a.ceil_mode != 0};
  LUCID_CHECK(check_windows("avg_pool2d", a.x, window, &h, &w, y));
  if (a.divisor_override < 0)
    return fail(LUCID_INVALID_ARGUMENT, "avg_pool2d: divisor_override must be positive, or 0 for none, got %lld",
                static_cast<long long>(a.divisor_override));
  *pool = {.x = {},
           .y = {},
           .c = a.x->shape[1],
           .h = h,
           .w = w,
           .count_include_pad = a.count_include_pad != 0,
           .divisor = a.divisor_override};
  return ok();
}

lucid_status check_adaptive_avg_pool2d(const lucid_adaptive_avg_pool2d_args& a, AvgPool2d* pool, lucid_shape* y) {
  constexpr const char* op = "adaptive_avg_pool2d";
  LUCID_CHECK(check_tensor(op, "x", a.x, 4, 4));
  LUCID_CHECK(check_sizes(op, "x", *a.x));
  const int64_t *x = a.x->shape, *out = a.output_size;
  if (std::min(out[0], out[1]) < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: output_size must be positive, got %s", op, ShapeText(out, 2).c_str());
  // The numbers of rows times those of windows, as the rule for where one begins multiplies them.
  if (!elements_fit({x[0], x[1], out[0], out[1]}) || !elements_fit({x[2], out[0]}) || !elements_fit({x[3], out[1]}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: y must have at most 2^58 elements, got output_size %s", op,
                ShapeText(out, 2).c_str());
  const auto axis = [](int64_t size, int64_t count) {
    return PoolAxis{
        .size = size, .out = count, .kernel = 0, .stride = 0, .padding = 0, .padding_end = 0, .dilation = 1};
  };
  *pool = {.x = {},
           .y = {},
           .c = x[1],
           .h = axis(x[2], out[0]),
           .w = axis(x[3], out[1]),
           .count_include_pad = false,
           .divisor = 0};
  *y = make_shape({x[0], x[1], out[0], out[1]}, a.x->dtype);
  return ok();
}

namespace {

lucid_status run_on_cuda(const char* op, const AvgPool2d& pool, const lucid_tensor& x_given,
                         const lucid_tensor& y_given, const lucid_context* context) {
  const cuda::Call call(op, x_given.device.id, stream_of(context));
  cuda::Input x;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, x_given, cuda::Order::kChannelsLast));
  LUCID_CHECK(y.stage(call, y_given, cuda::Order::kChannelsLast));
  const cuda::AvgPool2d p{.dtype = cuda::dtype_of(x_given.dtype),
                          .n = x_given.shape[0],
                          .c = x_given.shape[1],
                          .h = pool.h,
                          .w = pool.w,
                          .count_include_pad = pool.count_include_pad,
                          .divisor = pool.divisor,
                          .x = x.data(),
                          .y = y.data()};
  LUCID_CHECK(call.check(call->avg_pool2d(p, call.stream())));
  return y.finish(call);
}

lucid_status run(const char* op, AvgPool2d p, const lucid_tensor* x_given, const lucid_tensor* y_given,
                 const lucid_shape& shape, const lucid_context* context) {
  lucid_device device;
  LUCID_CHECK(find_device(op, context, {{"x", x_given}, {"y", y_given}}, &device));
  LUCID_CHECK(check_data(op, "x", x_given, device));
  LUCID_CHECK(check_output(op, "y", y_given, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(op, p, *x_given, *y_given, context);
  const ImageView x = view_image(*x_given), y = view_image(*y_given);
  const StagedInput input(x);
  const StagedOutput output(y);
  if (input.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s and y", op,
                ShapeText(x_given->shape, 4).c_str());
  p.x = channels_last(input.data(), x);
  p.y = channels_last(output.data(), y);
  const int64_t rows_read = p.h.kernel == 0 ? x.h / y.h + 1 : std::min(p.h.kernel, x.h);
  parallel_for(y.n * y.h, grain_of(rows_read * x.w * x.c),
               [&](int64_t begin, int64_t end, int) { kernels().avg_pool2d(p, begin, end); });
  output.finish();
  return ok();
}

lucid_status run_avg_pool2d(const lucid_avg_pool2d_args& args) {
  AvgPool2d pool;
  lucid_shape y;
  LUCID_CHECK(check_avg_pool2d(args, &pool, &y));
  return run("avg_pool2d", pool, args.x, args.y, y, args.context);
}

lucid_status run_adaptive_avg_pool2d(const lucid_adaptive_avg_pool2d_args& args) {
  AvgPool2d pool;
  lucid_shape y;
  LUCID_CHECK(check_adaptive_avg_pool2d(args, &pool, &y));
  return run("adaptive_avg_pool2d", pool, args.x, args.y, y, args.context);
}

template <class Args, lucid_status (*kCheck)(const Args&, AvgPool2d*, lucid_shape*)>
lucid_status check_shape_only(const Args& args, lucid_shape* y) {
  AvgPool2d pool;
  return kCheck(args, &pool, y);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_avg_pool2d(const lucid_avg_pool2d_args* args) {
  return lucid::with_arguments("avg_pool2d", args, lucid::run_avg_pool2d);
}

extern "C" lucid_status lucid_avg_pool2d_output_shape(const lucid_avg_pool2d_args* args, lucid_shape* y) {
  using namespace lucid;
  return output_shape("avg_pool2d", args, check_shape_only<lucid_avg_pool2d_args, check_avg_pool2d>, y);
}

extern "C" lucid_status lucid_adaptive_avg_pool2d(const lucid_adaptive_avg_pool2d_args* args) {
  return lucid::with_arguments("adaptive_avg_pool2d", args, lucid::run_adaptive_avg_pool2d);
}

extern "C" lucid_status lucid_adaptive_avg_pool2d_output_shape(const lucid_adaptive_avg_pool2d_args* args,
                                                               lucid_shape* y) {
  using namespace lucid;
  return output_shape("adaptive_avg_pool2d", args,
                      check_shape_only<lucid_adaptive_avg_pool2d_args, check_adaptive_avg_pool2d>, y);
}
