#include "ops/pool_window.h"

#include <algorithm>

#include "core/status.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

lucid_status check_positive(const char* op, const char* name, const int64_t* pair) {
  if (std::min(pair[0], pair[1]) > 0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be positive, got %s", op, name, ShapeText(pair, 2).c_str());
}

lucid_status check_window(const char* op, const PoolWindow& a) {
  LUCID_CHECK(check_positive(op, "kernel_size", a.kernel_size));
  LUCID_CHECK(check_positive(op, "stride", a.stride));
  LUCID_CHECK(check_positive(op, "dilation", a.dilation));
  for (int i = 0; i < 4; ++i)
    if (a.padding[i] < 0 || a.padding[i] > a.kernel_size[i % 2] / 2)
      return fail(LUCID_INVALID_ARGUMENT, "%s: padding must be between 0 and half of kernel_size %s, got %s", op,
                  ShapeText(a.kernel_size, 2).c_str(), ShapeText(a.padding.data(), 4).c_str());
  return ok();
}

// The number of windows along one axis, by PyTorch's rule; 0 where not one fits, false on overflow.
bool count_windows(PoolAxis* a, bool ceil_mode) {
  int64_t reach, padded;
  if (__builtin_mul_overflow(a->dilation, a->kernel - 1, &reach) ||
      __builtin_add_overflow(a->size, a->padding, &padded) || __builtin_add_overflow(padded, a->padding_end, &padded))
    return false;
  const int64_t span = padded - reach - 1;
  // Rounded up, a window of 5 on 4 pixels may still begin, if the next would begin past it.
  if (span < 0 && !(ceil_mode && -span < a->stride)) {
    a->out = 0;
    return true;
  }
  a->out = span < 0 ? 1 : span / a->stride + 1;
  if (!ceil_mode || span < 0 || span % a->stride == 0) return true;
  // One more, which hangs over the edge, unless it would begin in the padding behind the image.
  int64_t start;
  if (!__builtin_mul_overflow(a->out, a->stride, &start) && start < a->size + a->padding) ++a->out;
  return true;
}

PoolAxis axis_of(const PoolWindow& a, int i, int64_t size) {
  // One tap has nothing to be apart from, however far it is told to be.
  const int64_t dilation = a.kernel_size[i] == 1 ? 1 : a.dilation[i];
  return {.size = size,
          .out = 0,
          .kernel = a.kernel_size[i],
          .stride = a.stride[i],
          .padding = a.padding[i],
          .padding_end = a.padding[2 + i],
          .dilation = dilation};
}

}  // namespace

lucid_status check_windows(const char* op, const lucid_tensor* x, const PoolWindow& window, PoolAxis* h, PoolAxis* w,
                           lucid_shape* y) {
  LUCID_CHECK(check_tensor(op, "x", x, 4, 4));
  LUCID_CHECK(check_sizes(op, "x", *x));
  LUCID_CHECK(check_window(op, window));
  *h = axis_of(window, 0, x->shape[2]);
  *w = axis_of(window, 1, x->shape[3]);
  if (!count_windows(h, window.ceil_mode) || !count_windows(w, window.ceil_mode) ||
      !elements_fit({x->shape[0], x->shape[1], h->out, w->out}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: y must have at most 2^58 elements, got kernel_size %s and dilation %s", op,
                ShapeText(window.kernel_size, 2).c_str(), ShapeText(window.dilation, 2).c_str());
  if (h->out == 0 || w->out == 0)
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: the window must fit into the padded image, got image %s, kernel_size %s, padding %s, dilation %s",
                op, ShapeText(x->shape + 2, 2).c_str(), ShapeText(window.kernel_size, 2).c_str(),
                ShapeText(window.padding.data(), 4).c_str(), ShapeText(window.dilation, 2).c_str());
  *y = make_shape({x->shape[0], x->shape[1], h->out, w->out}, x->dtype);
  return ok();
}

lucid_status check_windows_backward(const char* op, const lucid_tensor* dy, const int64_t* image_size,
                                    const PoolWindow& window, PoolAxis* h, PoolAxis* w, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(op, "dy", dy, 4, 4));
  LUCID_CHECK(check_sizes(op, "dy", *dy));
  LUCID_CHECK(check_image_size(op, image_size));
  const int64_t sizes[4] = {dy->shape[0], dy->shape[1], image_size[0], image_size[1]};
  const int64_t strides[4] = {0, 0, 0, 0};
  if (!elements_fit({sizes[0], sizes[1], sizes[2], sizes[3]}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: dx must have at most 2^58 elements, got image_size %s", op,
                ShapeText(image_size, 2).c_str());
  const lucid_tensor x{.data = nullptr,
                       .device = dy->device,
                       .ndim = 4,
                       .dtype = dy->dtype,
                       .shape = sizes,
                       .strides = strides,
                       .byte_offset = 0};
  lucid_shape y;
  LUCID_CHECK(check_windows(op, &x, window, h, w, &y));
  LUCID_CHECK(check_shape(op, "dy", *dy, y));
  *dx = make_shape(sizes, 4, dy->dtype);
  return ok();
}

}  // namespace lucid
