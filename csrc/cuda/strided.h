// Loops over operands of any strides, made as simple as they can be before a kernel runs them.
#pragma once

#include "cuda/elements.h"

namespace lucid::cuda {

// Units are numbered in the order of the dimensions, the last one fastest. Operand 0 is the output.
template <int kOperands>
struct StridedLoop {
  static constexpr int kMaxDims = 8;
  int32_t dims = 0;
  uint32_t size[kMaxDims];
  int64_t stride[kOperands][kMaxDims];

  __device__ __forceinline__ void locate(uint32_t unit, int64_t (&offsets)[kOperands]) const {
#pragma unroll
    for (int operand = 0; operand < kOperands; ++operand) offsets[operand] = 0;
    for (int d = dims - 1; d >= 0; --d) {
      const uint32_t index = d == 0 ? unit : unit % size[d];
      if (d > 0) unit /= size[d];
#pragma unroll
      for (int operand = 0; operand < kOperands; ++operand)
        offsets[operand] += static_cast<int64_t>(index) * stride[operand][d];
    }
  }
};

// The same on the host, of any size.
template <int kOperands>
struct StridedShape {
  static constexpr int kMaxDims = 8;
  static constexpr int64_t kMostUnits = int64_t{1} << 31;  // of a launch, so that 32 bits number them
  int32_t dims = 0;
  int64_t size[kMaxDims], stride[kOperands][kMaxDims];

  void add(int64_t extent, const int64_t (&strides)[kOperands]) {
    if (extent == 1) return;
    size[dims] = extent;
    for (int operand = 0; operand < kOperands; ++operand) stride[operand][dims] = strides[operand];
    ++dims;
  }

  int64_t count() const {
    int64_t product = 1;
    for (int d = 0; d < dims; ++d) product *= size[d];
    return product;
  }

  // Sorts the dimensions by the output's strides, and makes those one that are one for every operand.
  void simplify() {
    if (dims == 0) {  // a single element
      size[dims] = 1;
      for (auto& strides : stride) strides[dims] = 1;
      ++dims;
    }
    for (int d = 1; d < dims; ++d)
      for (int e = d; e > 0 && magnitude(stride[0][e]) > magnitude(stride[0][e - 1]); --e) swap(e, e - 1);
    int last = 0;
    for (int d = 1; d < dims; ++d) {
      bool merged = true;
      for (const auto& strides : stride) merged = merged && strides[last] == size[d] * strides[d];
      if (!merged) ++last;
      size[last] = merged ? size[last] * size[d] : size[d];
      for (auto& strides : stride) strides[last] = strides[d];
    }
    dims = last + 1;
  }

  // Whether runs of `width` elements lie side by side in every operand, or are one element of it if `broadcast`.
  bool runs(int64_t width, bool broadcast) const {
    const int last = dims - 1;
    if (size[last] % width != 0) return false;
    for (const auto& strides : stride) {
      if (strides[last] != 1 && !(broadcast && strides[last] == 0)) return false;
      for (int d = 0; d < last; ++d)
        if (strides[last] == 1 && strides[d] % width != 0) return false;
    }
    return true;
  }

  // Units of `width` elements; at most kMostUnits of them.
  StridedLoop<kOperands> units(int64_t width) const {
    StridedLoop<kOperands> loop;
    loop.dims = dims;
    for (int d = 0; d < dims; ++d) {
      const int64_t step = d == dims - 1 ? width : 1;
      loop.size[d] = static_cast<uint32_t>(size[d] / step);
      for (int operand = 0; operand < kOperands; ++operand) loop.stride[operand][d] = stride[operand][d] * step;
    }
    return loop;
  }

  // Calls function(part, offsets) for parts of at most kMostUnits elements each.
  template <class Function>
  Error for_each_part(Function function, const int64_t (&offsets)[kOperands]) const {
    if (count() <= kMostUnits) return function(*this, offsets);
    int widest = 0;
    for (int d = 1; d < dims; ++d)
      if (size[d] > size[widest]) widest = d;
    // A power of two, so that runs of elements stay whole.
    int64_t half = 1;
    while (2 * half < size[widest]) half *= 2;
    StridedShape first = *this, second = *this;
    first.size[widest] = half;
    second.size[widest] = size[widest] - half;
    int64_t behind[kOperands];
    for (int operand = 0; operand < kOperands; ++operand)
      behind[operand] = offsets[operand] + half * stride[operand][widest];
    const Error error = first.for_each_part(function, offsets);
    return error != cudaSuccess ? error : second.for_each_part(function, behind);
  }

 private:
  static int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

  void swap(int d, int e) {
    const int64_t extent = size[d];
    size[d] = size[e];
    size[e] = extent;
    for (auto& strides : stride) {
      const int64_t step = strides[d];
      strides[d] = strides[e];
      strides[e] = step;
    }
  }
};

}  // namespace lucid::cuda
