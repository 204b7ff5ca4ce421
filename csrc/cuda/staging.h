// Kernels read and write memory without gaps, aligned to 16 bytes: images in channels-last order, everything else in
// row-major order, vectors in float32. These stand between them and a caller's strides.
#pragma once

#include "cuda/memory.h"
#include "cuda/plugin.h"

namespace lucid::cuda {

enum class Order { kRowMajor, kChannelsLast };

// y = x, in y's dtype and strides, on the call's device. x may be broadcast: a stride of 0. Elements of other types
// than the kernels' are copied where both have the same and at most 8 bytes.
lucid_status convert(const Call& call, const lucid_tensor& x, const lucid_tensor& y);

// y = function(a, b), then a ReLU where asked for; a and b are broadcast to the shape of y.
lucid_status elementwise(const Call& call, ElementwiseFunction function, const lucid_tensor& a, const lucid_tensor& b,
                         const lucid_tensor& y, bool relu = false);

// Memory to work in for the length of a call.
class Workspace {
 public:
  lucid_status allocate(const Call& call, size_t bytes) {
    return memory_.allocate(call.op(), call.device(), bytes, call.stream());
  }
  void* data() const { return memory_.data(); }

 private:
  Memory memory_;
};

// A tensor's own memory where a kernel can read it, else a copy.
class Input {
 public:
  lucid_status stage(const Call& call, const lucid_tensor& tensor, Order order);
  // A vector in float32; null for one that is not there.
  lucid_status stage_vector(const Call& call, const lucid_tensor* tensor);
  const void* data() const { return data_; }
  const float* floats() const { return static_cast<const float*>(data_); }

 private:
  lucid_status stage(const Call& call, const lucid_tensor& tensor, Order order, lucid_dtype dtype);

  Workspace copy_;
  const void* data_ = nullptr;
};

// Where a kernel writes; finish() brings it to the tensor if that is laid out otherwise.
class Output {
 public:
  lucid_status stage(const Call& call, const lucid_tensor& tensor, Order order);
  lucid_status finish(const Call& call) const;
  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  const lucid_tensor* tensor_ = nullptr;
  Order order_ = Order::kRowMajor;
  Workspace copy_;
  void* data_ = nullptr;
};

}  // namespace lucid::cuda
