// The gradient by the weights as a matrix product: dweight[o][tap, c] = sum over pixels of dy[pixel][o] * x[seen][c],
// where `seen` is the pixel of x that the output pixel sees through the tap.
//
// Rows are output channels of a group, columns are taps and input channels, and k runs over the pixels of all images,
// cut into parts; a part's sums go to the workspace. Both operands lie with channels next to each other, as slabs of
// [k][m] and [k][n] want them. A block stages dy once for all columns of its tile: in float16, where a group has up to
// 32 channels, a tile is 144 columns wide, all taps of 16 channels or half of those of 32.
#include "cuda/conv2d_backward.h"
#include "cuda/divisor.h"
#include "cuda/product_tile.h"

namespace lucid::cuda {
namespace {

struct WeightGemm {
  GradientShape shape;
  const void *x, *dy;
  float* partial;
  int blocks_m, blocks_n, pixels, part_pixels;
  Divisor out_w, out_h, in_group, kernel_w;
  bool whole_x, whole_dy;  // chunks lie inside a tap of a group or outside
};

// The window of an output pixel.
struct Window {
  int pixel, image, y, x;
  bool exists;

  __device__ Window(const WeightGemm& p, int pixel, int end) : pixel(pixel), exists(pixel < end) {
    const int line = p.out_w.quotient(pixel);
    image = p.out_h.quotient(line);
    y = p.out_h.remainder(line, image) * p.shape.stride_h - p.shape.padding_top;
    x = p.out_w.remainder(pixel, line) * p.shape.stride_w - p.shape.padding_left;
  }
};

// Moves slabs of dy and x from global memory through registers into shared memory. A thread has one pixel of a slab.
template <class Shape>
class WeightLoader {
 public:
  using T = typename Shape::T;

  __device__ WeightLoader(const WeightGemm& p, int group, int m, int n) : p_(p), group_(group), m_(m), n_(n) {
#pragma unroll
    for (int i = 0; i < kLoadsB; ++i) seen_[i] = seen(column(i));
  }

  // What comes in whole chunks, into registers.
  __device__ void fetch(int pixel, int end) {
    const Window window(p_, pixel + thread() / kThreadsOfK, end);
    if (p_.whole_dy) {
#pragma unroll
      for (int i = 0; i < kLoadsA; ++i) a_[i] = load_chunk(column(i) < Shape::kM ? dy_at(window, column(i)) : nullptr);
    }
    if (p_.whole_x) {
#pragma unroll
      for (int i = 0; i < kLoadsB; ++i) b_[i] = load_chunk(column(i) < Shape::kN ? x_at(window, seen_[i]) : nullptr);
    }
  }

  // What was fetched and what comes one by one, into shared memory.
  __device__ void store(int pixel, int end, T* a, T* b) const {
    const int k = thread() / kThreadsOfK;
    if (p_.whole_dy) {
#pragma unroll
      for (int i = 0; i < kLoadsA; ++i)
        if (column(i) < Shape::kM) *reinterpret_cast<uint4*>(a + k * Shape::kRowA + column(i)) = a_[i];
    } else {
#pragma unroll 1
      for (int i = thread(); i < Shape::kK * Shape::kM; i += Shape::kThreads)
        a[i / Shape::kM * Shape::kRowA + i % Shape::kM] =
            load_element(dy_at(Window(p_, pixel + i / Shape::kM, end), i % Shape::kM));
    }
    if (p_.whole_x) {
#pragma unroll
      for (int i = 0; i < kLoadsB; ++i)
        if (column(i) < Shape::kN) *reinterpret_cast<uint4*>(b + k * Shape::kRowB + column(i)) = b_[i];
    } else {
#pragma unroll 1
      for (int i = thread(); i < Shape::kK * Shape::kN; i += Shape::kThreads)
        b[i / Shape::kN * Shape::kRowB + i % Shape::kN] =
            load_element(x_at(Window(p_, pixel + i / Shape::kN, end), seen(i % Shape::kN)));
    }
  }

 private:
  static constexpr int kThreadsOfK = Shape::kThreads / Shape::kK;
  static constexpr int kLoadsA = (Shape::kM / kChunk<T> + kThreadsOfK - 1) / kThreadsOfK;
  static constexpr int kLoadsB = (Shape::kN / kChunk<T> + kThreadsOfK - 1) / kThreadsOfK;
  static_assert(kThreadsOfK * Shape::kK == Shape::kThreads && !Shape::kRowMajorA);

  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int column(int i) const { return (thread() % kThreadsOfK + i * kThreadsOfK) * kChunk<T>; }

  // An element of A or null.
  __device__ const T* dy_at(const Window& window, int m) const {
    const GradientShape& s = p_.shape;
    if (!window.exists || m_ + m >= s.out_group) return nullptr;
    const int channels = s.groups * s.out_group;
    return static_cast<const T*>(p_.dy) + (int64_t{window.pixel} * channels + (group_ * s.out_group + m_ + m));
  }

  // What a column of B stands for: a tap, by its distance from the window's corner, and a channel of x. One behind the
  // last tap is far outside of every image.
  struct Seen {
    int y, x, channel;
  };
  __device__ Seen seen(int n) const {
    const GradientShape& s = p_.shape;
    const int tap = p_.in_group.quotient(n_ + n), channel = p_.in_group.remainder(n_ + n, tap);
    const int ky = p_.kernel_w.quotient(tap), kx = p_.kernel_w.remainder(tap, ky);
    return {ky < s.kernel_h ? ky * s.dilation_h : 1 << 30, kx * s.dilation_w, group_ * s.in_group + channel};
  }

  // An element of B or null.
  __device__ const T* x_at(const Window& window, const Seen& seen) const {
    const GradientShape& s = p_.shape;
    const int y = window.y + seen.y, x = window.x + seen.x, channels = s.groups * s.in_group;
    if (!window.exists || static_cast<unsigned>(y) >= static_cast<unsigned>(s.h) ||
        static_cast<unsigned>(x) >= static_cast<unsigned>(s.w))
      return nullptr;
    const int pixel = (window.image * s.h + y) * s.w + x;
    return static_cast<const T*>(p_.x) + (int64_t{pixel} * channels + seen.channel);
  }

  const WeightGemm& p_;
  const int group_, m_, n_;
  Seen seen_[kLoadsB];
  uint4 a_[kLoadsA], b_[kLoadsB];
};

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) backward_weight_gemm_kernel(const WeightGemm p) {
  using T = typename Shape::T;
  using Tile = ProductTile<Shape>;
  LUCID_SHARED(T, a, [Shape::kSizeA]);
  LUCID_SHARED(T, b, [Shape::kSizeB]);
  LUCID_SHARED(float, staging, [Tile::kStaging]);
  unsigned block = blockIdx.x;
  const int tile_n = static_cast<int>(block % p.blocks_n);
  block /= p.blocks_n;
  const int tile_m = static_cast<int>(block % p.blocks_m);
  block /= p.blocks_m;
  const int group = static_cast<int>(block % p.shape.groups), part = static_cast<int>(block / p.shape.groups);
  const int begin = part * p.part_pixels, end = min(p.pixels - begin, p.part_pixels) + begin;

  WeightLoader<Shape> loader(p, group, tile_m * Shape::kM, tile_n * Shape::kN);
  Tile tile;
  tile.clear();
  loader.fetch(begin, end);
  for (int pixel = begin; pixel < end; pixel += Shape::kK) {
    loader.store(pixel, end, a, b);
    __syncthreads();
    if (pixel + Shape::kK < end) loader.fetch(pixel + Shape::kK, end);
    tile.multiply(a, b);
    __syncthreads();
  }
  const int64_t columns = int64_t{p.blocks_n} * Shape::kN;
  float* partial = p.partial + ((int64_t{part} * p.shape.groups + group) * p.blocks_m + tile_m) * Shape::kM * columns +
                   tile_n * Shape::kN;
  tile.each_quad(staging, [&](int m, int n, const float4& quad) { store_quad(partial + m * columns + n, quad); });
}

// Which tile: narrow for few output channels a group, small where a wide one would be half empty.
enum class Kind { kLarge, kSmall, kGroup16, kGroup32 };

template <class T, Kind kind>
struct ShapeOf {
  using Shape = ProductShape<T, 128, 64, 32, 4, 1, false>;
};
template <>
struct ShapeOf<float, Kind::kLarge> {
  using Shape = ProductShape<float, 128, 128, 16, 8, 1, false>;
};
template <>
struct ShapeOf<float, Kind::kSmall> {
  using Shape = ProductShape<float, 64, 64, 16, 2, 1, false>;
};
template <class T>
struct ShapeOf<T, Kind::kGroup16> {
  using Shape = ProductShape<T, 16, 144, 32, 1, 3, false>;
};
template <class T>
struct ShapeOf<T, Kind::kGroup32> {
  using Shape = ProductShape<T, 32, 144, 32, 1, 3, false>;
};

Kind kind_of(const Conv2dShape& s, Dtype dtype) {
  if (dtype == Dtype::kFloat32) return s.out_group > 64 && s.terms() > 64 ? Kind::kLarge : Kind::kSmall;
  return s.out_group <= 16 ? Kind::kGroup16 : s.out_group <= 32 ? Kind::kGroup32 : Kind::kLarge;
}

template <class Function>
auto with_shape(const Conv2dShape& s, Dtype dtype, Function function) {
  const Kind kind = kind_of(s, dtype);
  return with_element(dtype, [&](auto element) {
    using T = decltype(element);
    if constexpr (std::is_same_v<T, float>) {
      if (kind == Kind::kSmall) return function(typename ShapeOf<float, Kind::kSmall>::Shape{});
    } else {
      if (kind == Kind::kGroup16) return function(typename ShapeOf<T, Kind::kGroup16>::Shape{});
      if (kind == Kind::kGroup32) return function(typename ShapeOf<T, Kind::kGroup32>::Shape{});
    }
    return function(typename ShapeOf<T, Kind::kLarge>::Shape{});
  });
}

}  // namespace

WeightParts weight_parts_gemm(const Conv2dShape& s, Dtype dtype) {
  return with_shape(s, dtype, [&](auto shape) -> WeightParts {
    using Shape = decltype(shape);
    const int64_t blocks_m = ceil_div(s.out_group, Shape::kM), blocks_n = ceil_div(s.terms(), Shape::kN);
    const int64_t rows = blocks_m * Shape::kM, columns = blocks_n * Shape::kN;
    const int64_t blocks = s.groups * blocks_m * blocks_n, pixels = s.n * s.out_h * s.out_w;
    return {parts_of(blocks, ceil_div(pixels, 8 * Shape::kK), s.groups * rows * columns), rows, columns};
  });
}

Error backward_weight_gemm(const Conv2dBackwardWeight& arguments, const WeightParts& parts, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  return with_shape(s, arguments.dtype, [&](auto shape) -> Error {
    using Shape = decltype(shape);
    using T = typename Shape::T;
    const int64_t blocks_m = parts.rows / Shape::kM, blocks_n = parts.columns / Shape::kN;
    const int64_t blocks = parts.parts * s.groups * blocks_m * blocks_n, pixels = s.n * s.out_h * s.out_w;
    if (blocks > kMostGridBlocks) return cudaErrorInvalidConfiguration;
    const WeightGemm p{GradientShape(s),
                       arguments.x,
                       arguments.dy,
                       static_cast<float*>(arguments.workspace),
                       static_cast<int>(blocks_m),
                       static_cast<int>(blocks_n),
                       static_cast<int>(pixels),
                       static_cast<int>(ceil_div(pixels, parts.parts)),
                       Divisor(s.out_w),
                       Divisor(s.out_h),
                       Divisor(s.in_group),
                       Divisor(s.kernel_w),
                       s.in_group % kChunk<T> == 0 && is_aligned(arguments.x, 16),
                       s.out_group % kChunk<T> == 0 && is_aligned(arguments.dy, 16)};
    return launch(backward_weight_gemm_kernel<Shape>,
                  {dim3(static_cast<unsigned>(blocks)), dim3(Shape::kThreads), 0, static_cast<cudaStream_t>(stream)},
                  p);
  });
}

}  // namespace lucid::cuda
