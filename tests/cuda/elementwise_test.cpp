// Elementwise kernels: every function, dtype and way of broadcasting, and what is neither a number nor finite.
#include <algorithm>
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;
using lucid::cuda::Elementwise;
using Function = lucid::cuda::ElementwiseFunction;

namespace {

constexpr Function kFunctions[] = {Function::kAdd,     Function::kSubtract, Function::kMultiply, Function::kDivide,
                                   Function::kMaximum, Function::kMinimum,  Function::kRelu,     Function::kSigmoid};

double reference(Function function, double a, double b) {
  switch (function) {
    case Function::kAdd: return a + b;
    case Function::kSubtract: return a - b;
    case Function::kMultiply: return a * b;
    case Function::kDivide: return a / b;
    case Function::kMaximum: return std::isnan(a) || std::isnan(b) ? NAN : std::fmax(a, b);
    case Function::kMinimum: return std::isnan(a) || std::isnan(b) ? NAN : std::fmin(a, b);
    case Function::kRelu: return a < 0 ? 0 : a;
    case Function::kSigmoid: return 1 / (1 + std::exp(-a));
  }
  return NAN;
}

struct Operand {
  std::vector<int64_t> strides;
  int64_t elements;
};

struct Case {
  const char* name;
  std::vector<int64_t> size;
  Operand a, b, y;
};

const Case kCases[] = {
    {"dense", {3, 40}, {{40, 1}, 120}, {{40, 1}, 120}, {{40, 1}, 120}},
    {"odd", {3, 5, 17}, {{85, 17, 1}, 255}, {{85, 17, 1}, 255}, {{85, 17, 1}, 255}},
    {"a factor a channel", {2, 7, 16}, {{112, 16, 1}, 224}, {{16, 0, 1}, 32}, {{112, 16, 1}, 224}},
    {"a number", {6, 8}, {{8, 1}, 48}, {{0, 0}, 1}, {{8, 1}, 48}},
    {"a column and a row", {5, 24}, {{1, 0}, 5}, {{0, 1}, 24}, {{24, 1}, 120}},
    {"transposed", {4, 3, 5}, {{15, 1, 3}, 60}, {{1, 20, 4}, 60}, {{15, 5, 1}, 60}},
    {"rows that begin anywhere", {3, 8}, {{8, 1}, 24}, {{11, 1}, 33}, {{8, 1}, 24}},
    {"backwards", {9}, {{-1}, 9}, {{1}, 9}, {{1}, 9}},
    {"columns first in y", {8, 16}, {{1, 8}, 128}, {{16, 1}, 128}, {{1, 8}, 128}},
    {"one element", {1, 1}, {{1, 1}, 1}, {{5, 7}, 1}, {{1, 1}, 1}},
    {"empty", {0, 3}, {{3, 1}, 0}, {{3, 1}, 0}, {{3, 1}, 0}},
    {"eight dimensions",
     {2, 1, 2, 3, 1, 2, 2, 2},
     {{48, 48, 1, 16, 16, 8, 4, 2}, 96},
     {{0, 9, 0, 4, 4, 2, 0, 1}, 12},
     {{48, 48, 24, 8, 8, 4, 2, 1}, 96}},
};

// Where the operand's first element is: behind the others if it goes backwards.
int64_t first_of(const Case& c, const Operand& operand) {
  int64_t first = 0;
  for (size_t d = 0; d < c.size.size(); ++d)
    if (operand.strides[d] < 0) first -= (c.size[d] - 1) * operand.strides[d];
  return first;
}

void set_strides(const Operand& operand, int64_t (&strides)[Elementwise::kMaxDims]) {
  std::copy(operand.strides.begin(), operand.strides.end(), strides);
}

const void* element(const Array& array, int64_t index) {
  return static_cast<const char*>(array.data()) + static_cast<size_t>(index) * bytes_of(array.dtype());
}

std::vector<Value> expected_values(const Case& c, Function function, bool relu, const Array& a, const Array& b) {
  std::vector<Value> want(static_cast<size_t>(c.y.elements));
  int64_t count = 1;
  for (const int64_t extent : c.size) count *= extent;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at[3] = {first_of(c, c.a), first_of(c, c.b), 0};
    for (size_t d = c.size.size(); d-- > 0;) {
      const int64_t index = rest % c.size[d];
      rest /= c.size[d];
      at[0] += index * c.a.strides[d], at[1] += index * c.b.strides[d], at[2] += index * c.y.strides[d];
    }
    double value = reference(function, a.at(static_cast<size_t>(at[0])), b.at(static_cast<size_t>(at[1])));
    if (relu && value < 0) value = 0;
    want[static_cast<size_t>(at[2])] = {value, std::fabs(value)};
  }
  return want;
}

void run(const Case& c, Function function, Dtype dtype, bool relu, size_t shift) {
  const Array a(dtype, random_values(c.a.elements, 1, 3.0), shift), b(dtype, random_values(c.b.elements, 2, 1.0, 2.0));
  const Array y(dtype, static_cast<size_t>(c.y.elements));
  Elementwise p{};
  p.function = function;
  p.dtype = dtype;
  p.a = element(a, first_of(c, c.a));
  p.b = function == Function::kRelu || function == Function::kSigmoid ? nullptr : element(b, first_of(c, c.b));
  p.y = y.data();
  p.dims = static_cast<int32_t>(c.size.size());
  std::copy(c.size.begin(), c.size.end(), p.size);
  set_strides(c.a, p.a_stride);
  set_strides(c.b, p.b_stride);
  set_strides(c.y, p.y_stride);
  p.relu = relu;
  // expf is good to two roundings, and a sigmoid rounds three times more; errors of the exponent grow with it.
  const double roundings = function == Function::kSigmoid ? 8.0 : 1.0;
  check(text_of("%s, function %d, %s%s, shifted by %zu", c.name, static_cast<int>(function), name_of(dtype),
                relu ? ", relu" : "", shift),
        {&a, &b, &y}, [&] { return backend().elementwise(p, nullptr); },
        {{y, expected_values(c, function, relu, a, b), roundings}});
}

// In place, as the library does it; -0 is not negative, and NaN is kept by every function.
void run_special(Function function, Dtype dtype) {
  const float inf = INFINITY, nan = NAN;
  const std::vector<float> values = {nan, 1.0f, inf, -inf, -0.0f, 0.0f, nan, -1.0f, inf, 88.0f, -88.0f, 104.0f};
  const std::vector<float> others = {1.0f, nan, inf, inf, 0.0f, -0.0f, nan, inf, -inf, 1.0f, 1.0f, -1.0f};
  const Array a(dtype, values), b(dtype, others);
  const int64_t count = static_cast<int64_t>(values.size());
  Elementwise p{};
  p.function = function;
  p.dtype = dtype;
  p.a = p.y = a.data();
  p.b = b.data();
  p.dims = 1;
  p.size[0] = count;
  p.a_stride[0] = p.b_stride[0] = p.y_stride[0] = 1;
  const Case line{"line", {count}, {{1}, count}, {{1}, count}, {{1}, count}};
  check(text_of("special values, function %d, %s", static_cast<int>(function), name_of(dtype)), {&a, &b},
        [&] { return backend().elementwise(p, nullptr); }, {{a, expected_values(line, function, false, a, b), 8.0}});
}

void run_signs_of_zero() {
  const Array a(Dtype::kFloat32, std::vector<float>{-0.0f, 0.0f, -1.0f, -0.0f});
  Elementwise p{};
  p.function = Function::kRelu;
  p.a = p.y = a.data();
  p.dims = 1;
  p.size[0] = 4;
  p.a_stride[0] = p.y_stride[0] = 1;
  check("relu keeps the sign of zero", {&a}, [&] { return backend().elementwise(p, nullptr); }, {});
  const std::vector<double> values = a.values();
  check_that("relu of -0 is -0", std::signbit(values[0]) && std::signbit(values[3]));
  check_that("relu of 0 and of -1 is 0", !std::signbit(values[1]) && !std::signbit(values[2]));
}

}  // namespace

KERNEL_TEST(elementwise) {
  for (const Dtype dtype : kDtypes) {
    for (const Case& c : kCases) {
      for (const Function function : {Function::kAdd, Function::kSigmoid}) run(c, function, dtype, false, 0);
      run(c, Function::kSubtract, dtype, true, 1);
    }
    for (const Function function : kFunctions) {
      run(kCases[0], function, dtype, false, 0);
      run(kCases[1], function, dtype, true, 0);
      run_special(function, dtype);
    }
  }
  run_signs_of_zero();
}
