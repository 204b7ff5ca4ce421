// Tests of kernels: arrays on the device, and a check of what a kernel leaves in them against float64.
//
//   KERNEL_TEST(softmax) { ... check("softmax of 3 rows", {&x, &y}, [&] { return backend().softmax(p, nullptr); },
//                                    {{y, want, roundings}}); }
//
// A kernel is called through the plugin's table, so the same test runs in the simulator and on a GPU. In the simulator
// every check runs in several orders of the threads, and must give the same bits in each. kernel_test.cpp has main().
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda/backend.h"

namespace kernel_test {

using lucid::Conv2dShape;
using lucid::PoolAxis;
using lucid::cuda::Backend;
using lucid::cuda::Dtype;
using lucid::cuda::Error;

const Backend& backend();

#ifdef __SANITIZE_THREAD__
constexpr Dtype kDtypes[] = {Dtype::kFloat32, Dtype::kFloat16};  // threads of bfloat16 meet where those of float16 do
#else
constexpr Dtype kDtypes[] = {Dtype::kFloat32, Dtype::kFloat16, Dtype::kBfloat16};
#endif
constexpr Dtype kIntegers[] = {Dtype::kBool, Dtype::kUint8, Dtype::kInt8, Dtype::kInt16, Dtype::kInt32, Dtype::kInt64};
const char* name_of(Dtype dtype);
size_t bytes_of(Dtype dtype);
// The largest relative error of rounding to the nearest, and the least positive value, in which subnormal ones err.
double rounding_of(Dtype dtype);
double smallest_of(Dtype dtype);
// Between a number and the bytes of an element; written apart from the conversions that the kernels use.
void encode(Dtype dtype, double value, unsigned char* to);
double decode(Dtype dtype, const unsigned char* from);

[[gnu::format(printf, 1, 2)]] std::string text_of(const char* format, ...);

// The same numbers in every run.
struct Random {
  uint64_t state;
  double next();  // in [-1, 1)
};
std::vector<float> random_values(int64_t count, uint64_t seed, double scale = 1.0, double offset = 0.0);

// Elements in memory of the device, with others around them that nobody may touch. What it holds on the host is what
// a kernel is given; every upload() starts anew from there.
class Array {
 public:
  // Begins `shift` elements behind an address that suits every vector.
  Array(Dtype dtype, const std::vector<float>& values, size_t shift = 0);
  // An output: NaN everywhere.
  Array(Dtype dtype, size_t count, size_t shift = 0);
  // Bytes of 0xff, for a workspace or indices.
  explicit Array(size_t bytes);
  ~Array();
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  void* data() const { return memory_ + begin_; }
  float* floats() const { return static_cast<float*>(data()); }
  size_t size() const { return bytes_ / bytes_of(dtype_); }
  Dtype dtype() const { return dtype_; }

  double at(size_t i) const { return elements_[i]; }
  void set(size_t i, double value);
  void set_bits(size_t i, const unsigned char* bits);

  void upload() const;
  // What is on the device now. Fails if a kernel has touched what is around.
  std::vector<unsigned char> contents() const;
  std::vector<double> values() const;

 private:
  Array(Dtype dtype, size_t bytes, size_t shift_bytes, bool is_typed);

  Dtype dtype_;
  size_t bytes_, begin_;
  std::vector<unsigned char> host_;
  std::vector<double> elements_;  // of host_, which references read many times each
  unsigned char* memory_ = nullptr;
};

// A result in float64 with the sum of the absolute values behind it.
struct Value {
  double value = 0.0, magnitude = 0.0;
  void add(double term) {
    value += term;
    magnitude += std::fabs(term);
  }
  Value over(double divisor) const;
};

// An output and what must be in it, but for `roundings` roundings in float32 of its magnitude, a relative error of
// `relative` of it, and one rounding to its dtype. An element that is NaN must be NaN.
struct Expected {
  const Array& got;
  std::vector<Value> want;
  double roundings;
  double relative = 0.0;
};

// Uploads the arrays, calls the kernel, compares its outputs; in several orders of the threads.
void check(const std::string& name, const std::vector<const Array*>& arrays, const std::function<Error()>& kernel,
           const std::vector<Expected>& expected);
// For what check() cannot see: one more check, with its outcome.
void check_that(const std::string& name, bool holds);

// Ends the test.
[[noreturn]] void stop(const std::string& why);
void require(Error error, const char* what);

struct Registration {
  Registration(const char* name, void (*run)());
};
#define KERNEL_TEST(name) \
  static void kernel_test_##name(); \
  static const kernel_test::Registration kernel_test_registration_##name(#name, kernel_test_##name); \
  static void kernel_test_##name()

}  // namespace kernel_test
