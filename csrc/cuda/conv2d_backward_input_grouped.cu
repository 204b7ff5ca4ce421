// The gradient by x of a grouped 3x3 convolution with few channels a group: sums in registers, weights in shared
// memory, dy through the first cache.
//
// A thread computes four channels of kPixels neighbours in a row of one phase (see conv2d_backward_input.cu). Of four
// output channels and a row of the window it loads kPixels + 2 quads of dy and 12 of weights for 48 * kPixels products:
// 336 for 21 loads of 16 bytes, so loads and products each take as long where an SM has 128 lanes. Eight threads are 32
// channels, in float32 a line of 128 bytes, and need not begin with a group: a quad never straddles two. Bound by
// memory up to 8 channels a group.
#include "cuda/conv2d_backward.h"
#include "cuda/quad.h"

namespace lucid::cuda {
namespace {

constexpr int kPixels = 7;   // 56, 28, 14 and 7 columns, the sizes of these networks, divide
constexpr int kQuads = 8;    // of channels, a block
constexpr int kStrips = 32;  // of kPixels, a block
constexpr int kStaged = 4;   // quads of output channels whose weights are in shared memory at once
constexpr int kThreads = kQuads * kStrips;
constexpr int kWeightsOfQuad = 9 * 4 * kQuads;  // float4 for a quad of output channels
static_assert(kStaged * kWeightsOfQuad * 16 <= 48 * 1024);

struct InputGrouped {
  GradientShape shape;
  const void* dy;
  const float4* packed;
  void* dx;
  int windows, blocks_m;
};

// A run of kPixels in a row of a phase.
struct Strip {
  int image, y, x;  // inside the phase
  bool exists;
  int phase_y, phase_x;

  __device__ Strip(const GradientShape& s, int index, int phase)
      : phase_y(phase / s.stride_w), phase_x(phase % s.stride_w) {
    const int height = (s.h - phase_y + s.stride_h - 1) / s.stride_h,
              width = (s.w - phase_x + s.stride_w - 1) / s.stride_w;
    const int strips = (width + kPixels - 1) / kPixels;
    exists = height > 0 && strips > 0 && index < s.n * height * strips;
    const int line = exists ? index / strips : 0;
    x = exists ? index % strips * kPixels : 0;
    y = exists ? line % height : 0;
    image = exists ? line / height : 0;
  }
};

// Adds what a row of dy and a row of the window contribute. `weights` are those of column `last` of the window and of
// this thread's channels; the column of the window that is kStride before it sees the pixels of dy one to the right.
template <class T, int kStride>
__device__ void add_row(float4 (&sum)[kPixels], const T* dy, int64_t pixel_step, unsigned columns, int last,
                        const float4* weights) {
  constexpr int kTaps = kStride == 1 ? 3 : 2;
  float4 value[kPixels + kTaps - 1];
#pragma unroll
  for (int i = 0; i < kPixels + kTaps - 1; ++i) {
    value[i] = columns >> i & 1 ? load_quad(dy) : zero_quad();
    dy += pixel_step;
  }
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    if (kStride * t > last) break;
#pragma unroll
    for (int channel = 0; channel < 4; ++channel) {
      const float4 weight = weights[(channel - kStride * t * 4) * kQuads];
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        const float4& from = value[i + t];
        multiply_add(sum[i], channel == 0 ? from.x : channel == 1 ? from.y : channel == 2 ? from.z : from.w, weight);
      }
    }
  }
}

template <class T, int kStride>
__global__ void __launch_bounds__(kThreads, 2) backward_input_grouped3x3(const InputGrouped p) {
  LUCID_SHARED(float4, staged, [kStaged * kWeightsOfQuad]);
  const GradientShape& s = p.shape;
  const int quad = threadIdx.x % kQuads, out_quads = s.out_group / 4;
  unsigned block = blockIdx.x;
  const int window = static_cast<int>(block % p.windows);
  block /= p.windows;
  const Strip strip(s, static_cast<int>(block % p.blocks_m) * kStrips + threadIdx.x / kQuads,
                    static_cast<int>(block / p.blocks_m));
  const int channel = 4 * (window * kQuads + quad), in_channels = s.groups * s.in_group;
  const bool works = strip.exists && channel < in_channels;

  // The last column of the window that this phase sees, and the first pixel of dy that it sees through it.
  const int y = strip.phase_y + s.padding_top, x = strip.phase_x + s.padding_left;
  const int last = kStride == 1 || x % 2 == 0 ? 2 : 1, first = strip.x + (x - last) / kStride;
  unsigned columns = 0;
  for (int i = 0; i < kPixels + 2; ++i)
    columns |= static_cast<unsigned>(static_cast<unsigned>(first + i) < static_cast<unsigned>(s.out_w)) << i;
  const int64_t pixel_step = int64_t{s.groups} * s.out_group;
  const T* dy = static_cast<const T*>(p.dy) + (int64_t{strip.image} * s.out_h * s.out_w + first) * pixel_step +
                (works ? channel / s.in_group : 0) * s.out_group;

  float4 sum[kPixels];
#pragma unroll
  for (int i = 0; i < kPixels; ++i) sum[i] = zero_quad();
  for (int begin = 0; begin < out_quads; begin += kStaged) {
    const int count = min(kStaged, out_quads - begin);
    const float4* packed = p.packed + (int64_t{window} * out_quads + begin) * kWeightsOfQuad;
    __syncthreads();
    for (int i = threadIdx.x; i < count * kWeightsOfQuad; i += kThreads) staged[i] = packed[i];
    __syncthreads();
    if (!works) continue;
#pragma unroll 1
    for (int out_quad = 0; out_quad < count; ++out_quad)
#pragma unroll 1
      for (int ky = 0; ky < 3; ++ky) {
        if ((y - ky) % kStride != 0) continue;
        const int row = strip.y + (y - ky) / kStride;
        if (static_cast<unsigned>(row) >= static_cast<unsigned>(s.out_h)) continue;
        add_row<T, kStride>(sum, dy + int64_t{row} * s.out_w * pixel_step + 4 * (begin + out_quad), pixel_step, columns,
                            last, staged + ((out_quad * 9 + ky * 3 + last) * 4) * kQuads + quad);
      }
  }
  if (!works) return;
  const int row = strip.y * kStride + strip.phase_y;
  T* dx = static_cast<T*>(p.dx) + (int64_t{strip.image} * s.h + row) * s.w * in_channels + channel;
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    const int column = (strip.x + i) * kStride + strip.phase_x;
    if (column < s.w) store_quad(dx + int64_t{column} * in_channels, sum[i]);
  }
}

// packed[window][quad of output channels][tap][output channel][channel of the window], 0 behind the last channel.
template <class T>
__global__ void __launch_bounds__(256)
    pack_windows(const T* weight, float* packed, int groups, int out_group, int in_group, int64_t size) {
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= size) return;
  constexpr int kChannels = 4 * kQuads;
  const int64_t channel = i / (int64_t{36} * kChannels * (out_group / 4)) * kChannels + i % kChannels;
  const int64_t o = i / (36 * kChannels) % (out_group / 4) * 4 + i / kChannels % 4, tap = i / (4 * kChannels) % 9;
  const int64_t group = channel / in_group, c = channel % in_group;
  packed[i] = group < groups ? to_float(weight[((group * out_group + o) * in_group + c) * 9 + tap]) : 0.0f;
}

int64_t windows(const Conv2dShape& s) { return ceil_div(s.in_channels(), 4 * kQuads); }
int64_t packed_floats(const Conv2dShape& s) { return windows(s) * (s.out_group / 4) * kWeightsOfQuad * 4; }

template <class T>
Error run(const Conv2dBackwardInput& arguments, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  const int64_t stride = s.stride_h, strips = s.n * ceil_div(s.h, stride) * ceil_div(ceil_div(s.w, stride), kPixels);
  const int64_t blocks_m = ceil_div(strips, kStrips), blocks = stride * stride * blocks_m * windows(s);
  const int64_t size = packed_floats(s), pack_blocks = ceil_div(size, 256);
  if (blocks > kMostGridBlocks || pack_blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
  float* packed = static_cast<float*>(arguments.workspace);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  const cudaError_t error =
      launch(pack_windows<T>, {dim3(static_cast<unsigned>(pack_blocks)), dim3(256), 0, on},
             static_cast<const T*>(arguments.weight), packed, s.groups, s.out_group, s.in_group, size);
  if (error != cudaSuccess) return error;
  const InputGrouped p{GradientShape(s),
                       arguments.dy,
                       reinterpret_cast<const float4*>(packed),
                       arguments.dx,
                       static_cast<int>(windows(s)),
                       static_cast<int>(blocks_m)};
  const auto kernel = stride == 1 ? backward_input_grouped3x3<T, 1> : backward_input_grouped3x3<T, 2>;
  return launch(kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, on}, p);
}

}  // namespace

size_t backward_input_grouped_bytes(const Conv2dShape& shape) {
  return static_cast<size_t>(packed_floats(shape)) * sizeof(float);
}

Error backward_input_grouped(const Conv2dBackwardInput& arguments, Stream stream) {
  return with_element(arguments.dtype, [&](auto element) { return run<decltype(element)>(arguments, stream); });
}

}  // namespace lucid::cuda
