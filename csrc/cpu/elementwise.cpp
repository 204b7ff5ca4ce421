// y = max(a, 0), 1 / (1 + exp(-a)), a + b and a * b on any strides; and the gradients of the first two, of which a is
// dy, and b is what the function gave.
//
// Bound by memory. Where all operands step by one element along the last dimension, runs of it go by vectors; the
// operator has merged and sorted the dimensions, so that dense operands are one long run.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"
#include "cpu/positive.h"

namespace lucid::LUCID_ISA {
namespace {

struct Relu {
  static F32 of(F32 a, F32) { return max(F32::zero(), a); }
  static float of(float a, float) { return a < 0.0f ? 0.0f : a; }
};

struct Add {
  static F32 of(F32 a, F32 b) { return a + b; }
  static float of(float a, float b) { return a + b; }
};

struct Mul {
  static F32 of(F32 a, F32 b) { return a * b; }
  static float of(float a, float b) { return a * b; }
};

struct ReluBackward {
  static F32 of(F32 dy, F32 y) { return where_positive(y, dy); }
  static float of(float dy, float y) { return where_positive(y, dy); }
};

struct SigmoidBackward {
  static F32 of(F32 dy, F32 y) { return dy * (y * (F32::broadcast(1.0f) - y)); }
  static float of(float dy, float y) { return dy * (y * (1.0f - y)); }
};

// One exponential after the other: a sigmoid in these networks has one value a channel.
struct Sigmoid {
  static float of(float a, float) { return 1.0f / (1.0f + expf(-a)); }
};

template <class Function>
constexpr bool kHasVectors = true;
template <>
constexpr bool kHasVectors<Sigmoid> = false;

template <class Function, class Element>
void run(const ElementwiseOf<Element>& p, const Element* a, const Element* b, Element* y, int64_t count) {
  const int64_t a_step = p.a_stride[p.dims - 1], b_step = p.b_stride[p.dims - 1], y_step = p.y_stride[p.dims - 1];
  if constexpr (kHasVectors<Function>)
    if (a_step == 1 && b_step == 1 && y_step == 1)
      return for_each_vector(count, [&](int64_t i, auto lanes) {
        lanes.store(Function::of(lanes.load(a + i), lanes.load(b + i)), y + i);
      });
  for (int64_t i = 0; i < count; ++i)
    assign(y[i * y_step], Function::of(to_float(a[i * a_step]), to_float(b[i * b_step])));
}

template <class Function, class Element>
void elementwise(const ElementwiseOf<Element>& p, int64_t begin, int64_t end) {
  const int last = p.dims - 1;
  while (begin < end) {
    const int64_t first = begin % p.size[last];
    int64_t a = first * p.a_stride[last], b = first * p.b_stride[last], y = first * p.y_stride[last];
    int64_t rest = begin / p.size[last];
    for (int d = last - 1; d >= 0; --d) {
      const int64_t index = rest % p.size[d];
      a += index * p.a_stride[d];
      b += index * p.b_stride[d];
      y += index * p.y_stride[d];
      rest /= p.size[d];
    }
    const int64_t count = p.size[last] - first < end - begin ? p.size[last] - first : end - begin;
    run<Function>(p, p.a + a, p.b + b, p.y + y, count);
    begin += count;
  }
}

}  // namespace

void relu(const Elementwise& p, int64_t begin, int64_t end) { elementwise<Relu>(p, begin, end); }

void sigmoid(const Elementwise& p, int64_t begin, int64_t end) { elementwise<Sigmoid>(p, begin, end); }

void relu_backward(const Elementwise& p, int64_t begin, int64_t end) { elementwise<ReluBackward>(p, begin, end); }

void sigmoid_backward(const Elementwise& p, int64_t begin, int64_t end) { elementwise<SigmoidBackward>(p, begin, end); }

void add(const Elementwise& p, int64_t begin, int64_t end) { elementwise<Add>(p, begin, end); }

void relu_bfloat16(const ElementwiseOf<Bfloat16>& p, int64_t begin, int64_t end) { elementwise<Relu>(p, begin, end); }

void sigmoid_bfloat16(const ElementwiseOf<Bfloat16>& p, int64_t begin, int64_t end) {
  elementwise<Sigmoid>(p, begin, end);
}

void add_bfloat16(const ElementwiseOf<Bfloat16>& p, int64_t begin, int64_t end) { elementwise<Add>(p, begin, end); }

void mul(const Elementwise& p, int64_t begin, int64_t end) { elementwise<Mul>(p, begin, end); }

}  // namespace lucid::LUCID_ISA
