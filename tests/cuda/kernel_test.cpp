#include "kernel_test.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#ifdef LUCID_CUDA_HOST
#include "cuda/host_sim/memory.h"
#include "cuda/host_sim/settings.h"
#endif

namespace kernel_test {
namespace {

struct Test {
  const char* name;
  void (*run)();
};
std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

int checks = 0, failures = 0;

void report(const std::string& name, const std::string& failure) {
  ++checks;
  failures += !failure.empty();
  std::printf("%s %s%s%s\n", failure.empty() ? "ok  " : "FAIL", name.c_str(), failure.empty() ? "" : ": ",
              failure.c_str());
}

#ifdef LUCID_CUDA_HOST
int orders = 4;  // forwards, backwards and two shuffled ones
#else
int orders = 1;  // a GPU has its own
#endif

constexpr unsigned char kUnset[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};  // NaN in every dtype

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kGuard = 0;  // what is around an allocation is the sanitizer's, which sees loads as well
#else
constexpr size_t kGuard = 256;
#endif

// The mantissa's bits with the hidden one, and the exponent of the least normal number.
struct Format {
  int digits, least_exponent, exponent_bits;
};
Format format_of(Dtype dtype) {
  if (dtype == Dtype::kFloat16) return {11, -14, 5};
  if (dtype == Dtype::kBfloat16) return {8, -126, 8};
  return {24, -126, 8};
}

std::string difference(const Expected& expected, const std::vector<unsigned char>& bytes) {
  const Dtype dtype = expected.got.dtype();
  if (expected.want.size() * bytes_of(dtype) != bytes.size())
    return text_of("%zu values are expected of %zu bytes", expected.want.size(), bytes.size());
  for (size_t i = 0; i < expected.want.size(); ++i) {
    const double got = decode(dtype, &bytes[i * bytes_of(dtype)]);
    const auto [want, magnitude] = expected.want[i];
    const double tolerance = (expected.roundings * 0x1p-24 + expected.relative) * magnitude +
                             1.01 * rounding_of(dtype) * std::fabs(want) + smallest_of(dtype);
    const bool same = got == want || (std::isnan(got) && std::isnan(want));
    if (!same && !(std::fabs(got - want) <= tolerance))
      return text_of("element %zu is %.9g, must be %.9g within %.3g", i, got, want, tolerance);
  }
  return "";
}

void set_order(int order) {
#ifdef LUCID_CUDA_HOST
  host_sim::settings().seed = static_cast<uint64_t>(order);
#endif
  static_cast<void>(order);
}

}  // namespace

const Backend& backend() { return *lucid_cuda_backend(); }

const char* name_of(Dtype dtype) {
  constexpr const char* kNames[] = {"float32", "float16", "bfloat16", "bool", "uint8",
                                    "int8",    "int16",   "int32",    "int64"};
  return kNames[static_cast<int>(dtype)];
}

size_t bytes_of(Dtype dtype) {
  constexpr size_t kBytes[] = {4, 2, 2, 1, 1, 1, 2, 4, 8};
  return kBytes[static_cast<int>(dtype)];
}

double rounding_of(Dtype dtype) { return std::ldexp(1.0, -format_of(dtype).digits); }

double smallest_of(Dtype dtype) {
  const Format format = format_of(dtype);
  return std::ldexp(1.0, format.least_exponent - format.digits + 1);
}

void encode(Dtype dtype, double value, unsigned char* to) {
  if (dtype == Dtype::kFloat32) {
    const float narrow = static_cast<float>(value);
    std::memcpy(to, &narrow, 4);
    return;
  }
  if (dtype >= Dtype::kBool) {  // the low bits
    const int64_t whole = dtype == Dtype::kBool ? value != 0.0 : static_cast<int64_t>(value);
    std::memcpy(to, &whole, bytes_of(dtype));
    return;
  }
  const Format format = format_of(dtype);
  const int fraction_bits = format.digits - 1;
  const uint32_t infinity = ((1u << format.exponent_bits) - 1) << fraction_bits;
  uint32_t bits = infinity;
  if (std::isnan(value)) {
    bits = 0x7fff;
  } else if (std::isfinite(value)) {
    const int exponent = value == 0.0 ? format.least_exponent : std::max(std::ilogb(value), format.least_exponent);
    // In units of the last place, to the nearest even. A carry into the next binade carries into the exponent's bits.
    const double units = std::nearbyint(std::ldexp(std::fabs(value), fraction_bits - exponent));
    const int64_t binade = exponent - format.least_exponent;
    bits = static_cast<uint32_t>(std::min<int64_t>(infinity, static_cast<int64_t>(units) + (binade << fraction_bits)));
  }
  if (std::signbit(value) && !std::isnan(value)) bits |= 0x8000;
  const uint16_t half = static_cast<uint16_t>(bits);
  std::memcpy(to, &half, 2);
}

double decode(Dtype dtype, const unsigned char* from) {
  if (dtype == Dtype::kFloat32) {
    float value;
    std::memcpy(&value, from, 4);
    return value;
  }
  if (dtype >= Dtype::kBool) {
    uint64_t bits = 0;
    std::memcpy(&bits, from, bytes_of(dtype));
    const size_t above = 64 - 8 * bytes_of(dtype);
    const bool is_signed = dtype > Dtype::kUint8;
    return is_signed ? static_cast<double>(static_cast<int64_t>(bits << above) >> above) : static_cast<double>(bits);
  }
  uint16_t half;
  std::memcpy(&half, from, 2);
  const Format format = format_of(dtype);
  const int fraction_bits = format.digits - 1, exponent = (half & 0x7fff) >> fraction_bits;
  const int fraction = half & ((1 << fraction_bits) - 1);
  const double sign = half & 0x8000 ? -1.0 : 1.0;
  if (exponent == (1 << format.exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
  const int hidden = exponent == 0 ? 0 : 1 << fraction_bits;
  return sign * std::ldexp(fraction + hidden, std::max(exponent, 1) - 1 + format.least_exponent - fraction_bits);
}

std::string text_of(const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

double Random::next() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(static_cast<int64_t>(state) >> 11) * 0x1p-52;
}

std::vector<float> random_values(int64_t count, uint64_t seed, double scale, double offset) {
  Random random{seed * 0x9e3779b97f4a7c15u};
  random.next();
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(offset + scale * random.next());
  return values;
}

Array::Array(Dtype dtype, size_t bytes, size_t shift_bytes, [[maybe_unused]] bool is_typed)
    : dtype_(dtype),
      bytes_(bytes),
      begin_(kGuard + shift_bytes),
      host_(bytes + shift_bytes + 2 * kGuard, 0xff),
      elements_(size(), decode(dtype, kUnset)) {
  void* memory = nullptr;
  require(backend().allocate(std::max<size_t>(host_.size(), 1), &memory), "allocate");
  memory_ = static_cast<unsigned char*>(memory);
#ifdef LUCID_CUDA_HOST
  if (is_typed && dtype < Dtype::kBool) host_sim::device_memory().describe(memory, name_of(dtype));
#endif
}

Array::Array(Dtype dtype, size_t count, size_t shift)
    : Array(dtype, count * bytes_of(dtype), shift * bytes_of(dtype), true) {}

Array::Array(size_t bytes) : Array(Dtype::kFloat32, bytes, 0, false) {}

Array::Array(Dtype dtype, const std::vector<float>& values, size_t shift) : Array(dtype, values.size(), shift) {
  for (size_t i = 0; i < values.size(); ++i) set(i, values[i]);
}

Array::~Array() { backend().deallocate(memory_); }

void Array::set(size_t i, double value) {
  unsigned char* to = &host_[begin_ + i * bytes_of(dtype_)];
  encode(dtype_, value, to);
  elements_[i] = decode(dtype_, to);
}

void Array::set_bits(size_t i, const unsigned char* bits) {
  std::memcpy(&host_[begin_ + i * bytes_of(dtype_)], bits, bytes_of(dtype_));
  elements_[i] = decode(dtype_, bits);
}

void Array::upload() const {
  require(backend().copy_to_device(memory_, host_.data(), host_.size(), nullptr), "copy_to_device");
}

std::vector<unsigned char> Array::contents() const {
  std::vector<unsigned char> found(host_.size());
  require(backend().copy_to_host(found.data(), memory_, found.size(), nullptr), "copy_to_host");
  const auto begin = found.begin() + static_cast<int64_t>(begin_), end = begin + static_cast<int64_t>(bytes_);
  const auto own_end = host_.begin() + static_cast<int64_t>(begin_ + bytes_);
  if (!std::equal(found.begin(), begin, host_.begin()) || !std::equal(end, found.end(), own_end))
    stop("memory around an array was written");
  return {begin, end};
}

std::vector<double> Array::values() const {
  const std::vector<unsigned char> found = contents();
  std::vector<double> values(size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode(dtype_, &found[i * bytes_of(dtype_)]);
  return values;
}

Value Value::over(double divisor) const { return {value / divisor, magnitude / std::fabs(divisor)}; }

void check(const std::string& name, const std::vector<const Array*>& arrays, const std::function<Error()>& kernel,
           const std::vector<Expected>& expected) {
  std::string failure;
  try {
    std::vector<std::vector<unsigned char>> first;
    for (int order = 0; order < orders; ++order) {
      set_order(order);
      for (const Array* array : arrays) array->upload();
      require(kernel(), "the kernel");
      require(backend().synchronize(), "synchronize");
      for (const Array* array : arrays) array->contents();
      for (size_t i = 0; i < expected.size(); ++i) {
        const std::vector<unsigned char> bytes = expected[i].got.contents();
        if (order == 0) {
          first.push_back(bytes);
          if (failure.empty()) failure = difference(expected[i], bytes);
        } else if (failure.empty() && bytes != first[i]) {
          failure = text_of("output %zu depends on the order of the threads", i);
        }
      }
    }
  } catch (const Failure& caught) {
    failure = caught.what();
  }
  report(name, failure);
}

void check_that(const std::string& name, bool holds) { report(name, holds ? "" : "it does not hold"); }

void stop(const std::string& why) { throw Failure(why); }

void require(Error error, const char* what) {
  if (error != 0) stop(text_of("%s: %s", what, backend().error_text(error)));
}

Registration::Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }

}  // namespace kernel_test

namespace {

// 77, by which test runners know what could not run.
constexpr int kSkipped = 77;

int run_tests(const std::vector<kernel_test::Test>& chosen) {
  using namespace kernel_test;
  int32_t devices = 0;
  const Error error = backend().device_count(&devices);
  if (devices == 0) {
    std::printf("skipped: no CUDA device%s%s\n", error != 0 ? ": " : "", error != 0 ? backend().error_text(error) : "");
    return kSkipped;
  }
  for (const Test& test : chosen) {
    try {
      test.run();
    } catch (const Failure& caught) {
      report(test.name, caught.what());
    }
    std::fflush(stdout);
  }
  std::printf("%zu tests, %d checks, %d failures\n", chosen.size(), checks, failures);
  return failures != 0;
}

}  // namespace

int main(int argc, char** argv) {
  using kernel_test::Test;
  std::vector<Test>& tests = kernel_test::tests();
  std::sort(tests.begin(), tests.end(), [](const Test& a, const Test& b) { return std::strcmp(a.name, b.name) < 0; });
  std::vector<const char*> names(argv + 1, argv + argc);
  if (names.size() == 1 && std::strcmp(names[0], "--list") == 0) {
    for (const Test& test : tests) std::printf("%s\n", test.name);
    return 0;
  }
  if (!names.empty() && std::strcmp(names[0], "--once") == 0) {
    kernel_test::orders = 1;
    names.erase(names.begin());
  }
  std::vector<Test> chosen;
  for (const char* name : names) {
    const auto found =
        std::find_if(tests.begin(), tests.end(), [&](const Test& test) { return std::strcmp(test.name, name) == 0; });
    if (found == tests.end()) {
      std::fprintf(stderr, "%s: no test is called %s\nusage: %s [--list | [--once] NAME...]\n", argv[0], name, argv[0]);
      return 2;
    }
    chosen.push_back(*found);
  }
  return run_tests(names.empty() ? tests : chosen);
}
