// Average pooling over fixed and adaptive windows, and its gradient.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t n, c;
  PoolAxis h, w;
  bool count_include_pad;
  int64_t divisor;
};

// size, out, kernel, stride, padding, padding_end, dilation
constexpr Case kCases[] = {
    {2, 8, {7, 4, 3, 2, 1, 1, 1}, {9, 5, 3, 2, 1, 1, 1}, true, 0},      // padding counts
    {2, 8, {7, 4, 3, 2, 1, 1, 1}, {9, 5, 3, 2, 1, 1, 1}, false, 0},     // padding does not
    {1, 3, {5, 3, 2, 2, 0, 1, 1}, {5, 3, 2, 2, 0, 1, 1}, true, 0},      // a window over the edge, as ceil_mode has it
    {1, 17, {6, 5, 2, 1, 0, 0, 1}, {4, 1, 4, 1, 0, 0, 1}, true, 7},     // a divisor
    {1, 5, {6, 2, 2, 4, 0, 0, 1}, {8, 3, 2, 3, 0, 0, 1}, true, 0},      // pixels between the windows
    {1, 16, {7, 1, 7, 1, 0, 0, 1}, {7, 1, 7, 1, 0, 0, 1}, true, 0},     // one window
    {2, 4, {9, 1, 9, 1, 0, 0, 1}, {10, 2, 9, 1, 0, 0, 1}, true, 0},     // large windows
    {1, 3, {11, 2, 9, 2, 1, 1, 1}, {12, 2, 11, 1, 0, 0, 1}, false, 0},  // large and clipped
    {1, 8, {7, 3, 0, 1, 0, 0, 1}, {10, 4, 0, 1, 0, 0, 1}, false, 0},    // adaptive
    {1, 3, {2, 5, 0, 1, 0, 0, 1}, {3, 7, 0, 1, 0, 0, 1}, false, 0},     // adaptive, to a larger image
    {2, 40, {13, 1, 0, 1, 0, 0, 1}, {17, 1, 0, 1, 0, 0, 1}, false, 0},  // the whole image
    {1, 5, {40, 3, 0, 1, 0, 0, 1}, {23, 2, 0, 1, 0, 0, 1}, false, 0},   // adaptive and large
    {0, 8, {4, 2, 2, 2, 0, 0, 1}, {4, 2, 2, 2, 0, 0, 1}, true, 0},      // no image
};

struct Span {
  int64_t first, end, padded;
};

Span span_of(const PoolAxis& a, int64_t i) {
  if (a.kernel == 0) {
    const int64_t first = i * a.size / a.out, end = ((i + 1) * a.size + a.out - 1) / a.out;
    return {first, end, end - first};
  }
  const int64_t start = i * a.stride - a.padding;
  return {std::max<int64_t>(start, 0), std::min(start + a.kernel, a.size),
          std::min(start + a.kernel, a.size + a.padding_end) - start};
}

void run(const Case& p, size_t number, Dtype dtype, size_t shift) {
  const Array x(dtype, random_values(p.n * p.h.size * p.w.size * p.c, 1, 1.0, 0.5), shift);
  const int64_t count = p.n * p.h.out * p.w.out * p.c;
  const Array y(dtype, static_cast<size_t>(count)), dy(dtype, random_values(count, 2)), dx(dtype, x.size());
  std::vector<Value> want(y.size()), want_dx(x.size());
  int64_t most = 1;
  for (size_t i = 0; i < want.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i), pixel = at / p.c, n = pixel / p.w.out / p.h.out;
    const Span rows = span_of(p.h, pixel / p.w.out % p.h.out), columns = span_of(p.w, pixel % p.w.out);
    const int64_t taps = (rows.end - rows.first) * (columns.end - columns.first);
    const int64_t size = p.count_include_pad ? rows.padded * columns.padded : taps;
    const double divisor = static_cast<double>(p.divisor != 0 ? p.divisor : size);
    for (int64_t row = rows.first; row < rows.end; ++row)
      for (int64_t column = columns.first; column < columns.end; ++column) {
        const size_t from = static_cast<size_t>(((n * p.h.size + row) * p.w.size + column) * p.c + at % p.c);
        want[i].add(x.at(from));
        want_dx[from].add(dy.at(i) / divisor);
      }
    want[i] = want[i].over(divisor);
    most = std::max(most, taps);
  }
  const std::string name = text_of("case %zu, %s, shifted by %zu", number, name_of(dtype), shift);
  const lucid::cuda::AvgPool2d forward{.dtype = dtype,
                                       .n = p.n,
                                       .c = p.c,
                                       .h = p.h,
                                       .w = p.w,
                                       .count_include_pad = p.count_include_pad,
                                       .divisor = p.divisor,
                                       .x = x.data(),
                                       .y = y.data()};
  // Runs of 8, at most 8 of them, and a division; a large window is summed in double behind its runs.
  check("avg_pool2d " + name, {&x, &y}, [&] { return backend().avg_pool2d(forward, nullptr); },
        {{y, want, std::min<double>(static_cast<double>(most), 16.0) + 1.0}});
  const lucid::cuda::AvgPool2dBackward backward{.dtype = dtype,
                                                .n = p.n,
                                                .c = p.c,
                                                .h = p.h,
                                                .w = p.w,
                                                .count_include_pad = p.count_include_pad,
                                                .divisor = p.divisor,
                                                .dy = dy.data(),
                                                .dx = dx.data()};
  // A pixel is in at most 12 windows here; each of its terms is rounded twice.
  check("avg_pool2d_backward " + name, {&dy, &dx}, [&] { return backend().avg_pool2d_backward(backward, nullptr); },
        {{dx, want_dx, 14.0}});
}

// The mean of integers is the float32 nearest to the truth, for small windows and large ones.
void run_integers(int64_t size, int64_t out) {
  constexpr int64_t kChannels = 4;
  std::vector<float> values = random_values(size * size * kChannels, 7, 50.0);
  for (float& value : values) value = std::round(value);
  const Array x(Dtype::kFloat32, values), y(Dtype::kFloat32, static_cast<size_t>(out * out * kChannels));
  const int64_t kernel = size / out;
  const PoolAxis axis{size, out, kernel, kernel, 0, 0, 1};
  const lucid::cuda::AvgPool2d p{.dtype = Dtype::kFloat32,
                                 .n = 1,
                                 .c = kChannels,
                                 .h = axis,
                                 .w = axis,
                                 .count_include_pad = true,
                                 .divisor = 0,
                                 .x = x.data(),
                                 .y = y.data()};
  check("avg_pool2d of integers", {&x, &y}, [&] { return backend().avg_pool2d(p, nullptr); }, {});
  const std::vector<double> means = y.values();
  bool nearest = true;
  for (size_t i = 0; i < y.size(); ++i) {
    const int64_t pixel = static_cast<int64_t>(i) / kChannels;
    double sum = 0.0;
    for (int64_t row = 0; row < kernel; ++row)
      for (int64_t column = 0; column < kernel; ++column)
        sum += values[static_cast<size_t>(((pixel / out * kernel + row) * size + pixel % out * kernel + column) *
                                          kChannels) +
                      i % kChannels];
    nearest = nearest && means[i] == static_cast<float>(sum / static_cast<double>(kernel * kernel));
  }
  check_that("avg_pool2d of integers, to the nearest", nearest);
}

}  // namespace

KERNEL_TEST(avg_pool2d) {
  for (const Dtype dtype : kDtypes)
    for (size_t i = 0; i < std::size(kCases); ++i)
      for (const size_t shift : {0, 1}) run(kCases[i], i, dtype, shift);
  run_integers(12, 4);
  run_integers(33, 3);
}
