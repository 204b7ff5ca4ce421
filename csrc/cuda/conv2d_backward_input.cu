// dx[n, iy, ix, c] = sum over taps and output channels o of dy[n, oy, ox, o] * weight[o, c, tap], where
// oy * stride_h = iy + padding_top - ky * dilation_h, and ox likewise; as a matrix product whose rows are pixels.
//
// A stride cuts the pixels into stride_h * stride_w phases, each of which sees its own taps: all other products would
// be with zeros between the elements of dy. Inside a phase, dy is read as by a convolution of stride 1. A block
// computes pixels of one phase by channels of one group; channels vary fastest, so that the blocks that read the same
// dy run together. A 1 x 1 convolution is bound by memory from some 64 channels down, all others by arithmetic.
//
// B is the weights as [group][tap][o][c], which a kernel before this one writes; those of 1 x 1 are so already.
#include "cuda/conv2d_backward.h"
#include "cuda/kernels.h"
#include "cuda/product_tile.h"

namespace lucid::cuda {
namespace {

template <class T, int kN>
using InputShape = std::conditional_t<std::is_same_v<T, float>, ProductShape<T, 128, kN, 16, kN / 16, 1, false>,
                                      ProductShape<T, 128, kN, kN == 16 ? 16 : 32, 4, 1, true>>;

struct InputGemm {
  GradientShape shape;
  const void *dy, *weight;
  void* dx;
  int blocks_m, blocks_n;
  bool whole_dy, whole_weight, whole_dx;  // chunks of dy and weight, and quads of dx, lie inside a group or outside
};

// The taps that a phase sees, one after the other, and slabs of output channels inside them.
struct Slabs {
  const GradientShape& s;
  int y, x;  // of the phase, with padding
  int step, ky = 0, kx = -1, channel = 0;
  int down = 0, right = 0;  // from the row and column of a pixel inside its phase to those of dy

  __device__ bool next_tap() {
    do {
      if (++kx == s.kernel_w) kx = 0, ++ky;
      if (ky >= s.kernel_h) return false;
    } while ((y - ky * s.dilation_h) % s.stride_h != 0 || (x - kx * s.dilation_w) % s.stride_w != 0);
    down = (y - ky * s.dilation_h) / s.stride_h, right = (x - kx * s.dilation_w) / s.stride_w;
    channel = 0;
    return true;
  }
  __device__ bool next() {
    channel += step;
    return channel < s.out_group || next_tap();
  }
  __device__ int tap() const { return ky * s.kernel_w + kx; }
};

// A pixel of dx, and the one of dy that it would see without shifts. y is far outside where there is none.
struct Row {
  int y, x, dy_pixel, dx_pixel;
};

__device__ Row row_of(const GradientShape& s, int m, int phase_y, int phase_x) {
  const int height = (s.h - phase_y + s.stride_h - 1) / s.stride_h,
            width = (s.w - phase_x + s.stride_w - 1) / s.stride_w;
  if (height <= 0 || width <= 0 || m >= s.n * height * width) return {-(1 << 30), 0, 0, -1};
  const int line = m / width, x = m % width, image = line / height, y = line % height;
  return {y, x, (image * s.out_h + y) * s.out_w + x,
          (image * s.h + y * s.stride_h + phase_y) * s.w + x * s.stride_w + phase_x};
}

// Where a block works.
struct Place {
  int n, group, m, phase_y, phase_x;

  __device__ Place(const InputGemm& p, int tile_m, int tile_n) {
    unsigned block = blockIdx.x;
    n = static_cast<int>(block % p.blocks_n) * tile_n, block /= p.blocks_n;
    group = static_cast<int>(block % p.shape.groups), block /= p.shape.groups;
    m = static_cast<int>(block % p.blocks_m) * tile_m, block /= p.blocks_m;
    phase_x = static_cast<int>(block % p.shape.stride_w), phase_y = static_cast<int>(block / p.shape.stride_w);
  }
};

// Moves slabs of dy and of the weights from global memory through registers into shared memory.
template <class Shape>
class InputLoader {
 public:
  using T = typename Shape::T;

  __device__ InputLoader(const InputGemm& p, const Place& place, const Row* rows) : p_(p), place_(place), rows_(rows) {}

  // What comes in whole chunks, into registers.
  __device__ void fetch(const Slabs& slab) {
    if (p_.whole_dy) {
      const int channel = slab.channel + thread() % kChunksA * kChunk<T>;
#pragma unroll
      for (int i = 0; i < kLoadsA; ++i) a_[i] = load_chunk(dy_at(slab, thread() / kChunksA + i * kRowsA, channel));
    }
    if (p_.whole_weight) {
#pragma unroll
      for (int i = 0; i < kLoadsB; ++i) {
        const T* from = weight_at(slab, thread() / kThreadsOfK, column(i));
        b_[i] = load_chunk(column(i) < Shape::kN ? from : nullptr);
      }
    }
  }

  // What was fetched and what comes one by one, into shared memory.
  __device__ void store(const Slabs& slab, T* a, T* b) const {
    if (p_.whole_dy) {
      store_a(a);
    } else {
#pragma unroll 1
      for (int i = thread(); i < Shape::kM * Shape::kK; i += Shape::kThreads) {
        const int m = i / Shape::kK, k = i % Shape::kK;
        a[Shape::kRowMajorA ? m * Shape::kRowA + k : k * Shape::kRowA + m] =
            load_element(dy_at(slab, m, slab.channel + k));
      }
    }
    if (p_.whole_weight) {
#pragma unroll
      for (int i = 0; i < kLoadsB; ++i)
        if (column(i) < Shape::kN)
          *reinterpret_cast<uint4*>(b + thread() / kThreadsOfK * Shape::kRowB + column(i)) = b_[i];
    } else {
#pragma unroll 1
      for (int i = thread(); i < Shape::kK * Shape::kN; i += Shape::kThreads) {
        const int k = i / Shape::kN, n = i % Shape::kN;
        b[k * Shape::kRowB + n] = load_element(weight_at(slab, k, n));
      }
    }
  }

 private:
  static constexpr int kChunksA = Shape::kK / kChunk<T>, kRowsA = Shape::kThreads / kChunksA;
  static constexpr int kLoadsA = Shape::kM / kRowsA;
  static constexpr int kThreadsOfK = Shape::kThreads / Shape::kK;
  static constexpr int kLoadsB = (Shape::kN / kChunk<T> + kThreadsOfK - 1) / kThreadsOfK;
  static_assert(kLoadsA * kRowsA == Shape::kM && kThreadsOfK * Shape::kK == Shape::kThreads);

  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int column(int i) const { return (thread() % kThreadsOfK + i * kThreadsOfK) * kChunk<T>; }

  // An element of A or null: output channel `channel` where row m looks.
  __device__ const T* dy_at(const Slabs& slab, int m, int channel) const {
    const GradientShape& s = p_.shape;
    const Row row = rows_[m];
    if (static_cast<unsigned>(row.y + slab.down) >= static_cast<unsigned>(s.out_h) ||
        static_cast<unsigned>(row.x + slab.right) >= static_cast<unsigned>(s.out_w) || channel >= s.out_group)
      return nullptr;
    const int pixel = row.dy_pixel + slab.down * s.out_w + slab.right, channels = s.groups * s.out_group;
    return static_cast<const T*>(p_.dy) + (int64_t{pixel} * channels + (place_.group * s.out_group + channel));
  }

  // An element of B or null.
  __device__ const T* weight_at(const Slabs& slab, int k, int n) const {
    const GradientShape& s = p_.shape;
    if (slab.channel + k >= s.out_group || place_.n + n >= s.in_group) return nullptr;
    const int tap = place_.group * (s.kernel_h * s.kernel_w) + slab.tap();
    const int line = tap * s.out_group + slab.channel + k;
    return static_cast<const T*>(p_.weight) + (int64_t{line} * s.in_group + (place_.n + n));
  }

  __device__ void store_a(T* a) const {
    const int k = thread() % kChunksA * kChunk<T>;
#pragma unroll
    for (int i = 0; i < kLoadsA; ++i) {
      const int m = thread() / kChunksA + i * kRowsA;
      if constexpr (Shape::kRowMajorA) {
        *reinterpret_cast<uint4*>(a + m * Shape::kRowA + k) = a_[i];
      } else {
        T element[kChunk<T>];
        memcpy(element, &a_[i], sizeof(element));
#pragma unroll
        for (int j = 0; j < kChunk<T>; ++j) a[(k + j) * Shape::kRowA + m] = element[j];
      }
    }
  }

  const InputGemm& p_;
  const Place& place_;
  const Row* rows_;
  uint4 a_[kLoadsA], b_[kLoadsB];
};

template <class T>
__device__ void store_dx(const InputGemm& p, const Place& place, const Row* rows, int m, int n, const float4& quad) {
  const int pixel = rows[m].dx_pixel, channel = place.n + n, in_group = p.shape.in_group;
  if (pixel < 0 || channel >= in_group) return;
  T* to = static_cast<T*>(p.dx) + (int64_t{pixel} * p.shape.groups + place.group) * in_group + channel;
  if (p.whole_dx) {
    store_quad(to, quad);
    return;
  }
  const float value[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (channel + i < in_group) to[i] = from_float<T>(value[i]);
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) backward_input_gemm(const InputGemm p) {
  using T = typename Shape::T;
  using Tile = ProductTile<Shape>;
  LUCID_SHARED(T, a, [Shape::kSizeA]);
  LUCID_SHARED(T, b, [Shape::kSizeB]);
  LUCID_SHARED(float, staging, [Tile::kStaging]);
  LUCID_SHARED(Row, rows, [Shape::kM]);
  const Place place(p, Shape::kM, Shape::kN);
  for (int m = threadIdx.x; m < Shape::kM; m += Shape::kThreads)
    rows[m] = row_of(p.shape, place.m + m, place.phase_y, place.phase_x);
  __syncthreads();
  Tile tile;
  tile.clear();
  InputLoader<Shape> loader(p, place, rows);
  Slabs slab{p.shape, place.phase_y + p.shape.padding_top, place.phase_x + p.shape.padding_left, Shape::kK};
  bool more = slab.next_tap();
  if (more) loader.fetch(slab);
  while (more) {
    loader.store(slab, a, b);
    __syncthreads();
    more = slab.next();
    if (more) loader.fetch(slab);
    tile.multiply(a, b);
    __syncthreads();
  }
  tile.each_quad(staging, [&](int m, int n, const float4& quad) { store_dx<T>(p, place, rows, m, n, quad); });
}

// packed[group][tap][o][c] = weight[group][o][c][tap]
template <class T>
__global__ void __launch_bounds__(256)
    pack_transposed(const T* weight, T* packed, int out_group, int in_group, int taps, int64_t size) {
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= size) return;
  const int64_t c = i % in_group, o = i / in_group % out_group, tap = i / in_group / out_group % taps;
  const int64_t group = i / in_group / out_group / taps;
  packed[i] = weight[((group * out_group + o) * in_group + c) * taps + tap];
}

int64_t weights(const Conv2dShape& s) { return s.out_channels() * s.in_group * s.taps(); }

template <class T, int kN>
Error launch_gemm(const Conv2dBackwardInput& arguments, const void* weight, Stream stream) {
  using Shape = InputShape<T, kN>;
  const Conv2dShape& s = arguments.shape;
  const int64_t pixels = s.n * ceil_div(s.h, s.stride_h) * ceil_div(s.w, s.stride_w);  // of the largest phase
  const int64_t blocks_m = ceil_div(pixels, Shape::kM), blocks_n = ceil_div(s.in_group, kN);
  const int64_t blocks = s.stride_h * s.stride_w * blocks_m * blocks_n * s.groups;
  if (blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
  const InputGemm p{GradientShape(s),
                    arguments.dy,
                    weight,
                    arguments.dx,
                    static_cast<int>(blocks_m),
                    static_cast<int>(blocks_n),
                    s.out_group % kChunk<T> == 0 && is_aligned(arguments.dy, 16),
                    s.in_group % kChunk<T> == 0 && is_aligned(weight, 16),
                    s.in_group % 4 == 0 && is_aligned(arguments.dx, 4 * sizeof(T))};
  return launch(backward_input_gemm<Shape>,
                {dim3(static_cast<unsigned>(blocks)), dim3(Shape::kThreads), 0, static_cast<cudaStream_t>(stream)}, p);
}

template <class T>
Error backward_input_by_gemm(const Conv2dBackwardInput& arguments, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  const void* weight = arguments.weight;
  if (s.taps() > 1) {
    const int64_t blocks = ceil_div(weights(s), 256);
    if (blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
    const cudaError_t error = launch(
        pack_transposed<T>, {dim3(static_cast<unsigned>(blocks)), dim3(256), 0, static_cast<cudaStream_t>(stream)},
        static_cast<const T*>(weight), static_cast<T*>(arguments.workspace), s.out_group, s.in_group, s.taps(),
        weights(s));
    if (error != cudaSuccess) return error;
    weight = arguments.workspace;
  }
  if (accepts_input_rows(s, arguments.dtype) && is_aligned(arguments.dy, 16) && is_aligned(arguments.dx, 16) &&
      is_aligned(weight, 16))
    return backward_input_rows(arguments, weight, stream);
  if constexpr (std::is_same_v<T, float>) {
    return s.in_group > 64 ? launch_gemm<T, 128>(arguments, weight, stream)
                           : launch_gemm<T, 64>(arguments, weight, stream);
  } else {
    if (s.in_group > 32) return launch_gemm<T, 64>(arguments, weight, stream);
    return s.in_group > 16 ? launch_gemm<T, 32>(arguments, weight, stream)
                           : launch_gemm<T, 16>(arguments, weight, stream);
  }
}

}  // namespace

size_t conv2d_backward_input_bytes(const Conv2dBackwardInput& arguments) {
  const Conv2dShape& s = arguments.shape;
  const size_t gemm = s.taps() > 1 ? static_cast<size_t>(weights(s) * element_bytes(arguments.dtype)) : 0;
  const size_t grouped = is_grouped3x3(s, arguments.dtype) ? backward_input_grouped_bytes(s) : 0;
  return gemm > grouped ? gemm : grouped;
}

Error conv2d_backward_input(const Conv2dBackwardInput& arguments, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  if (!fits(s)) return cudaErrorInvalidValue;
  const size_t quad = 4 * element_bytes(arguments.dtype);
  if (is_grouped3x3(s, arguments.dtype) && is_aligned(arguments.dy, quad) && is_aligned(arguments.dx, quad))
    return backward_input_grouped(arguments, stream);
  return with_element(arguments.dtype,
                      [&](auto element) { return backward_input_by_gemm<decltype(element)>(arguments, stream); });
}

}  // namespace lucid::cuda
