// Every kernel of the plugin by its name, as backend.h lists them. A kernel is defined in the .cu file of its operator.
#pragma once

#include "cuda/backend.h"

namespace lucid::cuda {

#define LUCID_CUDA_KERNEL(name, Arguments) Error name(const Arguments& arguments, Stream stream);
LUCID_CUDA_KERNELS(LUCID_CUDA_KERNEL)
#undef LUCID_CUDA_KERNEL

#define LUCID_CUDA_WORKSPACE(name, Arguments) size_t name##_bytes(const Arguments& arguments);
LUCID_CUDA_WORKSPACES(LUCID_CUDA_WORKSPACE)
#undef LUCID_CUDA_WORKSPACE

const char* conv2d_algorithms(const Conv2dShape& shape, Dtype dtype, bool tf32);
size_t conv2d_packed_bytes(const Conv2dPack& arguments);

}  // namespace lucid::cuda
