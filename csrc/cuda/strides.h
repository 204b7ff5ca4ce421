// The strides of a kernel that goes through tensors element by element.
#pragma once

#include <cstdint>
#include <span>

#include "lucid.h"

namespace lucid::cuda {

struct StridedOperand {
  const lucid_tensor* tensor;  // broadcast to the shape of y: dimensions that it lacks are in front
  int64_t* strides;            // to be filled, in elements; 0 where it has one element for many of y
};

// The dimensions in the order of y's memory, from the outermost. Those of size 1 are left out, and what is one step of
// another for all tensors is merged with it: dense tensors of the same order, whatever their shape, end as one
// dimension. Returns how many there are, at least 1.
int merge_strides(const lucid_tensor& y, int64_t* size, int64_t* y_strides, std::span<const StridedOperand> operands);

}  // namespace lucid::cuda
