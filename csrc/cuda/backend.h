// The CUDA plugin as the library sees it: one table of functions, as an instruction set is one table of kernels.
//
// liblucid_cuda.so, compiled by nvcc, exports lucid_cuda_backend(); so does liblucid_cuda_sim.so, the same sources
// compiled by a C++ compiler for tests. The operators in ops/ have checked everything before a kernel is called, have
// brought images into channels-last order without gaps, and vectors (bias, statistics) to float32.
//
// Every function returns an error of the CUDA runtime, 0 for success, which error_text() puts into words. Kernels work
// on the current device of the calling thread, are only enqueued when their function returns, and keep no pointer to
// their arguments. None allocates memory: those that want some say how much, and are given it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/geometry.h"
#include "core/update.h"

namespace lucid::cuda {

// Raised whenever anything in this file changes.
constexpr int32_t kBackendAbi = 5;

using Error = int;
using Stream = void*;  // cudaStream_t; null is the default stream

// How elements are stored. Sums are formed in float32 always. Those from kBool on are only converted and copied.
enum class Dtype : int32_t { kFloat32, kFloat16, kBfloat16, kBool, kUint8, kInt8, kInt16, kInt32, kInt64 };

constexpr bool is_floating(Dtype dtype) { return dtype < Dtype::kBool; }
constexpr int64_t size_of(Dtype dtype) {
  constexpr int64_t kSizes[] = {4, 2, 2, 1, 1, 1, 2, 4, 8};
  return kSizes[static_cast<int32_t>(dtype)];
}

struct DeviceProperties {
  char name[256];
  int64_t memory, shared_memory_per_block, l2_bytes;
  int32_t major, minor, multiprocessors, clock_khz, memory_clock_khz, memory_bus_bits;
};

// y = x in the dtype and the strides of y, which count elements. At least one dimension. An integer keeps its low bits
// in a smaller dtype; of a float it is the whole part, or the nearest integer that there is, and 0 of NaN; a bool is
// whether the value is not 0.
struct Convert {
  static constexpr int kMaxDims = 8;
  const void* x;
  void* y;
  Dtype x_dtype, y_dtype;
  int32_t dims;
  int64_t size[kMaxDims], x_stride[kMaxDims], y_stride[kMaxDims];
};

// y = function(a, b) + 0, then a ReLU; a function of one argument ignores b, and a gradient
// takes dy as a and what the function gave as b. Strides count elements, those of a
// broadcast operand are 0.
enum class ElementwiseFunction : int32_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kMaximum,
  kMinimum,
  kRelu,
  kSigmoid,
  kReluBackward,
  kSigmoidBackward
};
struct Elementwise {
  static constexpr int kMaxDims = 8;
  ElementwiseFunction function;
  Dtype dtype;
  const void *a, *b;
  void* y;
  int32_t dims;  // at least 1
  int64_t size[kMaxDims], a_stride[kMaxDims], b_stride[kMaxDims], y_stride[kMaxDims];
  bool relu;
};

// y = max(0, conv2d(x) + bias + residual). y may be the memory of the residual.
struct Conv2d {
  Conv2dShape shape;
  Dtype dtype;            // of x, weights, residual and y
  const char* algorithm;  // of conv2d_algorithms(), or null for the best
  bool tf32;              // whether products of float32 may be rounded to TF32
  const void* x;          // [n, h, w, groups * in_group]
  const void* packed;     // what conv2d_pack() wrote for this shape (but for n), dtype and algorithm
  const float* bias;      // [groups * out_group], or null
  const void* residual;   // as y, or null
  bool relu;
  void* y;  // [n, out_h, out_w, groups * out_group]
};

struct Conv2dPack {
  Conv2dShape shape;
  Dtype dtype;
  const char* algorithm;
  bool tf32;
  const void* weight;  // [groups * out_group, in_group, kernel_h, kernel_w] without gaps
  void* packed;        // conv2d_packed_bytes()
};

// dx[n, h, w, c] = sum of dy * weight over all windows that see the pixel.
struct Conv2dBackwardInput {
  Conv2dShape shape;
  Dtype dtype;
  const void* dy;      // as y
  const void* weight;  // as Conv2dPack's
  void* dx;            // as x
  void* workspace;     // conv2d_backward_input_bytes()
};

// dweight = sum of x * dy over images and pixels; dbias = sum of dy. The order of the sums depends on the shape alone.
struct Conv2dBackwardWeight {
  Conv2dShape shape;
  Dtype dtype;
  const void *x, *dy;
  void* dweight;    // as Conv2dPack's weight
  float* dbias;     // [groups * out_group], or null
  void* workspace;  // conv2d_backward_weight_bytes()
};

// y = (x - mean) / sqrt(var + eps) * weight + bias of each channel, then a ReLU. Null: mean 0, var 1 with eps 0, weight
// 1, bias 0. y may be the memory of x.
struct BatchNorm {
  Dtype dtype;
  int64_t pixels, c;     // of all images
  const void* x;         // [pixels, c]
  const void* residual;  // as x, or null
  const float *mean, *var, *weight, *bias;
  double eps;
  bool relu;
  void* y;
};

// Mean and biased variance of each channel, in two passes over blocks of pixels that do not depend on the device.
struct BatchNormStatistics {
  Dtype dtype;
  int64_t pixels, c;
  const void* x;  // [pixels, c]
  float *mean, *var;
  void* workspace;  // batch_norm_statistics_bytes()
};

// Gradients of batch norm, behind a ReLU if y is given; unless training, statistics are constants.
struct BatchNormBackward {
  Dtype dtype;
  int64_t pixels, c;
  const void *x, *dy;
  const void* y;  // where it is 0, dy does not count; or null
  const float *mean, *var, *weight;
  double eps;
  bool training;
  void* dx;
  float *dweight, *dbias;
  void* dresidual;  // as x: dy as it counts; or null
  void* workspace;  // batch_norm_backward_bytes()
};

struct RadixSumPool {
  Dtype dtype;
  int64_t n, pixels, radix, c;
  const void* x;  // [n, pixels, radix * c]
  void* y;        // [n, c]
};
struct RadixSumPoolBackward {
  Dtype dtype;
  int64_t n, pixels, radix, c;
  const void* dy;  // [n, c]
  void* dx;        // [n, pixels, radix * c]
};

// As lucid_split_attention in lucid.h.
struct SplitAttention {
  Dtype dtype;
  int64_t n, pixels, radix, c, cardinality;
  const void *x, *logits;  // [n, pixels, radix * c], [n, cardinality, radix, c / cardinality]
  void* y;                 // [n, pixels, c]
};
struct SplitAttentionBackward {
  Dtype dtype;
  int64_t n, pixels, radix, c, cardinality;
  const void *x, *logits, *dy;
  void *dx, *dlogits;
  void* workspace;  // split_attention_backward_bytes()
};

struct MaxPool2d {
  Dtype dtype;
  int64_t n, c;
  PoolAxis h, w;
  const void* x;     // [n, h.size, w.size, c]
  void* y;           // [n, h.out, w.out, c]
  int64_t* indices;  // as y: row * width + column of the value, the first of several; or null
};
struct AvgPool2d {
  Dtype dtype;
  int64_t n, c;
  PoolAxis h, w;  // adaptive where kernel is 0
  bool count_include_pad;
  int64_t divisor;  // or 0 for the size of the window
  const void* x;
  void* y;
};
struct MaxPool2dBackward {
  Dtype dtype;
  int64_t n, c;
  PoolAxis h, w;
  const void* dy;
  const int64_t* indices;
  void* dx;
};
struct AvgPool2dBackward {
  Dtype dtype;
  int64_t n, c;
  PoolAxis h, w;
  bool count_include_pad;
  int64_t divisor;
  const void* dy;
  void* dx;
};

// y = x * weight^T + bias, then a ReLU; each group takes its slice of x and its rows of the weight.
struct Linear {
  Dtype dtype;
  int64_t rows, in, outputs, groups;  // in and outputs of a group
  const void *x, *weight;             // [rows, groups * in], [groups * outputs, in]
  const float* bias;                  // [groups * outputs], or null
  bool relu;
  void* y;  // [rows, groups * outputs]
};

// Softmax over the middle of three dimensions without gaps; its backward is dx = y * (dy - sum of dy * y), or of its
// logarithm dx = dy - exp(y) * sum of dy.
struct Softmax {
  Dtype dtype;
  int64_t outer, size, inner;
  bool log;
  const void* x;
  void* y;
};
struct SoftmaxBackward {
  Dtype dtype;
  int64_t outer, size, inner;
  bool log;
  const void *y, *dy;
  void* dx;
};

// Updates in place; all tensors of one are of this dtype.
struct SgdUpdate {
  Dtype dtype;
  lucid::SgdUpdate update;
};
struct AdamwUpdate {
  Dtype dtype;
  lucid::AdamwUpdate update;
};
struct AverageUpdate {
  Dtype dtype;
  lucid::AverageUpdate update;
};

// What a loss compares logits with.
struct CrossEntropyTarget {
  Dtype dtype;  // kInt64: class indices, [outer, inner]; else probabilities, [outer, size, inner]
  const void* data;
  const float* weight;  // [size], or null
  int64_t ignore_index;
  float kept, spread;  // 1 - label_smoothing, and label_smoothing / size
};
enum class LossReduction : int32_t { kNone, kSum, kMean };

// As lucid_cross_entropy in lucid.h, over the middle of three dimensions without gaps. The backward ignores a
// workspace where nothing is divided.
struct CrossEntropy {
  Dtype dtype;  // of x and y
  int64_t outer, size, inner;
  const void* x;
  CrossEntropyTarget target;
  LossReduction reduction;
  void* y;          // [outer, inner], or one
  void* workspace;  // cross_entropy_bytes()
};
struct CrossEntropyBackward {
  Dtype dtype;  // of x, dy and dx
  int64_t outer, size, inner;
  const void* x;
  CrossEntropyTarget target;
  LossReduction reduction;
  const void* dy;   // [outer, inner], or one
  void* dx;         // as x
  void* workspace;  // cross_entropy_backward_bytes()
};

// Every kernel: its name and its arguments.
#define LUCID_CUDA_KERNELS(X) \
  X(adamw_update, AdamwUpdate) \
  X(average_update, AverageUpdate) \
  X(avg_pool2d, AvgPool2d) \
  X(avg_pool2d_backward, AvgPool2dBackward) \
  X(batch_norm, BatchNorm) \
  X(batch_norm_backward, BatchNormBackward) \
  X(batch_norm_statistics, BatchNormStatistics) \
  X(conv2d, Conv2d) \
  X(conv2d_backward_input, Conv2dBackwardInput) \
  X(conv2d_backward_weight, Conv2dBackwardWeight) \
  X(conv2d_pack, Conv2dPack) \
  X(convert, Convert) \
  X(cross_entropy, CrossEntropy) \
  X(cross_entropy_backward, CrossEntropyBackward) \
  X(elementwise, Elementwise) \
  X(linear, Linear) \
  X(max_pool2d, MaxPool2d) \
  X(max_pool2d_backward, MaxPool2dBackward) \
  X(radix_sum_pool, RadixSumPool) \
  X(radix_sum_pool_backward, RadixSumPoolBackward) \
  X(sgd_update, SgdUpdate) \
  X(softmax, Softmax) \
  X(softmax_backward, SoftmaxBackward) \
  X(split_attention, SplitAttention) \
  X(split_attention_backward, SplitAttentionBackward)

// Those that want memory to work in: how many bytes for these arguments, of which no pointer is read.
#define LUCID_CUDA_WORKSPACES(X) \
  X(batch_norm_backward, BatchNormBackward) \
  X(batch_norm_statistics, BatchNormStatistics) \
  X(conv2d_backward_input, Conv2dBackwardInput) \
  X(conv2d_backward_weight, Conv2dBackwardWeight) \
  X(cross_entropy, CrossEntropy) \
  X(cross_entropy_backward, CrossEntropyBackward) \
  X(split_attention_backward, SplitAttentionBackward)

struct Backend {
  int32_t abi;          // kBackendAbi, the first field of every version
  int32_t simulation;   // whether this is the CPU that pretends
  const char* version;  // of lucid, and of the CUDA runtime: "0.1.0, CUDA 13.0"

  const char* (*error_text)(Error error);
  // Whether the device can do nothing more until the process ends, as after an illegal address.
  bool (*is_sticky)(Error error);
  bool (*is_out_of_memory)(Error error);

  Error (*device_count)(int32_t* count);
  Error (*device_properties)(int32_t device, DeviceProperties* properties);
  Error (*get_device)(int32_t* device);  // of the calling thread, to be restored behind a call
  Error (*set_device)(int32_t device);
  Error (*synchronize)();  // the current device
  Error (*allocate)(size_t bytes, void** memory);
  Error (*deallocate)(void* memory);
  Error (*memory_info)(size_t* free, size_t* total);
  // Host memory is pageable: it may be reused when copy_to_device returns, and is filled when copy_to_host does.
  Error (*copy_to_device)(void* device, const void* host, size_t bytes, Stream stream);
  Error (*copy_to_host)(void* host, const void* device, size_t bytes, Stream stream);
  Error (*copy_on_device)(void* to, const void* from, size_t bytes, Stream stream);
  Error (*fill)(void* device, int byte, size_t bytes, Stream stream);
  // Whose device, and whether it is device memory at all: -1 for memory of the host.
  Error (*device_of)(const void* memory, int32_t* device);

  Error (*stream_create)(Stream* stream);
  Error (*stream_destroy)(Stream stream);
  Error (*stream_synchronize)(Stream stream);
  Error (*stream_wait)(Stream stream, Stream other);  // for what `other` has been given so far
  Error (*event_create)(void** event);                // with timing
  Error (*event_destroy)(void* event);
  Error (*event_record)(void* event, Stream stream);
  Error (*event_milliseconds)(void* begin, void* end, float* milliseconds);  // waits for `end`

  // What is enqueued between begin and end becomes a graph instead of running. Not on the default stream.
  Error (*capture_begin)(Stream stream);
  Error (*capture_end)(Stream stream, void** graph);  // null on an error, and the stream works again
  Error (*graph_launch)(void* graph, Stream stream);
  Error (*graph_destroy)(void* graph);

  // Names of the algorithms of a convolution, comma-separated, best first. The text is static.
  const char* (*conv2d_algorithms)(const Conv2dShape& shape, Dtype dtype, bool tf32);
  size_t (*conv2d_packed_bytes)(const Conv2dPack& arguments);

#define LUCID_CUDA_WORKSPACE(name, Arguments) size_t (*name##_bytes)(const Arguments& arguments);
  LUCID_CUDA_WORKSPACES(LUCID_CUDA_WORKSPACE)
#undef LUCID_CUDA_WORKSPACE

#define LUCID_CUDA_KERNEL(name, Arguments) Error (*name)(const Arguments& arguments, Stream stream);
  LUCID_CUDA_KERNELS(LUCID_CUDA_KERNEL)
#undef LUCID_CUDA_KERNEL
};

}  // namespace lucid::cuda

// What a plugin exports. Only `abi` may be read before it is known to be kBackendAbi.
extern "C" const lucid::cuda::Backend* lucid_cuda_backend();
