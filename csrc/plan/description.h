// What a plan's description gives the operators: shapes that have no memory yet, and weights to copy.
#pragma once

#include <vector>

#include "plan/plan.h"

namespace lucid::plan {

// The operators' checks want a tensor; a value has a shape but no memory yet. They read no data.
class ShapeOnly {
 public:
  explicit ShapeOnly(const Value& v) : shape_{v.n, v.c, v.h, v.w} {
    tensor_ = {.data = &placeholder_,
               .device = {LUCID_CPU, 0},
               .ndim = v.image ? 4 : 2,
               .dtype = {LUCID_FLOAT, 32, 1},
               .shape = shape_,
               .strides = nullptr,
               .byte_offset = 0};
  }
  const lucid_tensor* get() const { return &tensor_; }

 private:
  int64_t shape_[4];
  float placeholder_ = 0;
  lucid_tensor tensor_;
};

// A checked vector or matrix in row-major order; empty for none.
inline std::vector<float> dense_copy(const lucid_tensor* tensor) {
  std::vector<float> copy;
  if (tensor == nullptr) return copy;
  const int64_t rows = tensor->shape[0], columns = tensor->ndim == 2 ? tensor->shape[1] : 1;
  const auto stride = [&](int d, int64_t dense) { return tensor->strides != nullptr ? tensor->strides[d] : dense; };
  const int64_t row_step = stride(0, columns), step = tensor->ndim == 2 ? stride(1, 1) : 0;
  const float* data = reinterpret_cast<const float*>(static_cast<const char*>(tensor->data) + tensor->byte_offset);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) copy.push_back(data[i * row_step + j * step]);
  return copy;
}

}  // namespace lucid::plan
