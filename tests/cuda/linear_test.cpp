// Linear layers: every tile of rows by outputs, groups, and rows that do not depend on the batch they are in.
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t rows, in, outputs, groups;
};

constexpr Case kCases[] = {
    {1, 64, 10, 1},  {3, 100, 7, 1},   {4, 17, 5, 2},     {5, 256, 9, 1}, {8, 8, 4, 3},
    {9, 3, 1, 1},    {17, 520, 6, 1},  {16, 33, 8, 4},    {0, 8, 3, 1},   {2, 8, 0, 1},
    {35, 40, 35, 2}, {37, 256, 19, 2}, {17, 1024, 33, 1}, {20, 0, 33, 1},
};

lucid::cuda::Linear arguments(const Case& c, const Array& x, const Array& weight, const Array& bias, const Array& y) {
  return {.dtype = x.dtype(),
          .rows = c.rows,
          .in = c.in,
          .outputs = c.outputs,
          .groups = c.groups,
          .x = x.data(),
          .weight = weight.data(),
          .bias = bias.floats(),
          .relu = false,
          .y = y.data()};
}

void run(const Case& c, Dtype dtype, bool relu, bool biased, size_t shift) {
  const Array x(dtype, random_values(c.rows * c.groups * c.in, 1), shift);
  const Array weight(dtype, random_values(c.groups * c.outputs * c.in, 2));
  const Array bias(Dtype::kFloat32, random_values(c.groups * c.outputs, 3));
  const Array y(dtype, static_cast<size_t>(c.rows * c.groups * c.outputs));
  auto p = arguments(c, x, weight, bias, y);
  p.relu = relu;
  if (!biased) p.bias = nullptr;
  std::vector<Value> want(y.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const int64_t output = static_cast<int64_t>(i) % (c.groups * c.outputs), group = output / c.outputs;
    const int64_t row = static_cast<int64_t>(i) / (c.groups * c.outputs);
    for (int64_t k = 0; k < c.in; ++k)
      want[i].add(x.at(static_cast<size_t>((row * c.groups + group) * c.in + k)) *
                  weight.at(static_cast<size_t>(output * c.in + k)));
    if (biased) want[i].add(bias.at(static_cast<size_t>(output)));
    if (relu && want[i].value < 0) want[i].value = 0;
  }
  // A lane adds its part of the products, then come five steps of the tree and the bias. On tensor cores a warp adds
  // its chunks of 32 products, then come seven other warps and the bias.
  const double width = dtype == Dtype::kFloat32 ? 4.0 : 32.0;
  const double roundings =
      std::ceil(static_cast<double>(c.in) / (dtype == Dtype::kFloat32 ? 128.0 : 256.0)) * width + 8.0;
  check(text_of("linear %dx%dx%d, %d groups, %s%s%s, shifted by %zu", static_cast<int>(c.rows), static_cast<int>(c.in),
                static_cast<int>(c.outputs), static_cast<int>(c.groups), name_of(dtype), relu ? ", relu" : "",
                biased ? ", bias" : "", shift),
        {&x, &weight, &bias, &y}, [&] { return backend().linear(p, nullptr); }, {{y, want, roundings}});
}

// Bit for bit what the first row is alone, in a few rows and in many.
void run_batches(Dtype dtype, int64_t in) {
  constexpr int64_t kOutputs = 11;
  std::vector<unsigned char> alone;
  for (const int64_t rows : {1, 3, 4, 5, 8, 13, 16, 33}) {
    const Array x(dtype, random_values(rows * in, 1)), weight(dtype, random_values(kOutputs * in, 2));
    const Array bias(Dtype::kFloat32, random_values(kOutputs, 3)), y(dtype, static_cast<size_t>(rows * kOutputs));
    const auto p = arguments({rows, in, kOutputs, 1}, x, weight, bias, y);
    const std::string name =
        text_of("linear of %dx%d, %s", static_cast<int>(rows), static_cast<int>(in), name_of(dtype));
    check(name, {&x, &weight, &bias, &y}, [&] { return backend().linear(p, nullptr); }, {});
    std::vector<unsigned char> bytes = y.contents();
    bytes.resize(static_cast<size_t>(kOutputs) * bytes_of(dtype));
    if (alone.empty()) alone = bytes;
    check_that(name + ": the first is as it is alone", bytes == alone);
  }
}

}  // namespace

KERNEL_TEST(linear) {
  for (const Dtype dtype : kDtypes) {
    for (const Case& c : kCases) {
      run(c, dtype, false, true, 0);
      run(c, dtype, true, false, 0);
      run(c, dtype, true, true, 1);
    }
    for (const int64_t in : {344, 512, 1792}) run_batches(dtype, in);
  }
}
