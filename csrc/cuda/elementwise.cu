// y = function(a, b), then a ReLU, of operands with any strides; those that are broadcast have strides of 0.
//
// Bound by memory. Where all operands are contiguous along y's last dimension, or do not move along it, a thread takes
// 16 bytes of each.
#include "cuda/kernels.h"
#include "cuda/strided.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

using Loop = StridedLoop<3>;
using Shape = StridedShape<3>;

struct Call {
  ElementwiseFunction function;
  const void *a, *b;
  void* y;
  bool a_repeats, b_repeats, relu;  // one element serves a whole unit
};

template <int kWidth, class Function>
__device__ __forceinline__ void for_all(float (&a)[kWidth], const float (&b)[kWidth], Function function) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) a[i] = function(a[i], b[i]);
}

// a = function(a, b). Maximum and minimum are NaN if one of both is.
template <int kWidth>
__device__ __forceinline__ void apply(ElementwiseFunction function, float (&a)[kWidth], const float (&b)[kWidth]) {
  switch (function) {
    case ElementwiseFunction::kAdd: return for_all(a, b, [](float x, float y) { return x + y; });
    case ElementwiseFunction::kSubtract: return for_all(a, b, [](float x, float y) { return x - y; });
    case ElementwiseFunction::kMultiply: return for_all(a, b, [](float x, float y) { return x * y; });
    case ElementwiseFunction::kDivide: return for_all(a, b, [](float x, float y) { return x / y; });
    case ElementwiseFunction::kMaximum: return for_all(a, b, [](float x, float y) { return x > y || x != x ? x : y; });
    case ElementwiseFunction::kMinimum: return for_all(a, b, [](float x, float y) { return x < y || x != x ? x : y; });
    case ElementwiseFunction::kRelu: return for_all(a, b, [](float x, float) { return rectified(x); });
    case ElementwiseFunction::kSigmoid: return for_all(a, b, [](float x, float) { return 1.0f / (1.0f + expf(-x)); });
    case ElementwiseFunction::kReluBackward:
      return for_all(a, b, [](float dy, float y) { return y <= 0.0f ? 0.0f : dy; });
    case ElementwiseFunction::kSigmoidBackward:
      return for_all(a, b, [](float dy, float y) { return dy * (y * (1.0f - y)); });
  }
}

template <class Access>
__device__ __forceinline__ void load_operand(const Access& access, const void* base, int64_t offset, bool repeats,
                                             float (&values)[Access::kWidth]) {
  if (!repeats) return access.load(base, offset, values);
  const float value = access.load_one(base, offset);
#pragma unroll
  for (int i = 0; i < Access::kWidth; ++i) values[i] = value;
}

template <class Access>
__global__ void __launch_bounds__(kThreads) elementwise_units(Call call, Loop loop, uint32_t count, Access access) {
  constexpr int kWidth = Access::kWidth;
  const uint32_t unit = blockIdx.x * kThreads + threadIdx.x;
  if (unit >= count) return;
  int64_t offsets[3];
  loop.locate(unit, offsets);
  float a[kWidth], b[kWidth] = {};
  load_operand(access, call.a, offsets[1], call.a_repeats, a);
  if (call.b != nullptr) load_operand(access, call.b, offsets[2], call.b_repeats, b);
  apply(call.function, a, b);
  if (call.relu) for_all(a, b, [](float x, float) { return rectified(x); });
  access.store(call.y, offsets[0], a);
}

bool takes_two(ElementwiseFunction function) {
  return function != ElementwiseFunction::kRelu && function != ElementwiseFunction::kSigmoid;
}

}  // namespace

Error elementwise(const Elementwise& p, Stream stream) {
  const bool two = takes_two(p.function);
  Shape shape;
  for (int d = 0; d < p.dims; ++d)
    shape.add(p.size[d], {p.y_stride[d], p.a_stride[d], two ? p.b_stride[d] : p.a_stride[d]});
  if (shape.count() == 0) return cudaSuccess;
  shape.simplify();
  const int last = shape.dims - 1;
  // An operand that repeats is read by elements, and need not be aligned.
  const bool a_repeats = shape.stride[1][last] == 0, b_repeats = shape.stride[2][last] == 0;
  const bool wide = shape.stride[0][last] == 1 && shape.runs(width_of(p.dtype), true);
  const auto launch_parts = [&](auto access) {
    constexpr int kWidth = decltype(access)::kWidth;
    return shape.for_each_part(
        [&](const Shape& part, const int64_t (&offsets)[3]) {
          const auto at = [&](const void* base, int operand) {
            return static_cast<const char*>(base) + offsets[operand] * size_of(p.dtype);
          };
          const int64_t count = part.count() / kWidth;
          const Call call{p.function, at(p.a, 1), two ? at(p.b, 2) : nullptr, const_cast<char*>(at(p.y, 0)), a_repeats,
                          b_repeats,  p.relu};
          return launch_blocks(elementwise_units<decltype(access)>, blocks_of(count, kThreads), kThreads, 0, stream,
                               call, part.units(kWidth), static_cast<uint32_t>(count), access);
        },
        {0, 0, 0});
  };
  return with_access(p.dtype, wide ? 0 : 1, {p.y, a_repeats ? nullptr : p.a, two && !b_repeats ? p.b : nullptr},
                     launch_parts);
}

}  // namespace lucid::cuda
