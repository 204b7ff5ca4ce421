// Grids of the convolution's kernels.
#pragma once

#include "cuda/backend.h"
#include "cuda/cuda_compat.h"

namespace lucid::cuda {

constexpr int64_t kMostBlocks = 0x7fffffff;

// Of the current device; how work is cut by it changes no result.
inline int64_t multiprocessors() {
  int device = 0, count = 1;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return 1;
  return count;
}

// Of the current device: 89 for 8.9; 0 if there is none.
inline int compute_capability() {
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
    return 0;
  return 10 * major + minor;
}

// Whether the current device has tensor cores for a dtype; those of float32 are TF32's.
inline bool has_tensor_cores(Dtype dtype) {
  const int capability = compute_capability();
  return capability >= 80 || (dtype == Dtype::kFloat16 && capability >= 70);
}

// One thread for each of `count` elements.
inline LaunchConfig threads_for(int64_t count, int threads, Stream stream) {
  return {dim3(unsigned((count + threads - 1) / threads)), dim3(unsigned(threads)), 0,
          static_cast<cudaStream_t>(stream)};
}

}  // namespace lucid::cuda
