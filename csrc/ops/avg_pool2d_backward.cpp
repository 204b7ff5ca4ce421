// avg_pool2d_backward and adaptive_avg_pool2d_backward: every pixel of a window takes its part of dy.
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
namespace {

constexpr const char *kFixed = "avg_pool2d_backward", *kAdaptive = "adaptive_avg_pool2d_backward";

// The kernel's arguments, but for the memory.
AvgPool2dBackward pool_of(const PoolAxis& h, const PoolAxis& w, int64_t c) {
  return {.dy = nullptr, .dx = nullptr, .c = c, .h = h, .w = w, .count_include_pad = false, .divisor = 0};
}

lucid_status check(const lucid_avg_pool2d_backward_args& a, AvgPool2dBackward* pool, lucid_shape* dx) {
  constexpr int64_t dilation[2] = {1, 1};
  PoolAxis h, w;
  const PoolWindow window{.kernel_size = a.kernel_size,
                          .stride = a.stride,
                          .padding = padding_sides(a.padding, a.extra_padding),
                          .dilation = dilation,
                          .ceil_mode = a.ceil_mode != 0};
  LUCID_CHECK(check_windows_backward(kFixed, a.dy, a.image_size, window, &h, &w, dx));
  if (a.divisor_override < 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: divisor_override must be positive, or 0 for none, got %lld", kFixed,
                static_cast<long long>(a.divisor_override));
  *pool = pool_of(h, w, dx->sizes[1]);
  pool->count_include_pad = a.count_include_pad != 0;
  pool->divisor = a.divisor_override;
  return ok();
}

lucid_status check(const lucid_adaptive_avg_pool2d_backward_args& a, AvgPool2dBackward* pool, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(kAdaptive, "dy", a.dy, 4, 4));
  LUCID_CHECK(check_sizes(kAdaptive, "dy", *a.dy));
  LUCID_CHECK(check_image_size(kAdaptive, a.image_size));
  const int64_t *dy = a.dy->shape, *size = a.image_size;
  // The numbers of rows times those of windows, as the rule for where one begins multiplies them.
  if (!elements_fit({dy[0], dy[1], size[0], size[1]}) || !elements_fit({size[0], dy[2]}) ||
      !elements_fit({size[1], dy[3]}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: dx must have at most 2^58 elements, got image_size %s", kAdaptive,
                ShapeText(size, 2).c_str());
  const auto axis = [](int64_t pixels, int64_t count) {
    return PoolAxis{
        .size = pixels, .out = count, .kernel = 0, .stride = 0, .padding = 0, .padding_end = 0, .dilation = 1};
  };
  *pool = pool_of(axis(size[0], dy[2]), axis(size[1], dy[3]), dy[1]);
  *dx = make_shape({dy[0], dy[1], size[0], size[1]}, a.dy->dtype);
  return ok();
}

lucid_status run_on_cuda(const char* op, const AvgPool2dBackward& pool, const lucid_tensor& dy_given,
                         const lucid_tensor& dx_given, const lucid_context* context) {
  const cuda::Call call(op, dy_given.device.id, stream_of(context));
  cuda::Input dy;
  cuda::Output dx;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(dy.stage(call, dy_given, cuda::Order::kChannelsLast));
  LUCID_CHECK(dx.stage(call, dx_given, cuda::Order::kChannelsLast));
  const cuda::AvgPool2dBackward p{.dtype = cuda::dtype_of(dy_given.dtype),
                                  .n = dy_given.shape[0],
                                  .c = pool.c,
                                  .h = pool.h,
                                  .w = pool.w,
                                  .count_include_pad = pool.count_include_pad,
                                  .divisor = pool.divisor,
                                  .dy = dy.data(),
                                  .dx = dx.data()};
  LUCID_CHECK(call.check(call->avg_pool2d_backward(p, call.stream())));
  return dx.finish(call);
}

template <class Args>
lucid_status run(const char* op, const Args& a) {
  AvgPool2dBackward p;
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check(a, &p, &shape));
  LUCID_CHECK(find_device(op, a.context, {{"dy", a.dy}, {"dx", a.dx}}, &device));
  LUCID_CHECK(check_data(op, "dy", a.dy, device));
  LUCID_CHECK(check_output(op, "dx", a.dx, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(op, p, *a.dy, *a.dx, a.context);
  const ImageView dx = view_image(*a.dx);
  const StagedInput gradient(view_image(*a.dy));
  const StagedOutput output(dx);
  if (gradient.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of dy and dx %s", op, ShapeText(a.dx->shape, 4).c_str());
  p.dy = gradient.data();
  p.dx = output.data();
  parallel_for(dx.n * dx.h, grain_of(2 * dx.w * dx.c),
               [&](int64_t begin, int64_t end, int) { kernels().avg_pool2d_backward(p, begin, end); });
  output.finish();
  return ok();
}

template <class Args>
lucid_status check_shape_only(const Args& args, lucid_shape* dx) {
  AvgPool2dBackward pool;
  return check(args, &pool, dx);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_avg_pool2d_backward(const lucid_avg_pool2d_backward_args* args) {
  using namespace lucid;
  return with_arguments(kFixed, args, [](const auto& a) { return run(kFixed, a); });
}

extern "C" lucid_status lucid_avg_pool2d_backward_output_shape(const lucid_avg_pool2d_backward_args* args,
                                                               lucid_shape* dx) {
  using namespace lucid;
  return output_shape(kFixed, args, check_shape_only<lucid_avg_pool2d_backward_args>, dx);
}

extern "C" lucid_status lucid_adaptive_avg_pool2d_backward(const lucid_adaptive_avg_pool2d_backward_args* args) {
  using namespace lucid;
  return with_arguments(kAdaptive, args, [](const auto& a) { return run(kAdaptive, a); });
}

extern "C" lucid_status lucid_adaptive_avg_pool2d_backward_output_shape(
    const lucid_adaptive_avg_pool2d_backward_args* args, lucid_shape* dx) {
  using namespace lucid;
  return output_shape(kAdaptive, args, check_shape_only<lucid_adaptive_avg_pool2d_backward_args>, dx);
}
