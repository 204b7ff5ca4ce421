// Every CPU kernel, as a table of function pointers: one table per instruction set.
//
// A kernel computes tasks [begin, end) of one operator. It owns no threads, allocates nothing and validates nothing;
// the operator in ops/ has done all three. Images arrive channels-last and without gaps, except where a kernel says
// that it takes any strides.
#pragma once

#include <cstdint>

#include "cpu/conv2d.h"

namespace lucid {

struct BatchNorm {
  const float *x, *scale, *shift;  // [pixels, c], [c], [c]
  float* y;
  int64_t c;
  bool relu;
};

struct Kernels {
  const char* isa;
  uint32_t required_features;  // CpuFeature bits; the table is usable when all are present

  const Conv2dAlgorithm* const* conv2d;  // best first, then null

  void (*batch_norm)(const BatchNorm&, int64_t begin, int64_t end);  // task: one pixel
};

// The best table this processor can run, or the one pinned by lucid_set_isa.
const Kernels& kernels();

}  // namespace lucid
