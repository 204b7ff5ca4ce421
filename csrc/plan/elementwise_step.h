// Steps that compute an image or rows element by element.
#pragma once

#include "cpu/kernels.h"
#include "plan/steps.h"

namespace lucid::plan {

// A kernel of whichever instruction set is in use when the plan runs.
using ElementwiseKernel = void (*Kernels::*)(const Elementwise&, int64_t begin, int64_t end);

// y = kernel(a, b), then a ReLU of it; `a` and `b` are the same value for a function of one.
std::unique_ptr<Step> elementwise_step(const char* name, ElementwiseKernel kernel, bool relu, const Value& a,
                                       const Value& b, const Value& y);

// The same on CUDA.
LaunchKernel elementwise_kernel(cuda::ElementwiseFunction function, bool relu, const Value& a, const Value& b,
                                const Value& y);

}  // namespace lucid::plan
