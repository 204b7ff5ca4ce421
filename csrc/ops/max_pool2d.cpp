// max_pool2d: the largest value of each window, and where it is.
#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/pool_window.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_max_pool2d(const lucid_max_pool2d_args& a, MaxPool2d* pool, lucid_shape* y) {
  PoolAxis h, w;
  const PoolWindow window{.kernel_size = a.kernel_size,
                          .stride = a.stride,
                          .padding = padding_sides(a.padding, a.extra_padding),
                          .dilation = a.dilation,
                          .ceil_mode = a.ceil_mode != 0};
  LUCID_CHECK(check_windows("max_pool2d", a.x, window, &h, &w, y));
  *pool = {.x = {},
           .y = {},
           .c = a.x->shape[1],
           .h = h,
           .w = w,
           .indices = nullptr,
           .indices_image = 0,
           .indices_channel = 0,
           .indices_row = 0,
           .indices_pixel = 0};
  return ok();
}

namespace {

void set_indices(const lucid_tensor& indices, MaxPool2d* p) {
  p->indices = reinterpret_cast<int64_t*>(data_of(indices));
  p->indices_image = stride_of(indices, 0), p->indices_channel = stride_of(indices, 1);
  p->indices_row = stride_of(indices, 2), p->indices_pixel = stride_of(indices, 3);
}

lucid_status run_on_cuda(const lucid_max_pool2d_args& a, const PoolAxis& h, const PoolAxis& w) {
  const cuda::Call call("max_pool2d", a.x->device.id, stream_of(a.context));
  cuda::Input x;
  cuda::Output y, indices;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kChannelsLast));
  if (a.indices != nullptr) LUCID_CHECK(indices.stage(call, *a.indices, cuda::Order::kChannelsLast));
  const cuda::MaxPool2d p{.dtype = cuda::dtype_of(a.x->dtype),
                          .n = a.x->shape[0],
                          .c = a.x->shape[1],
                          .h = h,
                          .w = w,
                          .x = x.data(),
                          .y = y.data(),
                          .indices = static_cast<int64_t*>(indices.data())};
  LUCID_CHECK(call.check(call->max_pool2d(p, call.stream())));
  LUCID_CHECK(y.finish(call));
  return a.indices != nullptr ? indices.finish(call) : ok();
}

lucid_status run_max_pool2d(const lucid_max_pool2d_args& a) {
  constexpr const char* op = "max_pool2d";
  MaxPool2d p;
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_max_pool2d(a, &p, &shape));
  LUCID_CHECK(find_device(op, a.context, {{"x", a.x}, {"y", a.y}, {"indices", a.indices}}, &device));
  LUCID_CHECK(check_data(op, "x", a.x, device));
  LUCID_CHECK(check_output(op, "y", a.y, shape, device));
  if (a.indices != nullptr)
    LUCID_CHECK(check_output(op, "indices", a.indices, make_shape(shape.sizes, 4, kInt64), device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a, p.h, p.w);
  const ImageView x = view_image(*a.x), y = view_image(*a.y);
  if (a.indices != nullptr) {
    if (x.h * x.w > std::numeric_limits<int32_t>::max())
      return fail(LUCID_UNSUPPORTED, "%s: x must have less than 2^31 pixels an image for indices, got %lld by %lld", op,
                  static_cast<long long>(x.h), static_cast<long long>(x.w));
    set_indices(*a.indices, &p);
  }
  const StagedInput input(x);
  const StagedOutput output(y);
  if (input.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s and y", op, ShapeText(a.x->shape, 4).c_str());
  p.x = channels_last(input.data(), x);
  p.y = channels_last(output.data(), y);
  parallel_for(y.n * y.h, grain_of(std::min(p.h.kernel, x.h) * x.w * x.c),
               [&](int64_t begin, int64_t end, int) { kernels().max_pool2d(p, begin, end); });
  output.finish();
  return ok();
}

lucid_status check_shape_only(const lucid_max_pool2d_args& args, lucid_shape* y) {
  MaxPool2d pool;
  return check_max_pool2d(args, &pool, y);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_max_pool2d(const lucid_max_pool2d_args* args) {
  return lucid::with_arguments("max_pool2d", args, lucid::run_max_pool2d);
}

extern "C" lucid_status lucid_max_pool2d_output_shape(const lucid_max_pool2d_args* args, lucid_shape* y) {
  return lucid::output_shape("max_pool2d", args, lucid::check_shape_only, y);
}
