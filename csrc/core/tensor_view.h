// A lucid_tensor as operators see it: checked once, then plain numbers.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "lucid.h"

namespace lucid {

constexpr int kMaxDims = 8;
// Elements of one tensor: its bytes, rounded up to whole blocks and with some padding, still fit into 63 bits.
constexpr int64_t kMostElements = int64_t{1} << 58;

constexpr lucid_dtype kFloat32 = {LUCID_FLOAT, 32, 1};
constexpr lucid_dtype kFloat16 = {LUCID_FLOAT, 16, 1};
constexpr lucid_dtype kBfloat16 = {LUCID_BFLOAT, 16, 1};
constexpr lucid_dtype kUint8 = {LUCID_UINT, 8, 1};
constexpr lucid_dtype kInt64 = {LUCID_INT, 64, 1};
constexpr lucid_device kCpu = {LUCID_CPU, 0};

bool same_dtype(lucid_dtype a, lucid_dtype b);

// "float32", "bfloat16".
class DtypeText {
 public:
  explicit DtypeText(lucid_dtype dtype);
  const char* c_str() const { return text_; }

 private:
  char text_[32];
};

// "the CPU", "cuda:1".
class DeviceText {
 public:
  explicit DeviceText(lucid_device device);
  const char* c_str() const { return text_; }

 private:
  char text_[32];
};

// A float32 tensor of four dimensions with strides in elements.
struct ImageView {
  float* data;
  int64_t n, c, h, w;
  int64_t stride_n, stride_c, stride_h, stride_w;

  // Channels-last without gaps: element (n, c, h, w) is data[((n * H + h) * W + w) * C + c].
  bool dense_channels_last() const;
};

// A float32 vector; stride in elements.
struct VectorView {
  float* data;
  int64_t size, stride;
};

// The first element, and the distance in elements between two along one dimension.
float* data_of(const lucid_tensor& tensor);
int64_t stride_of(const lucid_tensor& tensor, int dim);

// Whether arrays of these sizes have at most kMostElements; sizes are not negative.
bool elements_fit(const int64_t* sizes, int dims);
bool elements_fit(std::initializer_list<int64_t> sizes);

// Checks for shape rules, on any device: they read no data. `op` and `name` open the message.
// Refused are null, another rank or dtype, negative sizes, and more elements or longer strides than can be addressed.
// The dtype is the one given, or one in which the tensor's device computes: float32, on CUDA float16 and bfloat16 too.
lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* tensor, int min_rank, int max_rank,
                          lucid_dtype dtype);
lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* tensor, int min_rank, int max_rank);
// A vector beside tensors of `dtype`: of that or of float32.
lucid_status check_vector(const char* op, const char* name, const lucid_tensor* tensor, int64_t size,
                          lucid_dtype dtype);

// The checks that remain before a checked tensor is read or written: device, null pointer, alignment. A null tensor
// is an optional one that is not there.
lucid_status check_data(const char* op, const char* name, const lucid_tensor* tensor, lucid_device device = kCpu);

// A checked tensor of rank 4; of rank 3 (n, c, l) or 2 (n, c) with the missing pixels as ones.
ImageView view_image(const lucid_tensor& tensor);
// A checked vector; all zeros for null.
VectorView view_vector(const lucid_tensor* tensor);

}  // namespace lucid
