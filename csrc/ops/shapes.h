// Requirements of operators on shapes, and the shapes of their outputs.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "core/arguments.h"
#include "core/shape_text.h"
#include "core/tensor_view.h"
#include "lucid.h"

namespace lucid {

// A shape of up to 8 dimensions; sizes beyond that are not read.
lucid_shape make_shape(const int64_t* sizes, int dims, lucid_dtype dtype = kFloat32);
lucid_shape make_shape(std::initializer_list<int64_t> sizes, lucid_dtype dtype = kFloat32);
lucid_shape shape_of(const lucid_tensor& tensor);

// Top, left, bottom and right, of the `padding` and `extra_padding` of an operator's arguments. Saturates.
std::array<int64_t, 4> padding_sides(const int64_t* padding, const int64_t* extra);

// Whether nothing has to be computed.
bool is_empty(const lucid_shape& shape);

// Where row `row` along `dim` begins: the elements of all other dimensions, numbered in row-major order.
int64_t row_offset(const lucid_tensor& tensor, int dim, int64_t row);

// The height and width of the image that an operator was given, which its gradient is told.
lucid_status check_image_size(const char* op, const int64_t* image_size);

// All sizes of the tensor are positive, but that the first, its batch, may be 0. The tensor itself is checked already.
lucid_status check_sizes(const char* op, const char* name, const lucid_tensor& tensor);
// For tensors without a batch.
lucid_status check_not_empty(const char* op, const char* name, const lucid_tensor& tensor);

// The tensor, whose rank may be another, has this shape.
lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor, const lucid_shape& shape);
lucid_status check_shape(const char* op, const char* name, const lucid_tensor& tensor,
                         std::initializer_list<int64_t> sizes);

// An output that the caller gives can receive a result of this shape: all that is asked of it but its strides.
lucid_status check_output(const char* op, const char* name, const lucid_tensor* tensor, const lucid_shape& shape,
                          lucid_device device = kCpu);

// lucid_<op>_output_shape() by the operator's shape rule.
template <class Args>
lucid_status output_shape(const char* op, const Args* given, lucid_status (*check)(const Args&, lucid_shape*),
                          lucid_shape* shape) {
  if (shape == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: the shape of y must have a place, got NULL", op);
  return with_arguments(op, given, [&](const Args& args) { return check(args, shape); });
}

}  // namespace lucid
