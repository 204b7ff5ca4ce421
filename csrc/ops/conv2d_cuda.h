// A convolution on a CUDA device.
#pragma once

#include <string>

#include "core/geometry.h"
#include "cuda/memory.h"
#include "lucid.h"

namespace lucid {

// Weights that were packed once, in memory of a device. What packed them is done when lucid_conv2d_prepare returns, so
// that a call on any stream can use them.
struct CudaConv2dWeights {
  lucid_device device;
  lucid_dtype dtype;
  std::string algorithm;
  bool tf32;
  cuda::Memory packed, bias;
};

// Of checked arguments.
lucid_status run_conv2d_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape);
lucid_status prepare_conv2d_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape,
                                    CudaConv2dWeights* weights);

// The names, comma-separated, best first; never none.
lucid_status conv2d_algorithms_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape, const char** names);

}  // namespace lucid
