// max_pool2d_backward: dy of each window goes to the pixel that its index names.
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

constexpr const char* kOp = "max_pool2d_backward";

lucid_status check_max_pool2d_backward(const lucid_max_pool2d_backward_args& a, PoolAxis* h, PoolAxis* w,
                                       lucid_shape* dx) {
  const PoolWindow window{.kernel_size = a.kernel_size,
                          .stride = a.stride,
                          .padding = padding_sides(a.padding, a.extra_padding),
                          .dilation = a.dilation,
                          .ceil_mode = a.ceil_mode != 0};
  LUCID_CHECK(check_windows_backward(kOp, a.dy, a.image_size, window, h, w, dx));
  LUCID_CHECK(check_tensor(kOp, "indices", a.indices, 4, 4, kInt64));
  return check_shape(kOp, "indices", *a.indices, shape_of(*a.dy));
}

lucid_status check_shape_only(const lucid_max_pool2d_backward_args& args, lucid_shape* dx) {
  PoolAxis h, w;
  return check_max_pool2d_backward(args, &h, &w, dx);
}

lucid_status run_on_cuda(const lucid_max_pool2d_backward_args& a, const PoolAxis& h, const PoolAxis& w) {
  const cuda::Call call(kOp, a.dy->device.id, stream_of(a.context));
  cuda::Input dy, indices;
  cuda::Output dx;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kChannelsLast));
  LUCID_CHECK(indices.stage(call, *a.indices, cuda::Order::kChannelsLast));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kChannelsLast));
  const cuda::MaxPool2dBackward p{.dtype = cuda::dtype_of(a.dy->dtype),
                                  .n = a.dy->shape[0],
                                  .c = a.dy->shape[1],
                                  .h = h,
                                  .w = w,
                                  .dy = dy.data(),
                                  .indices = static_cast<const int64_t*>(indices.data()),
                                  .dx = dx.data()};
  LUCID_CHECK(call.check(call->max_pool2d_backward(p, call.stream())));
  return dx.finish(call);
}

lucid_status run_max_pool2d_backward(const lucid_max_pool2d_backward_args& a) {
  PoolAxis h, w;
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_max_pool2d_backward(a, &h, &w, &shape));
  LUCID_CHECK(find_device(kOp, a.context, {{"dy", a.dy}, {"indices", a.indices}, {"dx", a.dx}}, &device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_data(kOp, "indices", a.indices, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a, h, w);
  const ImageView dx = view_image(*a.dx);
  const StagedInput gradient(view_image(*a.dy));
  const StagedOutput output(dx);
  if (gradient.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of dy and dx %s", kOp,
                ShapeText(a.dx->shape, 4).c_str());
  const MaxPool2dBackward p{.dy = gradient.data(),
                            .indices = reinterpret_cast<const int64_t*>(data_of(*a.indices)),
                            .indices_image = stride_of(*a.indices, 0),
                            .indices_channel = stride_of(*a.indices, 1),
                            .indices_row = stride_of(*a.indices, 2),
                            .indices_pixel = stride_of(*a.indices, 3),
                            .dx = output.data(),
                            .c = dx.c,
                            .h = h,
                            .w = w};
  parallel_for(dx.n * dx.h, grain_of(2 * dx.w * dx.c),
               [&](int64_t begin, int64_t end, int) { kernels().max_pool2d_backward(p, begin, end); });
  output.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_max_pool2d_backward(const lucid_max_pool2d_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_max_pool2d_backward);
}

extern "C" lucid_status lucid_max_pool2d_backward_output_shape(const lucid_max_pool2d_backward_args* args,
                                                               lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_shape_only, dx);
}
