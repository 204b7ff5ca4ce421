// An algorithm of the forward convolution, and the list of them.
#pragma once

#include "cuda/backend.h"

namespace lucid::cuda {

// The order of an algorithm's sums depends on the shape without n alone: an image has the same result in every batch.
struct Conv2dAlgorithm {
  const char* name;
  bool (*accepts)(const Conv2dShape& shape, Dtype dtype, bool tf32);
  size_t (*packed_bytes)(const Conv2dShape& shape, Dtype dtype);
  Error (*pack)(const Conv2dPack& arguments, Stream stream);
  Error (*run)(const Conv2d& arguments, Stream stream);
};

extern const Conv2dAlgorithm conv2d_grouped, conv2d_gemm, conv2d_gemm_128x128, conv2d_gemm_128x64, conv2d_gemm_64x64,
    conv2d_gemm_128x32;

// Best first. The last accepts everything; those behind `conv2d_gemm` are its tiles, for tests.
constexpr const Conv2dAlgorithm* kConv2dAlgorithms[] = {
    &conv2d_grouped, &conv2d_gemm, &conv2d_gemm_128x128, &conv2d_gemm_128x64, &conv2d_gemm_64x64, &conv2d_gemm_128x32,
};

}  // namespace lucid::cuda
