// What the tests of the layers' kernels share: arrays of every dtype on the device, and a check of a kernel's outputs
// against float64 with tolerances from a formula, in several orders of the threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/backend.h"
#include "cuda/cuda_compat.h"
#include "cuda/kernels.h"

namespace layer_test {

using lucid::PoolAxis;
using lucid::cuda::Dtype;
using lucid::cuda::Error;

constexpr Dtype kDtypes[] = {Dtype::kFloat32, Dtype::kFloat16, Dtype::kBfloat16};

inline const char* name_of(Dtype dtype) {
  return dtype == Dtype::kFloat32 ? "float32" : dtype == Dtype::kFloat16 ? "float16" : "bfloat16";
}

// Relative error of rounding to the nearest.
constexpr double kRounding = 0x1p-24;
inline double rounding_of(Dtype dtype) {
  return dtype == Dtype::kFloat32 ? kRounding : dtype == Dtype::kFloat16 ? 0x1p-11 : 0x1p-8;
}
inline double smallest_of(Dtype dtype) { return dtype == Dtype::kFloat16 ? 0x1p-24 : 0x1p-126; }

inline size_t bytes_of(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }

inline void encode(Dtype dtype, float value, unsigned char* to) {
  if (dtype == Dtype::kFloat32) {
    std::memcpy(to, &value, 4);
  } else if (dtype == Dtype::kFloat16) {
    const __half half = __float2half(value);
    std::memcpy(to, &half, 2);
  } else {
    const __nv_bfloat16 half = __float2bfloat16(value);
    std::memcpy(to, &half, 2);
  }
}

inline float decode(Dtype dtype, const unsigned char* from) {
  if (dtype == Dtype::kFloat32) {
    float value;
    std::memcpy(&value, from, 4);
    return value;
  }
  if (dtype == Dtype::kFloat16) {
    __half half;
    std::memcpy(&half, from, 2);
    return __half2float(half);
  }
  __nv_bfloat16 half;
  std::memcpy(&half, from, 2);
  return __bfloat162float(half);
}

struct Random {
  uint64_t state;
  double next() {  // in [-1, 1)
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(static_cast<int64_t>(state >> 11)) * 0x1p-52 - 1.0;
  }
};

inline std::vector<float> random_values(int64_t count, uint64_t seed, double scale = 1.0, double offset = 0.0) {
  Random random{seed};
  random.next();
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(offset + scale * random.next());
  return values;
}

// Elements in memory of the device, with others around them that nobody may touch.
class Array {
 public:
  static constexpr size_t kGuard = 32;  // bytes on each side, a multiple of what the kernels load at once

  Array(Dtype dtype, const std::vector<float>& values, size_t shift = 0) : Array(dtype, values.size(), shift) {
    for (size_t i = 0; i < values.size(); ++i) encode(dtype, values[i], &bytes_[begin_ + i * bytes_of(dtype)]);
  }
  // An output, all NaN. It is `shift` elements from an address that all vectors may have.
  Array(Dtype dtype, size_t count, size_t shift = 0) : Array(count * bytes_of(dtype), shift * bytes_of(dtype)) {
    dtype_ = dtype;
  }
  // Bytes, for indices and workspaces.
  explicit Array(size_t count, size_t shift = 0)
      : count_(count), begin_(kGuard + shift), bytes_(count + shift + 2 * kGuard, 0xff) {
    if (cudaMalloc(&memory_, bytes_.size()) != cudaSuccess) memory_ = nullptr;
  }
  ~Array() { cudaFree(memory_); }
  Array(const Array&) = delete;

  void* data() const { return memory_ + begin_; }
  float* floats() const { return static_cast<float*>(data()); }
  size_t size() const { return count_ / bytes_of(dtype_); }
  Dtype dtype() const { return dtype_; }

  // As a kernel is given it.
  double at(size_t i) const { return decode(dtype_, &bytes_[begin_ + i * bytes_of(dtype_)]); }

  void set_bits(size_t i, const unsigned char* bits) {
    std::memcpy(&bytes_[begin_ + i * bytes_of(dtype_)], bits, bytes_of(dtype_));
  }

  bool upload() const {
    return cudaMemcpy(memory_, bytes_.data(), bytes_.size(), cudaMemcpyHostToDevice) == cudaSuccess;
  }
  std::vector<unsigned char> download() const {
    std::vector<unsigned char> bytes(bytes_.size());
    if (cudaMemcpy(bytes.data(), memory_, bytes.size(), cudaMemcpyDeviceToHost) != cudaSuccess) bytes.clear();
    return bytes;
  }
  // What a kernel left there; empty if it touched what is around, or failed.
  std::vector<unsigned char> contents() const {
    const std::vector<unsigned char> bytes = download();
    if (bytes.empty() || !std::equal(bytes.begin(), bytes.begin() + begin_, bytes_.begin()) ||
        !std::equal(bytes.begin() + begin_ + count_, bytes.end(), bytes_.begin() + begin_ + count_))
      return {};
    return {bytes.begin() + begin_, bytes.begin() + begin_ + count_};
  }

 private:
  size_t count_, begin_;
  std::vector<unsigned char> bytes_;
  unsigned char* memory_ = nullptr;
  Dtype dtype_ = Dtype::kFloat32;
};

// A result in float64 with the sum of the absolute values behind it.
struct Value {
  double value = 0.0, magnitude = 0.0;
  void add(double term) { value += term, magnitude += std::fabs(term); }
  Value over(double divisor) const { return {value / divisor, magnitude / std::fabs(divisor)}; }
};

// An output and what must be in it, but for `roundings` roundings in float32 of its magnitude and one to its dtype.
struct Expected {
  const Array& got;
  std::vector<Value> want;
  double roundings;
};

inline int failures = 0, checks = 0;

inline void fail(const std::string& name, const char* what) {
  ++failures;
  std::printf("FAIL %s: %s\n", name.c_str(), what);
}

inline void compare(const std::string& name, const Expected& expected, const std::vector<unsigned char>& bytes) {
  const Dtype dtype = expected.got.dtype();
  for (size_t i = 0; i < expected.want.size(); ++i) {
    const double got = decode(dtype, &bytes[i * bytes_of(dtype)]), want = expected.want[i].value;
    const double tolerance = expected.roundings * kRounding * expected.want[i].magnitude +
                             1.01 * rounding_of(dtype) * std::fabs(want) + smallest_of(dtype);
    const bool same = got == want || (std::isnan(got) && std::isnan(want));
    if (same || std::fabs(got - want) <= tolerance) continue;
    char text[200];
    std::snprintf(text, sizeof text, "element %zu is %.9g, must be %.9g within %.3g", i, got, want, tolerance);
    return fail(name, text);
  }
}

inline void set_order(int order) {
#if defined(LUCID_CUDA_HOST)
  cuhost::config().seed = order;
#else
  (void)order;
#endif
}

// Runs the kernel on fresh arrays in several orders of its threads: the results are right, and always the same.
inline void check(const std::string& name, const std::vector<const Array*>& arrays,
                  const std::function<Error()>& kernel, const std::vector<Expected>& expected) {
  ++checks;
  std::vector<std::vector<unsigned char>> first;
  for (int order = 0; order < 3; ++order) {
    set_order(order);
    for (const Array* array : arrays)
      if (!array->upload()) return fail(name, "no memory of the device");
    if (kernel() != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess)
      return fail(name, cudaGetErrorString(cudaGetLastError()));
    for (size_t i = 0; i < expected.size(); ++i) {
      std::vector<unsigned char> bytes = expected[i].got.contents();
      if (bytes.empty() && expected[i].got.size() != 0) return fail(name, "writes outside of an output");
      if (order == 0) {
        compare(name, expected[i], bytes);
        first.push_back(std::move(bytes));
      } else if (bytes != first[i]) {
        return fail(name, "depends on the order of the threads");
      }
    }
  }
}

inline int finish() {
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures != 0;
}

template <class... Parts>
std::string text_of(const char* format, Parts... parts) {
  char text[200];
  std::snprintf(text, sizeof text, format, parts...);
  return text;
}

}  // namespace layer_test
