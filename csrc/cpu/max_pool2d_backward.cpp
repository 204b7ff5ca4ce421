// The gradient of max pooling: dx is the sum of dy over the windows that found their value at the pixel.
//
// Bound by memory, mostly by the indices of 8 bytes. A pixel of dx asks the windows that may cover it, in order: each
// is written once, no two threads add to one, and no index leads outside of the image.
#include "cpu/kernels.h"
#include "cpu/pool_taps.h"

namespace lucid::LUCID_ISA {
namespace {

// Adds dy of the channels whose value was at `here`. A step of 1 is known to the compiler, which then takes vectors.
template <class Step>
inline void add_found(const float* dy, const int64_t* indices, Step step, int64_t here, int64_t c, float* dx) {
  for (int64_t i = 0; i < c; ++i) dx[i] += indices[i * step()] == here ? dy[i] : 0.0f;
}

}  // namespace

void max_pool2d_backward(const MaxPool2dBackward& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h.size, x_row = row % p.h.size;
    const Windows rows = windows_of(p.h, x_row);
    for (int64_t column = 0; column < p.w.size; ++column) {
      const Windows columns = windows_of(p.w, column);
      float* dx = p.dx + (row * p.w.size + column) * p.c;
      for (int64_t i = 0; i < p.c; ++i) dx[i] = 0.0f;
      for (int64_t i = rows.first; i < rows.end; ++i)
        for (int64_t j = columns.first; j < columns.end; ++j) {
          const float* dy = p.dy + ((image * p.h.out + i) * p.w.out + j) * p.c;
          const int64_t* indices = p.indices + image * p.indices_image + i * p.indices_row + j * p.indices_pixel;
          const int64_t here = x_row * p.w.size + column, step = p.indices_channel;
          if (step == 1)
            add_found(dy, indices, [] { return int64_t{1}; }, here, p.c, dx);
          else
            add_found(dy, indices, [step] { return step; }, here, p.c, dx);
        }
    }
  }
}

}  // namespace lucid::LUCID_ISA
