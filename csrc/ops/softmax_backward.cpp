// softmax_backward: dx = y * (dy - sum of dy * y) along one dimension, or that of the logarithm.
#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

constexpr const char* kOp = "softmax_backward";

lucid_status check_softmax_backward(const lucid_softmax_backward_args& a, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 1, kMaxDims));
  LUCID_CHECK(check_sizes(kOp, "dy", *a.dy));
  if (a.dim < -a.dy->ndim || a.dim >= a.dy->ndim)
    return fail(LUCID_INVALID_ARGUMENT, "%s: dim must be from %d to %d, got %d", kOp, -a.dy->ndim, a.dy->ndim - 1,
                a.dim);
  LUCID_CHECK(check_tensor(kOp, "y", a.y, 1, kMaxDims, a.dy->dtype));
  *dx = shape_of(*a.dy);
  return check_shape(kOp, "y", *a.y, *dx);
}

lucid_status run_on_cuda(const lucid_softmax_backward_args& a, int dim) {
  const cuda::Call call(kOp, a.dy->device.id, stream_of(a.context));
  cuda::Input dy, y;
  cuda::Output dx;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kRowMajor));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kRowMajor));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kRowMajor));
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < a.dy->ndim; ++d) (d < dim ? outer : inner) *= d == dim ? 1 : a.dy->shape[d];
  const cuda::SoftmaxBackward p{.dtype = cuda::dtype_of(a.dy->dtype),
                                .outer = outer,
                                .size = a.dy->shape[dim],
                                .inner = inner,
                                .log = a.log != 0,
                                .y = y.data(),
                                .dy = dy.data(),
                                .dx = dx.data()};
  LUCID_CHECK(call.check(call->softmax_backward(p, call.stream())));
  return dx.finish(call);
}

lucid_status run_softmax_backward(const lucid_softmax_backward_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_softmax_backward(a, &shape));
  LUCID_CHECK(find_device(kOp, a.context, {{"dy", a.dy}, {"y", a.y}, {"dx", a.dx}}, &device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_data(kOp, "y", a.y, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  LUCID_CHECK(check_in_place(kOp, "dy", *a.dy, *a.dx, "dx"));
  LUCID_CHECK(check_in_place(kOp, "y", *a.y, *a.dx, "dx"));
  if (is_empty(shape)) return ok();
  const lucid_tensor &dy = *a.dy, &y = *a.y, &dx = *a.dx;
  const int dim = a.dim < 0 ? a.dim + dy.ndim : a.dim;
  if (device.type == LUCID_CUDA) return run_on_cuda(a, dim);
  int64_t rows = 1;
  for (int d = 0; d < dy.ndim; ++d) rows *= d == dim ? 1 : dy.shape[d];
  // An exponential takes as long as moving some 20 floats.
  parallel_for(rows, grain_of((a.log != 0 ? 20 : 3) * dy.shape[dim]), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      kernels().softmax_backward({.dy = data_of(dy) + row_offset(dy, dim, row),
                                  .y = data_of(y) + row_offset(y, dim, row),
                                  .dx = data_of(dx) + row_offset(dx, dim, row),
                                  .size = dy.shape[dim],
                                  .dy_step = stride_of(dy, dim),
                                  .y_step = stride_of(y, dim),
                                  .dx_step = stride_of(dx, dim),
                                  .log = a.log != 0},
                                 0, 1);
  });
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_softmax_backward(const lucid_softmax_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_softmax_backward);
}

extern "C" lucid_status lucid_softmax_backward_output_shape(const lucid_softmax_backward_args* args, lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_softmax_backward, dx);
}
