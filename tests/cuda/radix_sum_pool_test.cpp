// Radix sum pooling and its gradient.
#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t n, pixels, radix, c;
};

constexpr Case kCases[] = {{2, 49, 2, 8},  {1, 1, 1, 1},    {3, 7, 1, 3},  {1, 50, 4, 17}, {2, 1100, 2, 40},
                           {1, 300, 3, 5}, {1, 2049, 1, 2}, {0, 49, 2, 8}, {2, 30, 2, 72}};

void run(const Case& c, Dtype dtype, size_t shift) {
  const Array x(dtype, random_values(c.n * c.pixels * c.radix * c.c, 1, 1.0, 0.5), shift);
  const Array y(dtype, static_cast<size_t>(c.n * c.c)), dy(dtype, random_values(c.n * c.c, 2)), dx(dtype, x.size());
  std::vector<Value> want(y.size()), want_dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i), image = at / (c.pixels * c.radix * c.c);
    const size_t to = static_cast<size_t>(image * c.c + at % c.c);
    want[to].add(x.at(i) / static_cast<double>(c.pixels));
    want_dx[i].add(dy.at(to) / static_cast<double>(c.pixels));
  }
  const std::string name =
      text_of("%d images of %d pixels, %d x %d channels, %s, shifted by %zu", static_cast<int>(c.n),
              static_cast<int>(c.pixels), static_cast<int>(c.radix), static_cast<int>(c.c), name_of(dtype), shift);
  const lucid::cuda::RadixSumPool forward{
      .dtype = dtype, .n = c.n, .pixels = c.pixels, .radix = c.radix, .c = c.c, .x = x.data(), .y = y.data()};
  // Runs of 8 in float32, then double.
  check("radix_sum_pool, " + name, {&x, &y}, [&] { return backend().radix_sum_pool(forward, nullptr); },
        {{y, want, 8.0}});
  const lucid::cuda::RadixSumPoolBackward backward{
      .dtype = dtype, .n = c.n, .pixels = c.pixels, .radix = c.radix, .c = c.c, .dy = dy.data(), .dx = dx.data()};
  check("radix_sum_pool_backward, " + name, {&dy, &dx},
        [&] { return backend().radix_sum_pool_backward(backward, nullptr); }, {{dx, want_dx, 1.0}});
}

// A sum in float32 of a million equal values would be off in the fourth digit, each addition rounding the same way.
void run_many_pixels(double spread, double offset) {
  constexpr int64_t kPixels = 1 << 20;
  const std::vector<float> values = random_values(kPixels, 5, spread, offset);
  const Array x(Dtype::kFloat32, values), y(Dtype::kFloat32, size_t{1});
  double sum = 0.0;
  for (const float value : values) sum += value;
  const lucid::cuda::RadixSumPool p{
      .dtype = Dtype::kFloat32, .n = 1, .pixels = kPixels, .radix = 1, .c = 1, .x = x.data(), .y = y.data()};
  check(text_of("radix_sum_pool of a million pixels, %g to %g", offset - spread, offset + spread), {&x, &y},
        [&] { return backend().radix_sum_pool(p, nullptr); }, {{y, {{sum / kPixels, sum / kPixels}}, 8.0}});
}

}  // namespace

KERNEL_TEST(radix_sum_pool) {
  for (const Dtype dtype : kDtypes)
    for (const Case& c : kCases)
      for (const size_t shift : {0, 1}) run(c, dtype, shift);
  run_many_pixels(1.0, 1000.0);
  run_many_pixels(0.0, 0.1);
}
