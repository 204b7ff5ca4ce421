// Steps that compute an image or rows element by element.
#pragma once

#include "cpu/kernels.h"
#include "plan/steps.h"

namespace lucid::plan {

// The kernels of whichever instruction set is in use when the plan runs, by the type of the elements.
struct ElementwiseKernels {
  void (*Kernels::*for_float)(const Elementwise&, int64_t begin, int64_t end);
  void (*Kernels::*for_bfloat16)(const ElementwiseOf<Bfloat16>&, int64_t begin, int64_t end);
};

// y = kernel(a, b), then a ReLU of it; `a` and `b` are the same value for a function of one.
std::unique_ptr<Step> elementwise_step(const char* name, const ElementwiseKernels& kernels, bool relu, const Value& a,
                                       const Value& b, const Value& y);

// The same on CUDA.
LaunchKernel elementwise_kernel(cuda::ElementwiseFunction function, bool relu, const Value& a, const Value& b,
                                const Value& y);

}  // namespace lucid::plan
