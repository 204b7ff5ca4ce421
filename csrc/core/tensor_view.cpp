#include "core/tensor_view.h"

#include <cstdio>

#include "core/shape_text.h"
#include "core/status.h"

namespace lucid {
namespace {

const char* dtype_kind(uint8_t code) {
  switch (code) {
    case LUCID_INT: return "int";
    case LUCID_UINT: return "uint";
    case LUCID_FLOAT: return "float";
    case LUCID_BFLOAT: return "bfloat";
    case LUCID_COMPLEX: return "complex";
    case LUCID_BOOL: return "bool";
    default: return "dtype code";
  }
}

// Whether the offset of the furthest element of the tensor fits as well.
bool strides_fit(const lucid_tensor& t) {
  int64_t reach = 0;
  for (int d = 0; d < t.ndim; ++d) {
    if (t.shape[d] == 0) return true;
    int64_t distance;
    if (__builtin_mul_overflow(t.shape[d] - 1, stride_of(t, d), &distance)) return false;
    if (distance == INT64_MIN || __builtin_add_overflow(reach, distance < 0 ? -distance : distance, &reach))
      return false;
  }
  return reach <= INT64_MAX / static_cast<int64_t>(sizeof(double));
}

// Whether operators on the tensor's device compute in its dtype.
bool computable(const lucid_tensor& t) {
  if (same_dtype(t.dtype, kFloat32)) return true;
  const bool narrow = (t.dtype.code == LUCID_FLOAT || t.dtype.code == LUCID_BFLOAT) && t.dtype.bits == 16;
  return t.device.type == LUCID_CUDA && narrow && t.dtype.lanes == 1;
}

lucid_status check_rank(const char* op, const char* name, int rank, int least, int most) {
  if (rank >= least && rank <= most) return ok();
  if (least == most)
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %d dimensions, got %d", op, name, least, rank);
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %d to %d dimensions, got %d", op, name, least, most, rank);
}

}  // namespace

bool same_dtype(lucid_dtype a, lucid_dtype b) { return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes; }

DtypeText::DtypeText(lucid_dtype dtype) {
  std::snprintf(text_, sizeof text_, dtype.code == LUCID_BOOL ? "%s" : "%s%d", dtype_kind(dtype.code), dtype.bits);
}

DeviceText::DeviceText(lucid_device device) {
  const char* format = device.type == LUCID_CPU ? "the CPU" : device.type == LUCID_CUDA ? "cuda:%d" : "device type %d";
  std::snprintf(text_, sizeof text_, format, device.type == LUCID_CUDA ? device.id : device.type);
}

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

// The product over all sizes but 0: what remains of an empty tensor must fit too, for its strides.
bool elements_fit(const int64_t* sizes, int dims) {
  int64_t elements = 1;
  for (int d = 0; d < dims; ++d)
    if (sizes[d] != 0 && (__builtin_mul_overflow(elements, sizes[d], &elements) || elements > kMostElements))
      return false;
  return true;
}

bool elements_fit(std::initializer_list<int64_t> sizes) {
  return elements_fit(sizes.begin(), static_cast<int>(sizes.size()));
}

lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* t, int min_rank, int max_rank,
                          lucid_dtype dtype) {
  if (t == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be a tensor, got NULL", op, name);
  LUCID_CHECK(check_rank(op, name, t->ndim, min_rank, max_rank));
  if (!same_dtype(t->dtype, dtype))
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be %s, got %s", op, name, DtypeText(dtype).c_str(),
                DtypeText(t->dtype).c_str());
  if (t->shape == nullptr && t->ndim > 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: the shape of %s must be given, got NULL", op, name);
  for (int d = 0; d < t->ndim; ++d)
    if (t->shape[d] < 0)
      return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of %s must not be negative, got %lld", op, name,
                  static_cast<long long>(t->shape[d]));
  if (!elements_fit(t->shape, t->ndim) || !strides_fit(*t))
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have at most 2^58 elements within 2^60 of the first, got %s", op,
                name, ShapeText(t->shape, t->ndim).c_str());
  return ok();
}

lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* t, int min_rank, int max_rank) {
  const bool known = t != nullptr && computable(*t);
  if (t != nullptr && !known && t->device.type == LUCID_CUDA)
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be float32, float16 or bfloat16, got %s", op, name,
                DtypeText(t->dtype).c_str());
  return check_tensor(op, name, t, min_rank, max_rank, known ? t->dtype : kFloat32);
}

lucid_status check_vector(const char* op, const char* name, const lucid_tensor* t, int64_t size, lucid_dtype dtype) {
  LUCID_CHECK(check_tensor(op, name, t, 1, 1, t != nullptr && same_dtype(t->dtype, dtype) ? dtype : kFloat32));
  if (t->shape[0] == size) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have %lld elements, got %lld", op, name,
              static_cast<long long>(size), static_cast<long long>(t->shape[0]));
}

lucid_status check_data(const char* op, const char* name, const lucid_tensor* t, lucid_device device) {
  if (t == nullptr) return ok();
  if (t->device.type != device.type || (device.type != LUCID_CPU && t->device.id != device.id))
    return fail(LUCID_UNSUPPORTED, "%s: %s must be on %s, got %s", op, name, DeviceText(device).c_str(),
                DeviceText(t->device).c_str());
  for (int d = 0; d < t->ndim; ++d)
    if (t->shape[d] == 0) return ok();
  if (t->data == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have data, got NULL", op, name);
  const uintptr_t bytes = t->dtype.bits / 8, address = reinterpret_cast<uintptr_t>(data_of(*t));
  if (address % bytes != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: the data of %s must be aligned to %d bytes, got %d more", op, name,
                static_cast<int>(bytes), static_cast<int>(address % bytes));
  return ok();
}

ImageView view_image(const lucid_tensor& t) {
  const int rank = t.ndim;
  const auto size = [&](int d) { return d < rank ? t.shape[d] : 1; };
  const auto stride = [&](int d) { return d < rank ? stride_of(t, d) : 0; };
  // (n, c, l) is an image of one row.
  const int row = rank == 3 ? 4 : 2, column = rank == 3 ? 2 : 3;
  return {data_of(t), size(0), size(1), size(row), size(column), stride(0), stride(1), stride(row), stride(column)};
}

VectorView view_vector(const lucid_tensor* t) {
  if (t == nullptr) return {nullptr, 0, 0};
  return {data_of(*t), t->shape[0], stride_of(*t, 0)};
}

}  // namespace lucid
