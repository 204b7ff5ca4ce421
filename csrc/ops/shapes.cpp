#include "ops/shapes.h"

#include <algorithm>

#include "core/status.h"

namespace lucid {

lucid_shape make_shape(const int64_t* sizes, int dims, lucid_dtype dtype) {
  lucid_shape shape{.dtype = dtype, .ndim = dims, .sizes = {}};
  std::copy(sizes, sizes + dims, shape.sizes);
  return shape;
}

lucid_shape make_shape(std::initializer_list<int64_t> sizes, lucid_dtype dtype) {
  return make_shape(sizes.begin(), static_cast<int>(sizes.size()), dtype);
}

lucid_shape shape_of(const lucid_tensor& tensor) { return make_shape(tensor.shape, tensor.ndim, tensor.dtype); }

std::array<int64_t, 4> padding_sides(const int64_t* padding, const int64_t* extra) {
  std::array<int64_t, 4> sides{padding[0], padding[1]};
  for (int i = 0; i < 2; ++i)
    if (__builtin_add_overflow(padding[i], extra[i], &sides[2 + i]))
      sides[2 + i] = extra[i] > 0 ? INT64_MAX : INT64_MIN;
  return sides;
}

bool is_empty(const lucid_shape& shape) { return std::count(shape.sizes, shape.sizes + shape.ndim, 0) > 0; }

int64_t row_offset(const lucid_tensor& t, int dim, int64_t row) {
  int64_t offset = 0;
  for (int d = t.ndim - 1; d >= 0; --d) {
    if (d == dim) continue;
    offset += row % t.shape[d] * stride_of(t, d);
    row /= t.shape[d];
  }
  return offset;
}

lucid_status check_image_size(const char* op, const int64_t* image_size) {
  if (std::min(image_size[0], image_size[1]) > 0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: image_size must be positive, got %s", op, ShapeText(image_size, 2).c_str());
}

lucid_status check_sizes(const char* op, const char* name, const lucid_tensor& tensor) {
  const int batch = std::min(tensor.ndim, 1);
  if (std::count(tensor.shape + batch, tensor.shape + tensor.ndim, 0) == 0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of %s must be positive, but for the batch, got %s", op, name,
              ShapeText(tensor.shape, tensor.ndim).c_str());
}

lucid_status check_not_empty(const char* op, const char* name, const lucid_tensor& tensor) {
  if (std::count(tensor.shape, tensor.shape + tensor.ndim, 0) == 0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of %s must be positive, got %s", op, name,
              ShapeText(tensor.shape, tensor.ndim).c_str());
}

lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor, const lucid_shape& shape) {
  if (std::equal(shape.sizes, shape.sizes + shape.ndim, tensor.shape, tensor.shape + tensor.ndim)) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have shape %s, got %s", op, name,
              ShapeText(shape.sizes, shape.ndim).c_str(), ShapeText(tensor.shape, tensor.ndim).c_str());
}

lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor,
                         std::initializer_list<int64_t> sizes) {
  return check_shape(op, name, tensor, make_shape(sizes));
}

lucid_status check_output(const char* op, const char* name, const lucid_tensor* tensor, const lucid_shape& shape,
                          lucid_device device) {
  LUCID_CHECK(check_tensor(op, name, tensor, 0, kMaxDims, shape.dtype));
  LUCID_CHECK(check_shape(op, name, *tensor, shape));
  return check_data(op, name, tensor, device);
}

}  // namespace lucid
