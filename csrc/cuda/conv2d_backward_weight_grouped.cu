// The gradient by the weights of a grouped 3x3 convolution with few channels a group: sums in registers, x and dy
// through the first cache.
//
// A thread holds the sums of four output by four input channels for one row of the window, 48 numbers, and walks over
// rows of dy, four pixels at a time: 10 loads of 16 bytes for 192 products at stride 1, so products take longer where
// an SM has 128 lanes. Eight threads are 32 output channels, in float32 a line of 128 bytes. The threads of a block
// take the rows of its part in turns and are added up in order at its end.
#include "cuda/conv2d_backward.h"
#include "cuda/divisor.h"
#include "cuda/quad.h"

namespace lucid::cuda {
namespace {

constexpr int kPixels = 4;  // at a time
constexpr int kQuads = 8;   // of output channels, a block
constexpr int kLanes = 3 * kQuads;
constexpr int kMostLanes = 10;  // of kLanes threads, a block

struct WeightGrouped {
  GradientShape shape;
  const void *x, *dy;
  float* partial;
  int windows;             // of 4 * kQuads output channels
  int in_quads, in_parts;  // quads of input channels of a block, and how many such there are in a group
  int turns;               // how many threads share the rows of a part
  int part_lines, lines;   // rows of dy in a part and of all images
  Divisor out_h;
};

template <bool kAligned, class T>
__device__ __forceinline__ float4 load(const T* from) {
  if constexpr (kAligned) return load_quad(from);
  return make_float4(to_float(from[0]), to_float(from[1]), to_float(from[2]), to_float(from[3]));
}

// What a thread adds up.
struct Sums {
  float4 sum[3][4];  // by column of the window and output channel, of four input channels

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < 12; ++i) sum[i / 4][i % 4] = zero_quad();
  }

  // Four pixels of dy from column `column` on, and what of row x they see. kAligned: where both may be loaded in fours.
  template <class T, int kStride, bool kAligned>
  __device__ void add(const GradientShape& s, const T* dy, const T* x, int column, int64_t dy_step, int64_t x_step) {
    constexpr int kSeen = (kPixels - 1) * kStride + 3;
    float4 gradient[kPixels], seen[kSeen];
    const int first = column * kStride - s.padding_left;
    dy += column * dy_step, x += first * x_step;
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      gradient[i] = column + i < s.out_w ? load<kAligned>(dy) : zero_quad();
      dy += dy_step;
    }
#pragma unroll
    for (int i = 0; i < kSeen; ++i) {
      seen[i] = static_cast<unsigned>(first + i) < static_cast<unsigned>(s.w) ? load<kAligned>(x) : zero_quad();
      x += x_step;
    }
#pragma unroll
    for (int i = 0; i < kPixels; ++i)
#pragma unroll
      for (int kx = 0; kx < 3; ++kx) {
        const float4& quad = seen[i * kStride + kx];
        multiply_add(sum[kx][0], gradient[i].x, quad);
        multiply_add(sum[kx][1], gradient[i].y, quad);
        multiply_add(sum[kx][2], gradient[i].z, quad);
        multiply_add(sum[kx][3], gradient[i].w, quad);
      }
  }
};

// Adds the sums of the threads that share a part, in the order of their turns, to those of the first.
__device__ inline void add_turns(Sums& sums, float4* staged, int turn, int turns, int place, int places) {
  for (int other = 1; other < turns; ++other) {
    __syncthreads();
    if (turn == other)
      for (int i = 0; i < 12; ++i) staged[i * places + place] = sums.sum[i / 4][i % 4];
    __syncthreads();
    if (turn == 0)
#pragma unroll
      for (int i = 0; i < 12; ++i) multiply_add(sums.sum[i / 4][i % 4], 1.0f, staged[i * places + place]);
  }
}

template <class T, int kStride, bool kAligned>
__global__ void __launch_bounds__(kLanes* kMostLanes, 2) backward_weight_grouped3x3(const WeightGrouped p) {
  LUCID_SHARED(float4, staged, [12 * kLanes * (kMostLanes / 2)]);
  const GradientShape& s = p.shape;
  const int places = kLanes * p.in_quads, place = threadIdx.x % places, turn = threadIdx.x / places;
  unsigned block = blockIdx.x;
  const int window = static_cast<int>(block % p.windows);
  block /= p.windows;
  const int in_part = static_cast<int>(block % p.in_parts), part = static_cast<int>(block / p.in_parts);
  const int out_channel = 4 * (window * kQuads + place % kQuads), ky = place / kQuads % 3;
  const int in_channel = 4 * (in_part * p.in_quads + place / kLanes);
  const int group = out_channel / s.out_group;
  const bool works = group < s.groups && in_channel < s.in_group;

  Sums sums;
  sums.clear();
  const int64_t dy_step = int64_t{s.groups} * s.out_group, x_step = int64_t{s.groups} * s.in_group;
  const int end = min(p.lines, (part + 1) * p.part_lines);
  for (int line = part * p.part_lines + turn; works && line < end; line += p.turns) {
    const int image = p.out_h.quotient(line), row = p.out_h.remainder(line, image) * kStride - s.padding_top + ky;
    if (static_cast<unsigned>(row) >= static_cast<unsigned>(s.h)) continue;
    const T* dy = static_cast<const T*>(p.dy) + int64_t{line} * s.out_w * dy_step + out_channel;
    const T* x =
        static_cast<const T*>(p.x) + (int64_t{image} * s.h + row) * s.w * x_step + group * s.in_group + in_channel;
#pragma unroll 1
    for (int column = 0; column < s.out_w; column += kPixels)
      sums.template add<T, kStride, kAligned>(s, dy, x, column, dy_step, x_step);
  }
  add_turns(sums, staged, turn, p.turns, place, places);
  if (turn != 0 || !works) return;
  float* partial = p.partial + ((int64_t{part} * s.groups * s.out_group + out_channel) * 9 + ky * 3) * s.in_group;
#pragma unroll
  for (int i = 0; i < 12; ++i)
    store_quad(partial + (int64_t{i % 4} * 9 + i / 4) * s.in_group + in_channel, sums.sum[i / 4][i % 4]);
}

// How the work of a block is shared.
struct Sharing {
  int64_t windows, in_quads, in_parts, turns;

  explicit Sharing(const Conv2dShape& s) : windows(ceil_div(s.out_channels(), 4 * kQuads)) {
    const int64_t quads = s.in_group / 4;
    in_parts = ceil_div(quads, kMostLanes);
    in_quads = ceil_div(quads, in_parts);
    turns = kMostLanes / in_quads;
  }
};

// Views may begin anywhere, and give the same sums.
template <class T, bool kAligned>
Error run(const Conv2dBackwardWeight& arguments, const WeightParts& parts, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  const Sharing sharing(s);
  const int64_t blocks = sharing.windows * sharing.in_parts * parts.parts, lines = s.n * s.out_h;
  if (blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
  const WeightGrouped p{GradientShape(s),
                        arguments.x,
                        arguments.dy,
                        static_cast<float*>(arguments.workspace),
                        static_cast<int>(sharing.windows),
                        static_cast<int>(sharing.in_quads),
                        static_cast<int>(sharing.in_parts),
                        static_cast<int>(sharing.turns),
                        static_cast<int>(ceil_div(lines, parts.parts)),
                        static_cast<int>(lines),
                        Divisor(s.out_h)};
  const auto kernel =
      s.stride_h == 1 ? backward_weight_grouped3x3<T, 1, kAligned> : backward_weight_grouped3x3<T, 2, kAligned>;
  const int64_t threads = kLanes * sharing.in_quads * sharing.turns;
  return launch(
      kernel,
      {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0, static_cast<cudaStream_t>(stream)},
      p);
}

}  // namespace

WeightParts weight_parts_grouped(const Conv2dShape& s) {
  const Sharing sharing(s);
  const int64_t most = ceil_div(s.n * s.out_h, 4 * sharing.turns);
  return {parts_of(sharing.windows * sharing.in_parts, most, s.out_channels() * s.terms()), s.out_group, s.terms()};
}

Error backward_weight_grouped(const Conv2dBackwardWeight& arguments, const WeightParts& parts, Stream stream) {
  return with_element(arguments.dtype, [&](auto element) {
    using T = decltype(element);
    const bool aligned = is_aligned(arguments.x, 4 * sizeof(T)) && is_aligned(arguments.dy, 4 * sizeof(T));
    return aligned ? run<T, true>(arguments, parts, stream) : run<T, false>(arguments, parts, stream);
  });
}

}  // namespace lucid::cuda
