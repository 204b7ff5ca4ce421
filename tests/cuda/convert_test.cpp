// Conversions between dtypes and orders of memory: exact, or the nearest value of the dtype.
#include <algorithm>
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;
using lucid::cuda::Convert;

namespace {

struct Case {
  const char* name;
  std::vector<int64_t> size, x_strides, y_strides;
  int64_t x_elements, y_elements;
};

const Case kCases[] = {
    {"dense", {4, 20}, {20, 1}, {20, 1}, 80, 80},
    {"odd and dense", {51}, {1}, {1}, 51, 51},
    {"nchw to nhwc", {2, 40, 5, 7}, {1400, 35, 7, 1}, {1400, 1, 280, 40}, 2800, 2800},
    {"nhwc to nchw", {2, 33, 8, 9}, {2376, 1, 297, 33}, {2376, 72, 9, 1}, 4752, 4752},
    {"nchw to nhwc, 3 channels", {2, 3, 6, 11}, {198, 66, 11, 1}, {198, 1, 33, 3}, 396, 396},
    {"a slice of channels", {1, 16, 3, 4}, {384, 1, 128, 32}, {192, 1, 64, 16}, 384, 192},
    {"every other column", {6, 8}, {16, 2}, {8, 1}, 96, 48},
    {"into a wider image", {6, 8}, {8, 1}, {24, 1}, 48, 144},
    {"rows that begin anywhere", {3, 8}, {11, 1}, {8, 1}, 33, 24},
    {"broadcast", {5, 8}, {0, 1}, {8, 1}, 8, 40},
    {"one element", {1}, {3}, {9}, 1, 1},
    {"empty", {0, 4}, {4, 1}, {4, 1}, 0, 0},
    {"eight dimensions", {2, 1, 2, 2, 1, 2, 3, 2}, {1, 96, 2, 4, 9, 8, 16, 48}, {48, 48, 24, 12, 12, 6, 2, 1}, 96, 96},
};

void run(const Case& c, Dtype from, Dtype to, size_t x_shift, size_t y_shift) {
  const Array x(from, random_values(c.x_elements, 1, 100.0), x_shift);
  const Array y(to, static_cast<size_t>(c.y_elements), y_shift);
  Convert p{};
  p.x = x.data();
  p.y = y.data();
  p.x_dtype = from;
  p.y_dtype = to;
  p.dims = static_cast<int32_t>(c.size.size());
  std::copy(c.size.begin(), c.size.end(), p.size);
  std::copy(c.x_strides.begin(), c.x_strides.end(), p.x_stride);
  std::copy(c.y_strides.begin(), c.y_strides.end(), p.y_stride);
  int64_t count = 1;
  for (const int64_t extent : c.size) count *= extent;
  // What is not written stays NaN.
  std::vector<Value> want(static_cast<size_t>(c.y_elements), {NAN, 0.0});
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, x_at = 0, y_at = 0;
    for (size_t d = c.size.size(); d-- > 0;) {
      x_at += rest % c.size[d] * c.x_strides[d], y_at += rest % c.size[d] * c.y_strides[d];
      rest /= c.size[d];
    }
    unsigned char bits[4];
    encode(to, static_cast<float>(x.at(static_cast<size_t>(x_at))), bits);
    want[static_cast<size_t>(y_at)] = {decode(to, bits), 0.0};
  }
  const std::string name =
      text_of("%s, %s to %s, shifted by %zu and %zu", c.name, name_of(from), name_of(to), x_shift, y_shift);
  check(name, {&x, &y}, [&] { return backend().convert(p, nullptr); }, {{y, want, 0.0}});
  const std::vector<double> got = y.values();
  bool nearest = got.size() == want.size();
  for (size_t i = 0; nearest && i < want.size(); ++i) nearest = got[i] == want[i].value || std::isnan(want[i].value);
  check_that(name + ", to the nearest", nearest);
}

// A copy keeps all bits, the payload of a NaN and the sign of a zero too.
void run_bits(Dtype dtype, int64_t step) {
  constexpr size_t kCount = 32;
  Array x(dtype, random_values(kCount, 3));
  for (size_t i = 0; i < kCount; ++i) {
    unsigned char bits[4] = {static_cast<unsigned char>(i), 0x7f, 0xc1, 0x7f};
    if (dtype != Dtype::kFloat32) bits[1] = i % 2 == 0 ? 0x7e : 0xff;
    if (i == 7) std::fill(bits, bits + 3, 0), bits[dtype == Dtype::kFloat32 ? 3 : 1] = 0x80;
    x.set_bits(i, bits);
  }
  const Array y(dtype, kCount);
  Convert p{};
  p.x = x.data();
  p.y = y.data();
  p.x_dtype = p.y_dtype = dtype;
  p.dims = 2;
  p.size[0] = 2;
  p.size[1] = kCount / 2;
  p.x_stride[0] = p.y_stride[0] = step == 1 ? kCount / 2 : 1;
  p.x_stride[1] = p.y_stride[1] = step;
  if (step != 1) p.x_stride[0] = 1, p.y_stride[0] = kCount / 2, p.y_stride[1] = 1;
  const std::string name = text_of("bits of %s, step %d", name_of(dtype), static_cast<int>(step));
  check(name, {&x, &y}, [&] { return backend().convert(p, nullptr); }, {});
  const std::vector<unsigned char> from = x.contents(), to = y.contents();
  const size_t size = bytes_of(dtype);
  bool same = true;
  for (size_t i = 0; i < kCount; ++i) {
    const size_t source = step == 1 ? i : i / (kCount / 2) + i % (kCount / 2) * 2;
    same = same && std::equal(&to[i * size], &to[i * size] + size, &from[source * size]);
  }
  check_that("all " + name, same);
}

}  // namespace

KERNEL_TEST(convert) {
  for (const Dtype from : kDtypes)
    for (const Dtype to : kDtypes) {
      for (const Case& c : kCases) run(c, from, to, 0, 0);
      run(kCases[0], from, to, 1, 0);
      run(kCases[0], from, to, 0, 3);
    }
  for (const Dtype dtype : kDtypes)
    for (const int64_t step : {1, 2}) run_bits(dtype, step);
}
