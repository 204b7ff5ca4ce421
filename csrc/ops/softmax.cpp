// softmax: y = exp(x) / sum of exp(x) along one dimension, or the logarithm of that.
#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

lucid_status check_softmax(const lucid_softmax_args& a, lucid_shape* y) {
  LUCID_CHECK(check_tensor("softmax", "x", a.x, 1, kMaxDims));
  LUCID_CHECK(check_sizes("softmax", "x", *a.x));
  if (a.dim < -a.x->ndim || a.dim >= a.x->ndim)
    return fail(LUCID_INVALID_ARGUMENT, "softmax: dim must be from %d to %d, got %d", -a.x->ndim, a.x->ndim - 1, a.dim);
  *y = shape_of(*a.x);
  return ok();
}

namespace {

// In row-major order whatever the strides, so that the result does not depend on them.
lucid_status run_on_cuda(const lucid_softmax_args& a, int dim) {
  const cuda::Call call("softmax", a.x->device.id, stream_of(a.context));
  cuda::Input x;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kRowMajor));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kRowMajor));
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < a.x->ndim; ++d) (d < dim ? outer : inner) *= d == dim ? 1 : a.x->shape[d];
  const cuda::Softmax p{.dtype = cuda::dtype_of(a.x->dtype),
                        .outer = outer,
                        .size = a.x->shape[dim],
                        .inner = inner,
                        .log = a.log != 0,
                        .x = x.data(),
                        .y = y.data()};
  LUCID_CHECK(call.check(call->softmax(p, call.stream())));
  return y.finish(call);
}

lucid_status run_softmax(const lucid_softmax_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_softmax(a, &shape));
  LUCID_CHECK(find_device("softmax", a.context, {{"x", a.x}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data("softmax", "x", a.x, device));
  LUCID_CHECK(check_output("softmax", "y", a.y, shape, device));
  LUCID_CHECK(check_in_place("softmax", "x", *a.x, *a.y));
  if (is_empty(shape)) return ok();
  const lucid_tensor &x = *a.x, &y = *a.y;
  const int dim = a.dim < 0 ? a.dim + x.ndim : a.dim;
  if (device.type == LUCID_CUDA) return run_on_cuda(a, dim);
  int64_t rows = 1;
  for (int d = 0; d < x.ndim; ++d) rows *= d == dim ? 1 : x.shape[d];
  // An element takes as long as moving some 20 floats.
  parallel_for(rows, grain_of(20 * x.shape[dim]), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      kernels().softmax({.x = data_of(x) + row_offset(x, dim, row),
                         .y = data_of(y) + row_offset(y, dim, row),
                         .size = x.shape[dim],
                         .x_row = 0,
                         .x_step = stride_of(x, dim),
                         .y_row = 0,
                         .y_step = stride_of(y, dim),
                         .log = a.log != 0},
                        0, 1);
  });
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_softmax(const lucid_softmax_args* args) {
  return lucid::with_arguments("softmax", args, lucid::run_softmax);
}

extern "C" lucid_status lucid_softmax_output_shape(const lucid_softmax_args* args, lucid_shape* y) {
  return lucid::output_shape("softmax", args, lucid::check_softmax, y);
}
