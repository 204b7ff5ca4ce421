// The gradients of a convolution by its weights and bias, in two steps that do not depend on the device: sums over
// parts of the pixels into the workspace, then the sum over the parts, in order.
//
// dbias is bound by memory: it reads dy once more.
#include "cuda/conv2d_backward.h"
#include "cuda/kernels.h"
#include "cuda/quad.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChannels = 32;                 // neighbours that a block sums up
constexpr int kTurns = kThreads / kChannels;  // threads that share a sum
constexpr int64_t kPartPixels = 64 * kTurns;  // of dy that a block adds up for the bias, at least
constexpr int64_t kMostBiasParts = 256;

// Adds up what the threads of a column have, in order.
__device__ inline float add_columns(float* staged, float value) {
  staged[threadIdx.x] = value;
  __syncthreads();
  float sum = 0.0f;
  if (threadIdx.x < kChannels)
    for (int turn = 0; turn < kTurns; ++turn) sum += staged[turn * kChannels + threadIdx.x];
  return sum;
}

struct Reduction {
  const float* partial;
  int64_t parts, part_size;  // floats of a part
  int64_t size;              // numbers of the sum, but for padding
  int out_group, in_group, taps;
  int64_t group_step, row_step;  // floats from group to group and from row to row
};

// dweight[group][o][c][tap] = sum over parts of partial[part][group][o][tap][c]
template <class T>
__global__ void __launch_bounds__(kThreads) add_parts(const Reduction p, T* dweight) {
  LUCID_SHARED(float, staged, [kThreads]);
  const int64_t i = int64_t{blockIdx.x} * kChannels + threadIdx.x % kChannels;
  const int64_t row = i / (p.in_group * p.taps), column = i % (p.in_group * p.taps);
  float sum = 0.0f;
  if (i < p.size) {
    const float* partial = p.partial + row / p.out_group * p.group_step + row % p.out_group * p.row_step + column;
#pragma unroll 4
    for (int64_t part = threadIdx.x / kChannels; part < p.parts; part += kTurns) sum += partial[part * p.part_size];
  }
  sum = add_columns(staged, sum);
  if (threadIdx.x < kChannels && i < p.size)
    dweight[(row * p.in_group + column % p.in_group) * p.taps + column / p.in_group] = from_float<T>(sum);
}

// partial[part][channel] = sum of dy over the pixels of the part
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_pixels(const T* dy, float* partial, int64_t pixels, int64_t part_pixels, int64_t channels, int64_t windows) {
  LUCID_SHARED(float, staged, [kThreads]);
  const int64_t part = blockIdx.x / windows, channel = blockIdx.x % windows * kChannels + threadIdx.x % kChannels;
  const int64_t begin = part * part_pixels, end = begin + part_pixels < pixels ? begin + part_pixels : pixels;
  float sum = 0.0f;
  if (channel < channels)
#pragma unroll 8
    for (int64_t pixel = begin + threadIdx.x / kChannels; pixel < end; pixel += kTurns)
      sum += to_float(dy[pixel * channels + channel]);
  sum = add_columns(staged, sum);
  if (threadIdx.x < kChannels && channel < channels) partial[part * channels + channel] = sum;
}

Error add_up(const Reduction& p, void* sums, Dtype dtype, Stream stream) {
  const int64_t blocks = ceil_div(p.size, kChannels);
  if (blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
  return with_element(dtype, [&](auto element) -> Error {
    using T = decltype(element);
    return launch(add_parts<T>,
                  {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, static_cast<cudaStream_t>(stream)}, p,
                  static_cast<T*>(sums));
  });
}

int64_t bias_parts(const Conv2dShape& s) {
  const int64_t parts = ceil_div(s.n * s.out_h * s.out_w, kPartPixels);
  return parts < kMostBiasParts ? parts : kMostBiasParts;
}

Error backward_bias(const Conv2dBackwardWeight& arguments, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  const int64_t parts = bias_parts(s), pixels = s.n * s.out_h * s.out_w, channels = s.out_channels();
  const int64_t windows = ceil_div(channels, kChannels);
  if (parts * windows > kMostGridBlocks) return cudaErrorInvalidConfiguration;
  float* partial = static_cast<float*>(arguments.workspace);
  const Error error = with_element(arguments.dtype, [&](auto element) -> Error {
    using T = decltype(element);
    return launch(add_pixels<T>,
                  {dim3(static_cast<unsigned>(parts * windows)), dim3(kThreads), 0, static_cast<cudaStream_t>(stream)},
                  static_cast<const T*>(arguments.dy), partial, pixels, ceil_div(pixels, parts), channels, windows);
  });
  if (error != cudaSuccess) return error;
  return add_up({partial, parts, channels, channels, 1, 1, 1, 1, 1}, arguments.dbias, Dtype::kFloat32, stream);
}

WeightParts parts_for(const Conv2dShape& s, Dtype dtype) {
  return is_grouped3x3(s, dtype) ? weight_parts_grouped(s) : weight_parts_gemm(s, dtype);
}

}  // namespace

size_t conv2d_backward_weight_bytes(const Conv2dBackwardWeight& arguments) {
  const Conv2dShape& s = arguments.shape;
  const WeightParts parts = parts_for(s, arguments.dtype);
  const int64_t weight = parts.parts * s.groups * parts.rows * parts.columns, bias = bias_parts(s) * s.out_channels();
  return static_cast<size_t>(weight > bias ? weight : bias) * sizeof(float);
}

Error conv2d_backward_weight(const Conv2dBackwardWeight& arguments, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  if (!fits(s)) return cudaErrorInvalidValue;
  const bool grouped = is_grouped3x3(s, arguments.dtype);
  const WeightParts parts = parts_for(s, arguments.dtype);
  const Error error =
      grouped ? backward_weight_grouped(arguments, parts, stream) : backward_weight_gemm(arguments, parts, stream);
  if (error != cudaSuccess) return error;
  const int64_t part_size = s.groups * parts.rows * parts.columns;
  const Reduction reduction{static_cast<const float*>(arguments.workspace),
                            parts.parts,
                            part_size,
                            s.out_channels() * s.terms(),
                            static_cast<int>(s.out_group),
                            static_cast<int>(s.in_group),
                            static_cast<int>(s.taps()),
                            parts.rows * parts.columns,
                            parts.columns};
  const Error reduced = add_up(reduction, arguments.dweight, arguments.dtype, stream);
  // The partial sums of the weights are no longer needed when those of the bias overwrite them.
  return reduced != cudaSuccess || arguments.dbias == nullptr ? reduced : backward_bias(arguments, stream);
}

}  // namespace lucid::cuda
