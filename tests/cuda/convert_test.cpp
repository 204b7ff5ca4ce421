// Conversions between dtypes and orders of memory: exact, or the nearest value of the dtype.
#include <algorithm>
#include <cmath>
#include <iterator>

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

// Around the ends of every integer, and where floats have no more fractions; all but the last are exact in float64.
const double kNumbers[] = {0.0,     -0.0,    0.5,   -0.7,  1.0,    -1.5,   126.9,      127.5,
                           128.0,   -128.9,  200.0, 255.6, 256.0,  -129.0, 32767.5,    -32769,
                           40000.0, 65535.0, -3.0,  7.0,   100.25, 0x1p24, 0x1p24 + 1, 0x1p31 - 1,
                           0x1p31,  -0x1p31, 3e9,   -3e9,  1e15,   -1e15,  0x1p40 + 3, INFINITY};
constexpr size_t kNumberCount = std::size(kNumbers);

double converted(Dtype from, Dtype to, double value) {
  unsigned char bits[8] = {};
  if (to >= Dtype::kBool && from < Dtype::kBool && to != Dtype::kBool) {
    const double end = std::ldexp(1.0, static_cast<int>(8 * bytes_of(to)) - (to != Dtype::kUint8));
    if (std::isnan(value)) return 0.0;
    if (value >= end) return to == Dtype::kInt64 ? end : end - 1.0;  // the largest int64 is rounded to 2^63
    value = std::trunc(std::max(value, to == Dtype::kUint8 ? 0.0 : -end));
  }
  encode(to, to < Dtype::kBool ? static_cast<float>(value) : value, bits);
  return decode(to, bits);
}

// Where x or y is an integer: dense, and with rows of x as columns of y.
void run_integers(Dtype from, Dtype to, bool transposed) {
  constexpr auto kColumns = static_cast<int64_t>(kNumberCount / 2);
  Array x(from, kNumberCount);
  for (size_t i = 0; i < kNumberCount; ++i)
    x.set(i, from < Dtype::kBool || std::isfinite(kNumbers[i]) ? kNumbers[i] : 7.0);
  if (from < Dtype::kBool) x.set(3, NAN);
  const Array y(to, kNumberCount);
  Convert p{};
  p.x = x.data();
  p.y = y.data();
  p.x_dtype = from;
  p.y_dtype = to;
  p.dims = 2;
  p.size[0] = 2;
  p.size[1] = kColumns;
  p.x_stride[0] = kColumns;
  p.x_stride[1] = 1;
  p.y_stride[0] = transposed ? 1 : kColumns;
  p.y_stride[1] = transposed ? 2 : 1;
  const std::string name = text_of("%s to %s%s", name_of(from), name_of(to), transposed ? ", transposed" : "");
  check(name, {&x, &y}, [&] { return backend().convert(p, nullptr); }, {});
  const std::vector<double> got = y.values();
  std::string wrong;
  for (size_t i = 0; i < kNumberCount; ++i) {
    const size_t to_index = transposed ? i % kColumns * 2 + i / kColumns : i;
    const double want = converted(from, to, x.at(i));
    if (got[to_index] != want) wrong += text_of(" %.17g must become %.17g, got %.17g", x.at(i), want, got[to_index]);
  }
  check_that(name + ", values" + wrong, wrong.empty());
}

}  // namespace

KERNEL_TEST(convert) {
  for (const Dtype integer : kIntegers)
    for (const bool transposed : {false, true}) {
      for (const Dtype other : kIntegers) run_integers(integer, other, transposed);
      for (const Dtype other : kDtypes)
        run_integers(integer, other, transposed), run_integers(other, integer, transposed);
    }
  for (const Dtype from : kDtypes)
    for (const Dtype to : kDtypes) {
      for (const Case& c : kCases) run(c, from, to, 0, 0);
      run(kCases[0], from, to, 1, 0);
      run(kCases[0], from, to, 0, 3);
    }
  for (const Dtype dtype : kDtypes)
    for (const int64_t step : {1, 2}) run_bits(dtype, step);
}
