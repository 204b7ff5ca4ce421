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

extern const Conv2dAlgorithm conv2d_grouped, conv2d_grouped_tensor;
extern const Conv2dAlgorithm conv2d_tensor, conv2d_tensor_tf32, conv2d_tensor_256x128, conv2d_tensor_192x128,
    conv2d_tensor_128x128, conv2d_tensor_128x64, conv2d_tensor_64x64, conv2d_tensor_256x32;
extern const Conv2dAlgorithm conv2d_gemm, conv2d_gemm_128x128, conv2d_gemm_128x64, conv2d_gemm_64x64,
    conv2d_gemm_128x32;

// Best first; conv2d_gemm accepts everything. Behind it for tests, the tiles of those that choose one. conv2d_grouped
// accepts up to 32 channels a group in any dtype, but has the CUDA cores alone: it comes behind the tensor cores.
constexpr const Conv2dAlgorithm* kConv2dAlgorithms[] = {
    &conv2d_grouped_tensor, &conv2d_tensor,         &conv2d_grouped,        &conv2d_tensor_tf32,   &conv2d_gemm,
    &conv2d_tensor_256x128, &conv2d_tensor_192x128, &conv2d_tensor_128x128, &conv2d_tensor_128x64, &conv2d_tensor_64x64,
    &conv2d_tensor_256x32,  &conv2d_gemm_128x128,   &conv2d_gemm_128x64,    &conv2d_gemm_64x64,    &conv2d_gemm_128x32,
};

}  // namespace lucid::cuda
