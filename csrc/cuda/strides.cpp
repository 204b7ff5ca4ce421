#include "cuda/strides.h"

#include <algorithm>

#include "core/tensor_view.h"

namespace lucid::cuda {
namespace {

int64_t magnitude(int64_t stride) { return stride < 0 ? -stride : stride; }

// Along dimension `dim` of y.
int64_t broadcast_stride(const lucid_tensor& operand, const lucid_tensor& y, int dim) {
  const int own = dim - (y.ndim - operand.ndim);
  return own < 0 || operand.shape[own] == 1 ? 0 : stride_of(operand, own);
}

}  // namespace

int merge_strides(const lucid_tensor& y, int64_t* size, int64_t* y_strides, std::span<const StridedOperand> operands) {
  int order[kMaxDims], count = 0, merged = 0;
  for (int d = 0; d < y.ndim; ++d)
    if (y.shape[d] != 1) order[count++] = d;
  std::stable_sort(order, order + count,
                   [&](int d, int e) { return magnitude(stride_of(y, d)) > magnitude(stride_of(y, e)); });
  size[0] = y_strides[0] = 1;
  for (const StridedOperand& operand : operands) operand.strides[0] = 1;
  for (int i = 0; i < count; ++i) {
    const int d = order[i], last = merged - 1;
    const int64_t steps = y.shape[d];
    const bool merges = last >= 0 && y_strides[last] == stride_of(y, d) * steps &&
                        std::all_of(operands.begin(), operands.end(), [&](const StridedOperand& operand) {
                          return operand.strides[last] == broadcast_stride(*operand.tensor, y, d) * steps;
                        });
    const int to = merges ? last : merged++;
    size[to] = merges ? size[to] * steps : steps;
    y_strides[to] = stride_of(y, d);
    for (const StridedOperand& operand : operands) operand.strides[to] = broadcast_stride(*operand.tensor, y, d);
  }
  return std::max(merged, 1);
}

}  // namespace lucid::cuda
