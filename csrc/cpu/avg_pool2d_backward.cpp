// The gradient of average pooling, fixed or adaptive: dx is the sum of dy / divisor over the windows that cover the
// pixel.
//
// Bound by memory where windows do not overlap, as they do not in these networks. A pixel of dx asks its windows in
// order: each is written once, and no two threads add to one.
#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/pool_taps.h"

namespace lucid::LUCID_ISA {
namespace {

double divisor_of(const AvgPool2dBackward& p, const Taps& rows, const Taps& columns) {
  if (p.divisor != 0) return static_cast<double>(p.divisor);
  if (p.count_include_pad) return static_cast<double>(rows.padded) * static_cast<double>(columns.padded);
  return static_cast<double>(rows.count) * static_cast<double>(columns.count);
}

}  // namespace

void avg_pool2d_backward(const AvgPool2dBackward& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h.size;
    const Windows rows = windows_of(p.h, row % p.h.size);
    for (int64_t column = 0; column < p.w.size; ++column) {
      const Windows columns = windows_of(p.w, column);
      float* dx = p.dx + (row * p.w.size + column) * p.c;
      for (int64_t i = 0; i < p.c; ++i) dx[i] = 0.0f;
      for (int64_t i = rows.first; i < rows.end; ++i)
        for (int64_t j = columns.first; j < columns.end; ++j) {
          const double divisor = divisor_of(p, taps_of(p.h, i), taps_of(p.w, j));
          const F32 by = F32::broadcast(static_cast<float>(divisor));
          const float* dy = p.dy + ((image * p.h.out + i) * p.w.out + j) * p.c;
          for_each_vector(
              p.c, [&](int64_t k, auto lanes) { lanes.store(lanes.load(dx + k) + lanes.load(dy + k) / by, dx + k); });
        }
    }
  }
}

}  // namespace lucid::LUCID_ISA
