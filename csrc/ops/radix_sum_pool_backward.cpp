// radix_sum_pool_backward: every pixel of every split takes its part of dy.
#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

constexpr const char* kOp = "radix_sum_pool_backward";

lucid_status check_radix_sum_pool_backward(const lucid_radix_sum_pool_backward_args& a, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 2, 2));
  LUCID_CHECK(check_sizes(kOp, "dy", *a.dy));
  LUCID_CHECK(check_image_size(kOp, a.image_size));
  if (a.radix < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: radix must be positive, got %lld", kOp, static_cast<long long>(a.radix));
  const int64_t n = a.dy->shape[0], c = a.dy->shape[1], *size = a.image_size;
  if (!elements_fit({n, c, a.radix, size[0], size[1]}) || !elements_fit({c, a.radix, size[0], size[1]}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: dx must have at most 2^58 elements, got image_size %s and radix %lld", kOp,
                ShapeText(size, 2).c_str(), static_cast<long long>(a.radix));
  *dx = make_shape({n, a.radix * c, size[0], size[1]}, a.dy->dtype);
  return ok();
}

lucid_status run_on_cuda(const lucid_radix_sum_pool_backward_args& a) {
  const cuda::Call call(kOp, a.dy->device.id, stream_of(a.context));
  cuda::Input dy;
  cuda::Output dx;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kRowMajor));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kChannelsLast));
  const cuda::RadixSumPoolBackward p{.dtype = cuda::dtype_of(a.dy->dtype),
                                     .n = a.dy->shape[0],
                                     .pixels = a.image_size[0] * a.image_size[1],
                                     .radix = a.radix,
                                     .c = a.dy->shape[1],
                                     .dy = dy.data(),
                                     .dx = dx.data()};
  LUCID_CHECK(call.check(call->radix_sum_pool_backward(p, call.stream())));
  return dx.finish(call);
}

lucid_status run_radix_sum_pool_backward(const lucid_radix_sum_pool_backward_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_radix_sum_pool_backward(a, &shape));
  LUCID_CHECK(find_device(kOp, a.context, {{"dy", a.dy}, {"dx", a.dx}}, &device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a);
  const ImageView dx = view_image(*a.dx);
  const StagedInput gradient(view_image(*a.dy));
  const StagedOutput output(dx);
  if (gradient.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of dy and dx %s", kOp,
                ShapeText(a.dx->shape, 4).c_str());
  const RadixSumPoolBackward p{
      .dy = gradient.data(), .dx = output.data(), .h = dx.h, .w = dx.w, .radix = a.radix, .c = a.dy->shape[1]};
  parallel_for(dx.n * dx.h, grain_of(dx.w * dx.c),
               [&](int64_t begin, int64_t end, int) { kernels().radix_sum_pool_backward(p, begin, end); });
  output.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_radix_sum_pool_backward(const lucid_radix_sum_pool_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_radix_sum_pool_backward);
}

extern "C" lucid_status lucid_radix_sum_pool_backward_output_shape(const lucid_radix_sum_pool_backward_args* args,
                                                                   lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_radix_sum_pool_backward, dx);
}
