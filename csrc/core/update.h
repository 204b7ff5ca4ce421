// Updates of a parameter in place, as the kernels of every device are given them: the tensors, and numbers that the
// operator has computed in double.
#pragma once

#include <cstdint>

namespace lucid {

// Tensors of one shape with any strides. Elements are numbered in the order of the dimensions, the last one fastest.
template <int kCount>
struct UpdateTensors {
  static constexpr int kMaxDims = 8;
  void* data[kCount];
  int32_t dims;  // at least 1
  int64_t size[kMaxDims], stride[kCount][kMaxDims];
};

// g = gradient + weight_decay * parameter; buffer = momentum * buffer + undamped * g, or g in the first step;
// parameter -= lr * (nesterov ? g + momentum * buffer : buffer). Without a buffer it is lr * g.
struct SgdUpdate {
  UpdateTensors<3> tensors;  // parameter, gradient, momentum buffer; without one anything that may be read
  bool has_buffer, is_first_step, nesterov;
  float lr, momentum, undamped, weight_decay;
};

// mean += (1 - beta1) * (gradient - mean), square likewise of gradient^2 with beta2, and
// parameter = kept * parameter - step_size * mean / (root_scale * sqrt(square) + eps).
struct AdamwUpdate {
  UpdateTensors<4> tensors;            // parameter, gradient, mean, square
  float beta1, beta2, fresh1, fresh2;  // fresh1 = 1 - beta1
  float kept, step_size, root_scale, eps;
};

// average += fresh * (parameter - average).
struct AverageUpdate {
  UpdateTensors<2> tensors;  // average, parameter
  float fresh;
};

}  // namespace lucid
