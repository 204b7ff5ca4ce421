#include "ops/shapes.h"

#include <algorithm>
#include <cstdio>

#include "core/status.h"

namespace lucid {

ShapeText::ShapeText(const int64_t* shape, int dims) {
  int at = std::snprintf(text_, sizeof text_, "(");
  for (int d = 0; d < dims; ++d)
    at += std::snprintf(text_ + at, sizeof text_ - at, d == 0 ? "%lld" : ", %lld", static_cast<long long>(shape[d]));
  std::snprintf(text_ + at, sizeof text_ - at, dims == 1 ? ",)" : ")");
}

lucid_status check_not_empty(const char* op, const char* name, const lucid_tensor& tensor) {
  if (std::count(tensor.shape, tensor.shape + tensor.ndim, 0) == 0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of %s must be positive, got %s", op, name,
              ShapeText(tensor.shape, tensor.ndim).c_str());
}

lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor, const int64_t* shape, int dims) {
  if (std::equal(shape, shape + dims, tensor.shape, tensor.shape + tensor.ndim)) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have shape %s, got %s", op, name, ShapeText(shape, dims).c_str(),
              ShapeText(tensor.shape, tensor.ndim).c_str());
}

lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor,
                         std::initializer_list<int64_t> shape) {
  return check_shape(op, name, tensor, shape.begin(), static_cast<int>(shape.size()));
}

}  // namespace lucid
