// Max pooling, the indices of the largest values, and the gradient that goes to them.
#include <cmath>
#include <cstring>
#include <iterator>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t n, c;
  PoolAxis h, w;
};

// size, out, kernel, stride, padding, padding_end, dilation
constexpr Case kCases[] = {
    {2, 8, {7, 4, 3, 2, 1, 1, 1}, {9, 5, 3, 2, 1, 1, 1}},     // as at the start of a ResNet
    {1, 3, {5, 4, 2, 1, 0, 0, 1}, {6, 5, 2, 1, 0, 0, 1}},     // windows that overlap
    {1, 5, {6, 2, 3, 3, 0, 0, 1}, {8, 3, 2, 3, 0, 0, 1}},     // pixels between the windows
    {2, 17, {9, 5, 3, 1, 0, 0, 2}, {9, 3, 2, 3, 0, 0, 2}},    // dilated
    {1, 4, {7, 5, 3, 1, 1, 1, 2}, {8, 6, 3, 1, 1, 1, 2}},     // dilated and padded
    {1, 1, {5, 3, 2, 2, 0, 1, 1}, {5, 3, 2, 2, 0, 1, 1}},     // a window over the edge, as ceil_mode has it
    {1, 24, {1, 1, 1, 1, 0, 0, 1}, {1, 1, 1, 1, 0, 0, 1}},    // a pixel
    {1, 2072, {3, 2, 2, 1, 0, 0, 1}, {3, 2, 2, 1, 0, 0, 1}},  // several blocks a row
    {0, 8, {4, 2, 2, 2, 0, 0, 1}, {4, 2, 2, 2, 0, 0, 1}},     // no image
    {1, 4, {2, 2, 2, 1, 1, 0, 3}, {3, 3, 1, 1, 0, 0, 1}},     // a window that steps over the image
};

struct Found {
  double value;
  int64_t index;
};

Found reference(const Case& p, const Array& x, int64_t n, int64_t i, int64_t j, int64_t c) {
  Found found{-INFINITY, -1};
  for (int64_t a = 0; a < p.h.kernel; ++a)
    for (int64_t b = 0; b < p.w.kernel; ++b) {
      const int64_t row = i * p.h.stride - p.h.padding + a * p.h.dilation;
      const int64_t column = j * p.w.stride - p.w.padding + b * p.w.dilation;
      if (row < 0 || column < 0 || row >= p.h.size || column >= p.w.size) continue;
      const double value = x.at(static_cast<size_t>(((n * p.h.size + row) * p.w.size + column) * p.c + c));
      if (found.index < 0 || value > found.value || std::isnan(value)) {
        if (value > found.value || std::isnan(value)) found.value = value;
        found.index = row * p.w.size + column;
      }
    }
  if (found.index < 0) found.index = j * p.w.stride;  // no row; the case has no padding on the left
  return found;
}

std::vector<float> values_of(const Case& p, bool special) {
  std::vector<float> values = random_values(p.n * p.h.size * p.w.size * p.c, 1);
  for (size_t i = 0; special && i < values.size(); ++i) {
    if (i % 7 == 0) values[i] = NAN;
    if (i % 5 == 0) values[i] = i % 2 == 0 ? INFINITY : -INFINITY;
    if (i % 3 == 0) values[i] = 0.25f;  // one of several
  }
  return values;
}

void run(const Case& p, size_t number, Dtype dtype, bool special, bool with_indices, size_t shift) {
  const Array x(dtype, values_of(p, special), shift);
  const size_t count = static_cast<size_t>(p.n * p.h.out * p.w.out * p.c);
  const Array y(dtype, count), indices(count * 8), dy(dtype, random_values(static_cast<int64_t>(count), 2)),
      dx(dtype, x.size());
  const lucid::cuda::MaxPool2d forward{.dtype = dtype,
                                       .n = p.n,
                                       .c = p.c,
                                       .h = p.h,
                                       .w = p.w,
                                       .x = x.data(),
                                       .y = y.data(),
                                       .indices = with_indices ? static_cast<int64_t*>(indices.data()) : nullptr};
  std::vector<Value> want(count), want_dx(x.size());
  std::vector<int64_t> want_indices(count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t at = static_cast<int64_t>(i), pixel = at / p.c, n = pixel / p.w.out / p.h.out;
    const Found found = reference(p, x, n, pixel / p.w.out % p.h.out, pixel % p.w.out, at % p.c);
    want[i] = {found.value, 0.0};
    want_indices[i] = found.index;
    if (found.value > -INFINITY || std::isnan(found.value) || special)
      want_dx[static_cast<size_t>((n * p.h.size * p.w.size + found.index) * p.c + at % p.c)].add(dy.at(i));
  }
  const std::string name = text_of("case %zu, %s%s%s, shifted by %zu", number, name_of(dtype),
                                   special ? ", special values" : "", with_indices ? ", indices" : "", shift);
  check("max_pool2d " + name, {&x, &y, &indices}, [&] { return backend().max_pool2d(forward, nullptr); },
        {{y, want, 0.0}});
  if (!with_indices) return;
  const std::vector<unsigned char> bytes = indices.contents();
  check_that("indices of max_pool2d " + name,
             bytes.size() == 8 * count && std::memcmp(bytes.data(), want_indices.data(), bytes.size()) == 0);
  if (number + 1 == std::size(kCases)) return;  // its empty windows found no pixel
  const lucid::cuda::MaxPool2dBackward backward{.dtype = dtype,
                                                .n = p.n,
                                                .c = p.c,
                                                .h = p.h,
                                                .w = p.w,
                                                .dy = dy.data(),
                                                .indices = static_cast<int64_t*>(indices.data()),
                                                .dx = dx.data()};
  check("max_pool2d_backward " + name, {&dy, &dx}, [&] { return backend().max_pool2d_backward(backward, nullptr); },
        {{dx, want_dx, 9.0}});
}

}  // namespace

KERNEL_TEST(max_pool2d) {
  for (const Dtype dtype : kDtypes)
    for (size_t i = 0; i < std::size(kCases); ++i)
      for (const bool special : {false, true}) {
        run(kCases[i], i, dtype, special, false, 0);
        run(kCases[i], i, dtype, special, true, 0);
        run(kCases[i], i, dtype, special, true, 1);
      }
}
