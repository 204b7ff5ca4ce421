#include "core/tensor_view.h"

#include "core/status.h"

namespace lucid {
namespace {

const char* dtype_kind(uint8_t code) {
  switch (code) {
    case LUCID_INT: return "int";
    case LUCID_UINT: return "uint";
    case LUCID_FLOAT: return "float";
    case LUCID_COMPLEX: return "complex";
    case LUCID_BOOL: return "bool";
    default: return "dtype code";
  }
}

// Whether the bytes of the tensor, and the offset of its furthest element, fit into an int64.
bool sizes_fit(const lucid_tensor& t) {
  int64_t bytes = sizeof(float), reach = 0;
  for (int d = 0; d < t.ndim; ++d) {
    if (t.shape[d] == 0) return true;
    if (__builtin_mul_overflow(bytes, t.shape[d], &bytes)) return false;
  }
  for (int d = 0; d < t.ndim; ++d) {
    int64_t distance;
    if (__builtin_mul_overflow(t.shape[d] - 1, stride_of(t, d), &distance)) return false;
    if (distance == INT64_MIN || __builtin_add_overflow(reach, distance < 0 ? -distance : distance, &reach))
      return false;
  }
  return reach <= INT64_MAX / static_cast<int64_t>(sizeof(float));
}

}  // namespace

int64_t stride_of(const lucid_tensor& t, int dim) {
  if (t.strides != nullptr) return t.strides[dim];
  int64_t stride = 1;
  for (int d = t.ndim - 1; d > dim; --d) stride *= t.shape[d];
  return stride;
}

float* data_of(const lucid_tensor& t) { return reinterpret_cast<float*>(static_cast<char*>(t.data) + t.byte_offset); }

bool ImageView::dense_channels_last() const {
  return (c == 1 || stride_c == 1) && (w == 1 || stride_w == c) && (h == 1 || stride_h == w * c) &&
         (n == 1 || stride_n == h * w * c);
}

lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* t, int min_rank, int max_rank) {
  if (t == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: %s must not be NULL", op, name);
  if (t->ndim < min_rank || t->ndim > max_rank) {
    if (min_rank == max_rank)
      return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %d dimensions, got %d", op, name, min_rank, t->ndim);
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %d to %d dimensions, got %d", op, name, min_rank, max_rank,
                t->ndim);
  }
  if (t->dtype.code != LUCID_FLOAT || t->dtype.bits != 32 || t->dtype.lanes != 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be float32, got %s%d", op, name, dtype_kind(t->dtype.code),
                t->dtype.bits);
  if (t->device.type != LUCID_CPU)
    return fail(LUCID_UNSUPPORTED, "%s: %s must be on the CPU, got device type %d", op, name, t->device.type);
  if (t->shape == nullptr && t->ndim > 0) return fail(LUCID_INVALID_ARGUMENT, "%s: %s has no shape", op, name);
  bool empty = false;
  for (int d = 0; d < t->ndim; ++d) {
    if (t->shape[d] < 0)
      return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of %s must not be negative, got %lld", op, name,
                  static_cast<long long>(t->shape[d]));
    empty |= t->shape[d] == 0;
  }
  if (!sizes_fit(*t)) return fail(LUCID_INVALID_ARGUMENT, "%s: the size of %s overflows", op, name);
  if (empty) return ok();
  if (t->data == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: %s has no data", op, name);
  if (reinterpret_cast<uintptr_t>(data_of(*t)) % alignof(float) != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: the data of %s must be aligned to %zu bytes", op, name, alignof(float));
  return ok();
}

lucid_status view_image(const char* op, const char* name, const lucid_tensor* t, int min_rank, ImageView* view) {
  LUCID_CHECK(check_tensor(op, name, t, min_rank, 4));
  const int rank = t->ndim;
  const auto size = [&](int d) { return d < rank ? t->shape[d] : 1; };
  const auto stride = [&](int d) { return d < rank ? stride_of(*t, d) : 0; };
  // (n, c, l) is an image of one row.
  const int row = rank == 3 ? 4 : 2, column = rank == 3 ? 2 : 3;
  *view = {data_of(*t), size(0), size(1), size(row), size(column), stride(0), stride(1), stride(row), stride(column)};
  return ok();
}

lucid_status view_vector(const char* op, const char* name, const lucid_tensor* t, int64_t size, VectorView* view) {
  LUCID_CHECK(check_tensor(op, name, t, 1, 1));
  if (t->shape[0] != size)
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %lld elements, got %lld", op, name,
                static_cast<long long>(size), static_cast<long long>(t->shape[0]));
  *view = {data_of(*t), size, stride_of(*t, 0)};
  return ok();
}

}  // namespace lucid
