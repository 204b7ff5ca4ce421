// Softmax and its logarithm over any dimension, and their gradients.
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t outer, size, inner;
};

constexpr Case kCases[] = {{3, 10, 1},  {2, 1000, 1}, {1, 1, 1},   {40, 2, 1}, {2, 5, 7}, {2, 4, 40},
                           {1, 300, 3}, {5, 1, 6},    {2, 17, 33}, {0, 4, 1},  {3, 0, 2}};

struct Row {
  double largest = -INFINITY, total = 0.0;
  template <class Get>
  Row(int64_t size, Get get) {
    for (int64_t i = 0; i < size; ++i) largest = std::fmax(largest, get(i));
    for (int64_t i = 0; i < size; ++i) total += std::exp(get(i) - largest);
  }
};

void run(const Case& c, Dtype dtype, bool log, double scale, bool in_place) {
  const int64_t count = c.outer * c.size * c.inner;
  const Array x(dtype, random_values(count, 1, scale)), output(dtype, static_cast<size_t>(count));
  const Array& y = in_place ? x : output;
  std::vector<Value> want(x.size());
  for (int64_t column = 0; column < c.outer * c.inner; ++column) {
    const auto at = [&](int64_t i) {
      return static_cast<size_t>((column / c.inner * c.size + i) * c.inner + column % c.inner);
    };
    const Row row(c.size, [&](int64_t i) { return x.at(at(i)); });
    for (int64_t i = 0; i < c.size; ++i) {
      const double shifted = x.at(at(i)) - row.largest;
      const double value = log ? shifted - std::log(row.total) : std::exp(shifted) / row.total;
      // Exponents are off by a rounding of their size.
      want[at(i)] = {value, log ? std::fabs(shifted) + 1.0 : value * (1.0 + std::fabs(shifted))};
    }
  }
  const lucid::cuda::Softmax p{
      .dtype = dtype, .outer = c.outer, .size = c.size, .inner = c.inner, .log = log, .x = x.data(), .y = y.data()};
  check(text_of("softmax %dx%dx%d, %s%s, up to %g%s", static_cast<int>(c.outer), static_cast<int>(c.size),
                static_cast<int>(c.inner), name_of(dtype), log ? ", log" : "", scale, in_place ? ", in place" : ""),
        {&x, &output}, [&] { return backend().softmax(p, nullptr); }, {{y, want, 8.0}});
}

void run_backward(const Case& c, Dtype dtype, bool log) {
  const int64_t count = c.outer * c.size * c.inner;
  std::vector<float> outputs = random_values(count, 2, 0.4, log ? -1.0 : 0.5);
  const Array y(dtype, outputs), dy(dtype, random_values(count, 3)), dx(dtype, y.size());
  std::vector<Value> want(y.size());
  for (int64_t column = 0; column < c.outer * c.inner; ++column) {
    const auto at = [&](int64_t i) {
      return static_cast<size_t>((column / c.inner * c.size + i) * c.inner + column % c.inner);
    };
    Value sum;
    for (int64_t i = 0; i < c.size; ++i) sum.add(dy.at(at(i)) * (log ? 1.0 : y.at(at(i))));
    for (int64_t i = 0; i < c.size; ++i) {
      const double factor = log ? std::exp(y.at(at(i))) : y.at(at(i));
      want[at(i)].add(log ? dy.at(at(i)) : factor * dy.at(at(i)));
      want[at(i)].add(-factor * sum.value);
    }
  }
  const lucid::cuda::SoftmaxBackward p{.dtype = dtype,
                                       .outer = c.outer,
                                       .size = c.size,
                                       .inner = c.inner,
                                       .log = log,
                                       .y = y.data(),
                                       .dy = dy.data(),
                                       .dx = dx.data()};
  check(text_of("softmax_backward %dx%dx%d, %s%s", static_cast<int>(c.outer), static_cast<int>(c.size),
                static_cast<int>(c.inner), name_of(dtype), log ? ", log" : ""),
        {&y, &dy, &dx}, [&] { return backend().softmax_backward(p, nullptr); }, {{dx, want, 8.0}});
}

// As on the CPU: a NaN or an infinity makes the whole row NaN, minus infinity is a probability of zero.
void run_special() {
  const std::vector<float> values = {1.0f, NAN,       2.0f, 0.0f,      INFINITY,  1.0f,      0.0f,
                                     0.0f, -INFINITY, 0.0f, -INFINITY, -INFINITY, -INFINITY, NAN};
  const Array x(Dtype::kFloat32, values), y(Dtype::kFloat32, values.size());
  const lucid::cuda::Softmax p{
      .dtype = Dtype::kFloat32, .outer = 1, .size = 2, .inner = 7, .log = false, .x = x.data(), .y = y.data()};
  std::vector<Value> want;
  const double tail = 1.0 / (1.0 + std::exp(2.0));
  want = {{1.0 / (1.0 + std::exp(-1.0)), 1.0},
          {NAN, 0.0},
          {1.0 - tail, 1.0},
          {1.0, 1.0},
          {NAN, 0.0},
          {1.0, 1.0},
          {NAN, 0.0},
          {1.0 / (1.0 + std::exp(1.0)), 1.0},
          {NAN, 0.0},
          {tail, 1.0},
          {0.0, 0.0},
          {NAN, 0.0},
          {0.0, 0.0},
          {NAN, 0.0}};
  check("softmax of special values", {&x, &y}, [&] { return backend().softmax(p, nullptr); }, {{y, want, 8.0}});
}

}  // namespace

KERNEL_TEST(softmax) {
  for (const Dtype dtype : kDtypes)
    for (const Case& c : kCases)
      for (const bool log : {false, true}) {
        run(c, dtype, log, 3.0, false);
        run(c, dtype, log, 200.0, true);
        run_backward(c, dtype, log);
      }
  run_special();
}
