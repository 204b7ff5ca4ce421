// Grouped 3x3 convolution on CUDA cores, in float32.
//
// With 4 channels in a group bound by memory, with 16 by the FMA units. A thread computes a strip of a row of four
// output channels: neighbouring lanes have neighbouring channels, so that x is loaded and y stored in vectors of 16
// bytes, whole lines a warp, without a stop in shared memory; rows above and below come from the L1 cache, as the
// threads of a block have rows that touch. For four input channels of a row of taps a thread loads 9 pixels (7 outputs,
// stride 1) and 12 vectors of weights, and does 336 FMAs. Weights lie in shared memory as they are packed, four input
// channels of 32 threads at a time.
#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_epilogue.h"
#include "cuda/conv2d_launch.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256, kQuad = 4, kTaps = 9;
constexpr int kQuads = 32;                              // of output channels whose weights lie together
constexpr int kChunk = kTaps * kQuad * kQuads * kQuad;  // weights of four input channels

template <class T>
struct Problem {
  Conv2dShape shape;
  const T* x;
  const float* weights;  // [block of quads][input quad][tap][input channel][quad][output channel]
  Conv2dEpilogue<T> epilogue;
  int64_t x_row;               // elements of a row of x
  uint32_t x_pixel;            // and of a pixel
  int32_t chunks;              // input quads of a group
  int32_t quads, quad_bits;    // of output channels: all, and those of a block as a power of two
  int32_t quad_blocks;         // blocks that cover all channels
  int32_t strips, row_strips;  // of all images, and in a row
};

// Where a strip of a thread begins: in y, and its window in x.
template <int kStride, int kPixels>
struct Strip {
  static constexpr int kInputs = (kPixels - 1) * kStride + 3;
  int64_t pixel, offset;
  int32_t pixels, h;        // outputs inside of y, first row of the window
  int32_t column[kInputs];  // bytes from its first column to each, or -1 outside of x
};

// Strips are counted down the rows first: threads of a block share input rows.
template <class T, int kStride, int kPixels>
__device__ __forceinline__ Strip<kStride, kPixels> strip_at(const Problem<T>& p, int32_t index) {
  const Conv2dShape& s = p.shape;
  const int32_t out_h = int32_t(s.out_h), column = index / out_h, row = index - column * out_h;
  const int32_t image = column / p.row_strips, first = (column - image * p.row_strips) * kPixels;
  const int32_t h = row * kStride - int32_t(s.padding_top), w = first * kStride - int32_t(s.padding_left);
  Strip<kStride, kPixels> strip;
  strip.pixel = (int64_t(image) * s.out_h + row) * s.out_w + first;
  strip.pixels = index < p.strips ? int32_t(s.out_w) - first : 0;
  strip.offset = ((image * s.h + h) * s.w + w) * (s.groups * s.in_group);
  strip.h = index < p.strips ? h : int32_t(s.h);
#pragma unroll
  for (int m = 0; m < strip.kInputs; ++m)
    strip.column[m] = unsigned(w + m) < unsigned(s.w) ? int32_t(m * p.x_pixel * sizeof(T)) : -1;
  return strip;
}

template <class T, bool kAligned>
__device__ __forceinline__ void load_quad(const T* from, float (&values)[kQuad]) {
  if constexpr (kAligned) {
    load_floats(from, values);
  } else {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) values[i] = to_float(from[i]);
  }
}

// Adds the products of four input channels of a row, of the taps kFirst, kFirst + kStride, ...: those that see the same
// columns. weights: of the row's taps, this thread's.
template <int kFirst, class T, int kStride, int kPixels, bool kAligned>
__device__ __forceinline__ void add_taps(const Strip<kStride, kPixels>& strip, const char* row, const float* weights,
                                         float (&sums)[kPixels][kQuad]) {
  constexpr int kInputs = kPixels + (2 - kFirst) / kStride;
  float inputs[kInputs][kQuad] = {};
#pragma unroll
  for (int m = 0; m < kInputs; ++m)
    if (const int32_t column = strip.column[m * kStride + kFirst]; column >= 0)
      load_quad<T, kAligned>(reinterpret_cast<const T*>(row + unsigned(column)), inputs[m]);
#pragma unroll
  for (int j = kFirst; j < 3; j += kStride)
#pragma unroll
    for (int c = 0; c < kQuad; ++c) {
      float channels[kQuad];
      load_floats(weights + (j * kQuad + c) * kQuads * kQuad, channels);
#pragma unroll
      for (int m = 0; m < kPixels; ++m)
#pragma unroll
        for (int k = 0; k < kQuad; ++k) sums[m][k] = fmaf(inputs[m + j / kStride][c], channels[k], sums[m][k]);
    }
}

// Adds the products of four input channels. x: the first pixel of the window.
template <class T, int kStride, int kPixels, bool kAligned>
__device__ __forceinline__ void add_products(const Problem<T>& p, const Strip<kStride, kPixels>& strip, const T* x,
                                             const float* weights, float (&sums)[kPixels][kQuad]) {
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    if (unsigned(strip.h + i) >= unsigned(p.shape.h)) continue;
    const char* row = reinterpret_cast<const char*>(x + i * p.x_row);
    const float* taps = weights + i * 3 * kQuad * kQuads * kQuad;
    add_taps<0, T, kStride, kPixels, kAligned>(strip, row, taps, sums);
    if constexpr (kStride == 2) add_taps<1, T, kStride, kPixels, kAligned>(strip, row, taps, sums);
  }
}

__device__ __forceinline__ void copy_chunk(const float* from, float* to) {
#pragma unroll
  for (int first = 0; first < kChunk; first += kThreads * kQuad) {
    const int i = first + threadIdx.x * kQuad;
    if (first + kThreads * kQuad <= kChunk || i < kChunk)
      __pipeline_memcpy_async(to + i, from + i, kQuad * sizeof(float));
  }
  __pipeline_commit();
}

// A block goes from strips to strips of the same channels. Weights of a group of four channels stay where they are.
template <class T, int kStride, int kPixels, bool kAligned>
__global__ void __launch_bounds__(kThreads, 2) grouped_direct_3x3(Problem<T> p) {
  LUCID_SHARED(float, weights, [2][kChunk]);
  const int block = int(blockIdx.x) / p.quad_blocks, quad_block = int(blockIdx.x) - block * p.quad_blocks;
  const int lane = threadIdx.x & ((1 << p.quad_bits) - 1), quad = quad_block * kQuads + lane;
  const int64_t channel = int64_t(quad) * kQuad;
  const T* x = p.x + channel / p.shape.out_group * p.shape.in_group;
  const float* packed = p.weights + int64_t(quad_block) * p.chunks * kChunk;
  const int strips = kThreads >> p.quad_bits, step = int(gridDim.x) / p.quad_blocks * strips;

  copy_chunk(packed, weights[0]);
  int now = 0;
  for (int first = block * strips; first < p.strips; first += step) {
    auto strip = strip_at<T, kStride, kPixels>(p, first + (threadIdx.x >> p.quad_bits));
    if (quad >= p.quads) strip.pixels = 0, strip.h = int32_t(p.shape.h);
    float sums[kPixels][kQuad] = {};
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      const bool arrives = p.chunks > 1 || first == block * strips;
      if (arrives) {
        __pipeline_wait_prior(0);
        __syncthreads();
      }
      if (p.chunks > 1 && (chunk + 1 < p.chunks || first + step < p.strips))
        copy_chunk(packed + (chunk + 1 < p.chunks ? chunk + 1 : 0) * kChunk, weights[1 - now]);
      add_products<T, kStride, kPixels, kAligned>(p, strip, x + strip.offset + chunk * kQuad,
                                                  weights[now] + lane * kQuad, sums);
      if (p.chunks > 1) now = 1 - now;
    }
    float bias[kQuad];
    load_bias(p.epilogue, channel, quad < p.quads ? kQuad : 0, bias);
#pragma unroll
    for (int m = 0; m < kPixels; ++m)
      if (m < strip.pixels) finish(p.epilogue, bias, strip.pixel + m, channel, kQuad, sums[m]);
  }
}

template <class T>
__global__ void pack_grouped(Conv2dShape shape, int64_t count, const T* weight, float* weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t quad = i / kQuad % kQuads, c = i / (kQuad * kQuads) % kQuad;
  const int64_t tap = i / (kQuad * kQuads * kQuad) % kTaps, chunks = shape.in_group / kQuad;
  const int64_t channel = (i / kChunk / chunks * kQuads + quad) * kQuad + i % kQuad;
  const int64_t in = i / kChunk % chunks * kQuad + c;
  const bool exists = channel < shape.groups * shape.out_group;
  weights[i] = exists ? to_float(weight[(channel * shape.in_group + in) * kTaps + tap]) : 0.0f;
}

int64_t quads_of(const Conv2dShape& shape) { return shape.out_channels() / kQuad; }
int64_t quad_blocks_of(const Conv2dShape& shape) { return (quads_of(shape) + kQuads - 1) / kQuads; }
int64_t weights_of(const Conv2dShape& shape) { return quad_blocks_of(shape) * (shape.in_group / kQuad) * kChunk; }

template <class T, int kStride, int kPixels, bool kAligned>
Error launch_strips(const Conv2d& arguments, Stream stream) {
  const Conv2dShape& shape = arguments.shape;
  Problem<T> p{};
  p.shape = shape;
  p.x = static_cast<const T*>(arguments.x);
  p.weights = static_cast<const float*>(arguments.packed);
  p.epilogue = epilogue_of<T>(arguments);
  p.x_row = shape.w * shape.in_channels();
  p.x_pixel = uint32_t(shape.in_channels());
  p.chunks = int32_t(shape.in_group / kQuad);
  p.quads = int32_t(quads_of(shape));
  for (p.quad_bits = 0; (1 << p.quad_bits) < kQuads && (1 << p.quad_bits) < p.quads;) ++p.quad_bits;
  p.quad_blocks = int32_t(quad_blocks_of(shape));
  const int64_t row_strips = (shape.out_w + kPixels - 1) / kPixels, strips = row_strips * shape.out_rows();
  // As many blocks as run at the same time keep their weights; more of them begin with nothing to do.
  const int64_t sets = (strips + (kThreads >> p.quad_bits) - 1) / (kThreads >> p.quad_bits);
  const int64_t most = p.chunks > 1 ? sets : (2 * multiprocessors() + p.quad_blocks - 1) / p.quad_blocks;
  const int64_t blocks = p.quad_blocks * (sets < most ? sets : most);
  if (blocks > kMostBlocks || strips > kMostBlocks - kThreads) return cudaErrorInvalidConfiguration;
  p.row_strips = int32_t(row_strips);
  p.strips = int32_t(strips);
  return launch(grouped_direct_3x3<T, kStride, kPixels, kAligned>,
                {dim3(unsigned(blocks)), dim3(kThreads), 0, static_cast<cudaStream_t>(stream)}, p);
}

// Strips of 7 or 8, whichever fit the width: that of most networks is a multiple of 7.
template <class T, int kStride>
Error run_stride(const Conv2d& arguments, Stream stream) {
  if (!is_aligned(arguments.x, kQuad * sizeof(T))) return launch_strips<T, kStride, 8, false>(arguments, stream);
  const int64_t width = arguments.shape.out_w;
  if ((width + 6) / 7 * 7 < (width + 7) / 8 * 8) return launch_strips<T, kStride, 7, true>(arguments, stream);
  return launch_strips<T, kStride, 8, true>(arguments, stream);
}

template <class T>
Error run_dtype(const Conv2d& arguments, Stream stream) {
  return arguments.shape.stride_h == 1 ? run_stride<T, 1>(arguments, stream) : run_stride<T, 2>(arguments, stream);
}

Error run(const Conv2d& arguments, Stream stream) {
  switch (arguments.dtype) {
    case Dtype::kFloat32: return run_dtype<float>(arguments, stream);
    case Dtype::kFloat16: return run_dtype<__half>(arguments, stream);
    case Dtype::kBfloat16: return run_dtype<__nv_bfloat16>(arguments, stream);
  }
  return cudaErrorInvalidValue;
}

bool accepts(const Conv2dShape& s, Dtype, bool) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.dilation_h == 1 && s.dilation_w == 1 && s.stride_h == s.stride_w &&
         s.stride_h <= 2 && s.in_group % kQuad == 0 && s.out_group % kQuad == 0 && s.in_group <= 32 &&
         s.out_group <= 32;
}

size_t packed_bytes(const Conv2dShape& shape, Dtype) { return size_t(weights_of(shape)) * sizeof(float); }

template <class T>
Error pack_dtype(const Conv2dPack& arguments, Stream stream) {
  const int64_t count = weights_of(arguments.shape);
  return launch(pack_grouped<T>, threads_for(count, kThreads, stream), arguments.shape, count,
                static_cast<const T*>(arguments.weight), static_cast<float*>(arguments.packed));
}

Error pack(const Conv2dPack& arguments, Stream stream) {
  switch (arguments.dtype) {
    case Dtype::kFloat32: return pack_dtype<float>(arguments, stream);
    case Dtype::kFloat16: return pack_dtype<__half>(arguments, stream);
    case Dtype::kBfloat16: return pack_dtype<__nv_bfloat16>(arguments, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

const Conv2dAlgorithm conv2d_grouped = {"grouped_direct_3x3", accepts, packed_bytes, pack, run};

}  // namespace lucid::cuda
