// The windows of max_pool2d and avg_pool2d: their checks, and how many there are.
#pragma once

#include <array>

#include "cpu/kernels.h"
#include "lucid.h"

namespace lucid {

struct PoolWindow {
  const int64_t *kernel_size, *stride;  // pairs
  std::array<int64_t, 4> padding;       // top, left, bottom, right
  const int64_t* dilation;              // a pair
  bool ceil_mode;
};

// Checks x and the window, and gives both axes and the shape of y.
lucid_status check_windows(const char* op, const lucid_tensor* x, const PoolWindow& window, PoolAxis* h, PoolAxis* w,
                           lucid_shape* y);

// The same for a gradient, which is told the size of the image: checks dy too, and gives the shape of dx.
lucid_status check_windows_backward(const char* op, const lucid_tensor* dy, const int64_t* image_size,
                                    const PoolWindow& window, PoolAxis* h, PoolAxis* w, lucid_shape* dx);

}  // namespace lucid
