// What the files of the gradients of conv2d share; the operators themselves are declared with all kernels.
#pragma once

#include "cuda/backend.h"
#include "cuda/conv2d_elements.h"
#include "cuda/cuda_compat.h"

namespace lucid::cuda {

// A Conv2dShape in the integers of a device. Fits where the images have at most 2^30 pixels.
struct GradientShape {
  int n, h, w, groups, in_group, out_group, kernel_h, kernel_w, out_h, out_w;
  int stride_h, stride_w, padding_top, padding_left, dilation_h, dilation_w;

  explicit GradientShape(const Conv2dShape& s)
      : n(static_cast<int>(s.n)),
        h(static_cast<int>(s.h)),
        w(static_cast<int>(s.w)),
        groups(static_cast<int>(s.groups)),
        in_group(static_cast<int>(s.in_group)),
        out_group(static_cast<int>(s.out_group)),
        kernel_h(static_cast<int>(s.kernel_h)),
        kernel_w(static_cast<int>(s.kernel_w)),
        out_h(static_cast<int>(s.out_h)),
        out_w(static_cast<int>(s.out_w)),
        stride_h(static_cast<int>(s.stride_h)),
        stride_w(static_cast<int>(s.stride_w)),
        padding_top(static_cast<int>(s.padding_top)),
        padding_left(static_cast<int>(s.padding_left)),
        dilation_h(static_cast<int>(s.dilation_h)),
        dilation_w(static_cast<int>(s.dilation_w)) {}
};

constexpr int64_t kMostPixels = 1 << 30;
constexpr int64_t kMostGridBlocks = 0x7fffffff;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline bool fits(const Conv2dShape& s) {
  return s.n * s.h * s.w <= kMostPixels && s.n * s.out_h * s.out_w <= kMostPixels;
}

inline int64_t element_bytes(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }

// Calls function(T{}) with the type of the elements.
template <class Function>
auto with_element(Dtype dtype, Function function) {
  switch (dtype) {
    case Dtype::kFloat16: return function(__half{});
    case Dtype::kBfloat16: return function(__nv_bfloat16{});
    default: return function(float{});
  }
}

// A 3x3 window of stride 1 or 2 over groups of few channels that come in fours. Those of 16 channels and more pay on
// tensor cores where there are some.
inline bool is_grouped3x3(const Conv2dShape& s, Dtype dtype) {
  const bool window = s.kernel_h == 3 && s.kernel_w == 3 && s.dilation_h == 1 && s.dilation_w == 1 &&
                      s.stride_h == s.stride_w && s.stride_h <= 2;
  const int64_t most = dtype == Dtype::kFloat32 ? 48 : 12;
  return window && s.groups > 1 && s.in_group % 4 == 0 && s.out_group % 4 == 0 && s.in_group <= most;
}

// Both in conv2d_backward_input_grouped.cu, both for is_grouped3x3.
size_t backward_input_grouped_bytes(const Conv2dShape& shape);
Error backward_input_grouped(const Conv2dBackwardInput& arguments, Stream stream);

// In conv2d_backward_input_rows.cu: 16 or 32 channels a group in 16 bits. dy, dx and the weights, which are
// [group][tap][output channel][input channel], begin at multiples of 16 bytes.
bool accepts_input_rows(const Conv2dShape& shape, Dtype dtype);
Error backward_input_rows(const Conv2dBackwardInput& arguments, const void* weight, Stream stream);

// Partial sums of dweight: [part][group][rows][columns], where row and column are an output channel of the group and
// tap * in_group + input channel, both perhaps with padding behind.
struct WeightParts {
  int64_t parts, rows, columns;
};

// Into how many parts pixels are cut: enough blocks to fill a large device a few times, but no more than `most`, nor
// than 16 MiB of partial sums, which the second cache holds. `blocks` and `floats` are those of one part.
inline int64_t parts_of(int64_t blocks, int64_t most, int64_t floats) {
  constexpr int64_t kBlocks = 512, kFloats = int64_t{4} << 20;
  int64_t parts = ceil_div(kBlocks, blocks);
  if (parts > kFloats / floats) parts = kFloats / floats;
  if (parts > most) parts = most;
  return parts > 1 ? parts : 1;
}

WeightParts weight_parts_grouped(const Conv2dShape& shape);
WeightParts weight_parts_gemm(const Conv2dShape& shape, Dtype dtype);
Error backward_weight_grouped(const Conv2dBackwardWeight& arguments, const WeightParts& parts, Stream stream);
Error backward_weight_gemm(const Conv2dBackwardWeight& arguments, const WeightParts& parts, Stream stream);

}  // namespace lucid::cuda
