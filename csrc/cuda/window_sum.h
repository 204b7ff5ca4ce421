// Means of many pixels, by blocks of threads: for radix sum pooling, and for averages of large windows.
#pragma once

#include "cuda/backend.h"

namespace lucid::cuda {

// y[n][i][j][c] = sum over the taps of window (i, j) and over r of x[n][tap][r * C + c], divided as AvgPool2d says.
// Dilations are 1.
struct WindowSum {
  AvgPool2d pool;
  int64_t radix, taps;  // taps of the largest window
};

Error window_sum(const WindowSum& arguments, Stream stream);

}  // namespace lucid::cuda
