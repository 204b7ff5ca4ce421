#include "cuda/staging.h"

#include <algorithm>
#include <optional>

#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/strides.h"

namespace lucid::cuda {
namespace {

constexpr uintptr_t kAlignment = 16;
static_assert(Convert::kMaxDims == kMaxDims);

// The dimensions from the outermost in memory to the innermost.
void order_dims(int dims, Order order, int* ordered) {
  for (int d = 0; d < dims; ++d) ordered[d] = d;
  if (order == Order::kChannelsLast && dims > 2) std::rotate(ordered + 1, ordered + 2, ordered + dims);
}

// A tensor without gaps in this order; shape and strides are those of `dense`, whose memory is not chosen yet.
struct DenseTensor {
  DenseTensor(const lucid_tensor& like, Order order, lucid_dtype dtype, void* data) : tensor(like) {
    int ordered[kMaxDims];
    order_dims(like.ndim, order, ordered);
    int64_t stride = 1;
    for (int i = like.ndim - 1; i >= 0; --i) {
      strides[ordered[i]] = stride;
      stride *= like.shape[ordered[i]];
    }
    bytes = static_cast<size_t>(stride) * dtype.bits / 8;
    tensor.dtype = dtype;
    tensor.data = data;
    tensor.byte_offset = 0;
    tensor.strides = strides;
  }
  DenseTensor(const DenseTensor&) = delete;

  bool laid_out_as(const lucid_tensor& other) const {
    for (int d = 0; d < tensor.ndim; ++d)
      if (tensor.shape[d] != 1 && stride_of(other, d) != strides[d]) return false;
    return reinterpret_cast<uintptr_t>(data_of(other)) % kAlignment == 0;
  }

  int64_t strides[kMaxDims];
  size_t bytes;
  lucid_tensor tensor;
};

bool same(lucid_dtype a, lucid_dtype b) { return a.code == b.code && a.bits == b.bits; }

// As what elements are copied, which changes no bit.
std::optional<Dtype> dtype_of_size(int bits) {
  switch (bits) {
    case 8: return Dtype::kUint8;
    case 16: return Dtype::kFloat16;
    case 32: return Dtype::kFloat32;
    case 64: return Dtype::kInt64;
    default: return std::nullopt;
  }
}

}  // namespace

lucid_status convert(const Call& call, const lucid_tensor& x, const lucid_tensor& y) {
  const bool copies = same(x.dtype, y.dtype);
  const std::optional<Dtype> from = copies ? dtype_of_size(x.dtype.bits) : known_dtype(x.dtype),
                             to = copies ? from : known_dtype(y.dtype);
  if (!from || !to)
    return fail(LUCID_UNSUPPORTED, "%s: %s cannot be %s on cuda; move the tensor to the CPU", call.op(),
                DtypeText(from ? y.dtype : x.dtype).c_str(), copies ? "copied by its strides" : "converted");
  Convert p{.x = data_of(x),
            .y = data_of(y),
            .x_dtype = *from,
            .y_dtype = *to,
            .dims = 0,
            .size = {},
            .x_stride = {},
            .y_stride = {}};
  const StridedOperand operand{&x, p.x_stride};
  p.dims = merge_strides(y, p.size, p.y_stride, {&operand, 1});
  return call.check(call->convert(p, call.stream()));
}

lucid_status elementwise(const Call& call, ElementwiseFunction function, const lucid_tensor& a, const lucid_tensor& b,
                         const lucid_tensor& y, bool relu) {
  Elementwise p{.function = function,
                .dtype = dtype_of(y.dtype),
                .a = data_of(a),
                .b = data_of(b),
                .y = data_of(y),
                .dims = 0,
                .size = {},
                .a_stride = {},
                .b_stride = {},
                .y_stride = {},
                .relu = relu};
  const StridedOperand operands[] = {{&a, p.a_stride}, {&b, p.b_stride}};
  p.dims = merge_strides(y, p.size, p.y_stride, operands);
  return call.check(call->elementwise(p, call.stream()));
}

lucid_status Input::stage(const Call& call, const lucid_tensor& tensor, Order order) {
  return stage(call, tensor, order, tensor.dtype);
}

lucid_status Input::stage_vector(const Call& call, const lucid_tensor* tensor) {
  return tensor == nullptr ? ok() : stage(call, *tensor, Order::kRowMajor, kFloat32);
}

lucid_status Input::stage(const Call& call, const lucid_tensor& tensor, Order order, lucid_dtype dtype) {
  DenseTensor dense(tensor, order, dtype, nullptr);
  data_ = data_of(tensor);
  if (same(dtype, tensor.dtype) && dense.laid_out_as(tensor)) return ok();
  LUCID_CHECK(copy_.allocate(call, dense.bytes));
  dense.tensor.data = copy_.data();
  data_ = copy_.data();
  return convert(call, tensor, dense.tensor);
}

lucid_status Output::stage(const Call& call, const lucid_tensor& tensor, Order order) {
  const DenseTensor dense(tensor, order, tensor.dtype, nullptr);
  tensor_ = &tensor;
  order_ = order;
  data_ = data_of(tensor);
  if (dense.laid_out_as(tensor)) return ok();
  LUCID_CHECK(copy_.allocate(call, dense.bytes));
  data_ = copy_.data();
  return ok();
}

lucid_status Output::finish(const Call& call) const {
  if (data_ == data_of(*tensor_)) return ok();
  const DenseTensor dense(*tensor_, order_, tensor_->dtype, data_);
  return convert(call, dense.tensor, *tensor_);
}

}  // namespace lucid::cuda
