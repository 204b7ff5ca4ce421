#include "ops/elementwise.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/device.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

static_assert(Elementwise::kMaxDims == kMaxDims);

int64_t magnitude(int64_t stride) { return stride < 0 ? -stride : stride; }

// The dimensions in the order of y's memory, those that are one step of another merged with it: dense operands of the
// same order, whatever their shape, end as one dimension.
Elementwise describe(const lucid_tensor& a, const lucid_tensor& b, const lucid_tensor& y) {
  Elementwise p{.a = data_of(a),
                .b = data_of(b),
                .y = data_of(y),
                .dims = 0,
                .size = {1},
                .a_stride = {1},
                .b_stride = {1},
                .y_stride = {1}};
  int order[kMaxDims], dims = 0;
  for (int d = 0; d < y.ndim; ++d)
    if (y.shape[d] != 1) order[dims++] = d;
  std::stable_sort(order, order + dims,
                   [&](int d, int e) { return magnitude(stride_of(y, d)) > magnitude(stride_of(y, e)); });
  for (int i = 0; i < dims; ++i) {
    const int d = order[i], last = p.dims - 1;
    const int64_t size = y.shape[d], a_stride = stride_of(a, d), b_stride = stride_of(b, d), y_stride = stride_of(y, d);
    const bool merges = last >= 0 && p.a_stride[last] == a_stride * size && p.b_stride[last] == b_stride * size &&
                        p.y_stride[last] == y_stride * size;
    const int to = merges ? last : p.dims++;
    p.size[to] = merges ? p.size[to] * size : size;
    p.a_stride[to] = a_stride;
    p.b_stride[to] = b_stride;
    p.y_stride[to] = y_stride;
  }
  p.dims = std::max(p.dims, 1);
  return p;
}

}  // namespace

lucid_status check_elementwise(const char* op, const lucid_tensor* x, lucid_shape* y) {
  LUCID_CHECK(check_tensor(op, "x", x, 0, kMaxDims));
  LUCID_CHECK(check_sizes(op, "x", *x));
  *y = shape_of(*x);
  return ok();
}

lucid_status check_in_place(const char* op, const char* name, const lucid_tensor& operand, const lucid_tensor& y,
                            const char* output) {
  if (data_of(operand) != data_of(y)) return ok();
  for (int d = 0; d < y.ndim; ++d)
    if (y.shape[d] > 1 && stride_of(operand, d) != stride_of(y, d))
      return fail(LUCID_INVALID_ARGUMENT,
                  "%s: %s must have the strides of %s where it is the same memory, got %lld for %lld in dimension %d",
                  op, output, name, static_cast<long long>(stride_of(y, d)),
                  static_cast<long long>(stride_of(operand, d)), d);
  return ok();
}

void run_elementwise(const lucid_tensor& a, const lucid_tensor& b, const lucid_tensor& y,
                     void (*kernel)(const Elementwise&, int64_t, int64_t), int64_t cost) {
  const Elementwise p = describe(a, b, y);
  int64_t elements = 1;
  for (int d = 0; d < y.ndim; ++d) elements *= y.shape[d];
  if (elements == 0) return;
  parallel_for(elements, grain_of(cost), [&](int64_t begin, int64_t end, int) { kernel(p, begin, end); });
}

lucid_status run_elementwise_on_cuda(const char* op, cuda::ElementwiseFunction function, const lucid_tensor& a,
                                     const lucid_tensor& b, const lucid_tensor& y, const lucid_context* context) {
  if (is_empty(shape_of(y))) return ok();
  const cuda::Call call(op, y.device.id, stream_of(context));
  LUCID_CHECK(call.begin());
  return cuda::elementwise(call, function, a, b, y);
}

lucid_status check_elementwise_backward(const char* op, const lucid_tensor* dy, const lucid_tensor* y,
                                        lucid_shape* dx) {
  LUCID_CHECK(check_tensor(op, "dy", dy, 0, kMaxDims));
  LUCID_CHECK(check_tensor(op, "y", y, 0, kMaxDims, dy->dtype));
  *dx = shape_of(*dy);
  return check_shape(op, "y", *y, *dx);
}

lucid_status run_elementwise_backward(const char* op, const lucid_tensor* dy, const lucid_tensor* y,
                                      const lucid_tensor* dx, const lucid_context* context,
                                      void (*kernel)(const Elementwise&, int64_t, int64_t),
                                      cuda::ElementwiseFunction function) {
  lucid_device device;
  LUCID_CHECK(find_device(op, context, {{"dy", dy}, {"y", y}, {"dx", dx}}, &device));
  LUCID_CHECK(check_data(op, "dy", dy, device));
  LUCID_CHECK(check_data(op, "y", y, device));
  LUCID_CHECK(check_output(op, "dx", dx, shape_of(*dy), device));
  LUCID_CHECK(check_in_place(op, "dy", *dy, *dx, "dx"));
  LUCID_CHECK(check_in_place(op, "y", *y, *dx, "dx"));
  if (device.type == LUCID_CUDA) return run_elementwise_on_cuda(op, function, *dy, *y, *dx, context);
  run_elementwise(*dy, *y, *dx, kernel);
  return ok();
}

}  // namespace lucid
