// A step of a plan on a CUDA device: a kernel, and the constants that it reads.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/geometry.h"
#include "cuda/backend.h"
#include "lucid.h"

namespace lucid::plan {

struct Value;

// A weight or a bias. From the plan's creation on it lies on the device.
struct Constant {
  std::vector<float> values;              // until then; a constant without any is a null pointer
  bool is_vector = false;                 // biases and their like are float32 in a plan of any dtype
  std::optional<Conv2dShape> packed_for;  // the convolution whose weight it is
  const void* data = nullptr;
};

// One run of a plan, as a launch sees it.
struct Call {
  const cuda::Backend& cuda;
  cuda::Dtype dtype;  // of all values
  bool tf32;
  cuda::Stream stream;
  std::byte* arena;
  const lucid_tensor *const *inputs, *const *outputs;  // for transfers
  const std::vector<Constant>* constants;              // of the launch

  void* at(const Value& value) const;
  const void* constant(size_t index) const { return (*constants)[index].data; }
  const float* vector(size_t index) const { return static_cast<const float*>(constant(index)); }
};

using LaunchKernel = std::function<cuda::Error(const Call&)>;

struct Launch {
  std::string algorithm;
  LaunchKernel enqueue;
  std::vector<Constant> constants;
  int overwritten = -1;  // the input whose memory the output may take if nothing reads it later
};

// Four dimensions in memory; strides in elements.
using FourSizes = std::array<int64_t, 4>;
struct Strided {
  void* data;
  cuda::Dtype dtype;
  FourSizes stride;
};

// y = x.
cuda::Convert conversion(const FourSizes& size, const Strided& x, const Strided& y);

// Constants of a step from the tensors that it is described with, which may be null.
Constant vector_constant(const lucid_tensor* tensor);
Constant matrix_constant(const lucid_tensor* tensor);
Constant conv2d_constant(const lucid_tensor* weight, const Conv2dShape& shape);

// Between the caller's memory and the plan's.
std::unique_ptr<Launch> import_launch(int input, const Value& y);
std::unique_ptr<Launch> export_launch(const Value& x, int output);

}  // namespace lucid::plan
