// Convolution of any shape on tensor cores, in float16, bfloat16 or TF32, with sums in float32.
//
// Bound by memory in most layers of the networks, in the last ones by the tensor cores and by what the second cache
// delivers, so that large tiles come first. A warp of 128 x 128 multiplies 64 pixels by 64 channels: 4 KiB from shared
// memory for 4 x 4 products of 16 x 16 x 16; of 32 by 64 it would be 3 KiB for 2 x 4, which takes longer to read than
// to multiply. 224 pixels divide those of all layers where there are 32 images, and a warp has 112 by 32. The padding
// of rows lets what is read at once come from different banks. Three stages: the operands of two steps are under way
// while one is multiplied. What a warp has computed goes through shared memory on its way out: how a fragment lies in
// registers is not specified.
#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_gemm_copy.h"

namespace lucid::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int kStages = 3, kFragment = 16, kQuad = 4, kWarp = 32;

// What a fragment of the type has in it, and how many terms; elements of 16 bytes.
template <class T>
struct Operand {
  using Fragment = T;
  static constexpr int kTerms = 16, kVector = 8;
};
template <>
struct Operand<float> {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  using Fragment = __half;  // never computed with: devices without TF32 are not given this kernel
#else
  using Fragment = wmma::precision::tf32;
#endif
  static constexpr int kTerms = 8, kVector = 4;
};

// kDown by kAcross warps, each with kWarpRows pixels by kWarpColumns channels.
template <class T, int kDown_, int kAcross, int kWarpRows_, int kWarpColumns_, int kBlocks_>
struct Tile {
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_, kBlocks = kBlocks_, kDown = kDown_;
  static constexpr int kRows = kDown * kWarpRows, kColumns = kAcross * kWarpColumns, kDepth = 64 / sizeof(T);
  static constexpr int kVector = Operand<T>::kVector, kTerms = Operand<T>::kTerms;
  static constexpr int kPixelStride = kDepth + kVector, kWeightStride = kColumns + 8;
  static constexpr int kWarps = kDown * kAcross, kThreads = kWarps * kWarp;
  static constexpr int kFragmentsDown = kWarpRows / kFragment, kFragmentsAcross = kWarpColumns / kFragment;
  static constexpr int kResultStride = kWarpColumns + 4;
  static constexpr size_t kPixelBytes = kRows * kPixelStride * sizeof(T), kWindowBytes = kRows * sizeof(Conv2dWindow);
  static constexpr size_t kWeightBytes = kDepth * kWeightStride * sizeof(T);
  static constexpr size_t kShared = kWindowBytes + kStages * (kPixelBytes + kWeightBytes);
  // Fragments are loaded and stored at multiples of 32 bytes.
  static_assert(kPixelBytes % 32 == 0 && kWeightBytes % 32 == 0 && kWeightStride * sizeof(T) * kTerms % 32 == 0);
  static_assert(kShared <= (kRows > 128 ? 99 : 64) * 1024, "the oldest of the devices has 64 KiB, others 99 or more");
  static_assert(kWarps * kFragment * kResultStride * sizeof(float) <= kStages * (kPixelBytes + kWeightBytes));
  static_assert(kGemmDepth % kDepth == 0 && kThreads <= 1024);

  using Sums = wmma::fragment<wmma::accumulator, kFragment, kFragment, kTerms, float>[kFragmentsDown][kFragmentsAcross];
  template <class Use>
  using Matrix = wmma::fragment<Use, kFragment, kFragment, kTerms, typename Operand<T>::Fragment, wmma::row_major>;
};

template <class T, class Fragment>
__device__ __forceinline__ void load(Fragment& fragment, const T* from, int stride) {
  wmma::load_matrix_sync(fragment, from, stride);
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, float>)
#pragma unroll
    for (float& value : fragment.x) value = wmma::__float_to_tf32(value);
#endif
}

// a: the warp's first pixel; b: its first channel.
template <class T, class Tile>
__device__ __forceinline__ void multiply(const T* a, const T* b, typename Tile::Sums& sums) {
#pragma unroll
  for (int k = 0; k < Tile::kDepth; k += Tile::kTerms) {
    typename Tile::template Matrix<wmma::matrix_a> pixels[Tile::kFragmentsDown];
#pragma unroll
    for (int m = 0; m < Tile::kFragmentsDown; ++m)
      load(pixels[m], a + m * kFragment * Tile::kPixelStride + k, Tile::kPixelStride);
#pragma unroll
    for (int j = 0; j < Tile::kFragmentsAcross; ++j) {
      typename Tile::template Matrix<wmma::matrix_b> channels;
      load(channels, b + k * Tile::kWeightStride + j * kFragment, Tile::kWeightStride);
#pragma unroll
      for (int m = 0; m < Tile::kFragmentsDown; ++m) wmma::mma_sync(sums[m][j], pixels[m], channels, sums[m][j]);
    }
  }
}

// The rows of fragments one after another, each through the 16 rows in `result` that the warp has for itself.
template <class T, class Tile>
__device__ __forceinline__ void store(const GemmProblem<T, T>& p, const typename Tile::Sums& sums, int64_t first_pixel,
                                      int64_t group, int64_t first_column, float* result) {
  constexpr int kQuads = Tile::kWarpColumns / kQuad, kStep = kWarp / kQuads;
  const int lane = threadIdx.x % kWarp, quad = lane % kQuads * kQuad;
  const int64_t left = p.shape.out_group - first_column - quad;
  const int count = left < 0 ? 0 : left < kQuad ? int(left) : kQuad;
  const int64_t channel = group * p.shape.out_group + first_column + quad;
  float bias[kQuad];
  load_bias(p.epilogue, channel, count, bias);
#pragma unroll
  for (int m = 0; m < Tile::kFragmentsDown; ++m) {
#pragma unroll
    for (int j = 0; j < Tile::kFragmentsAcross; ++j)
      wmma::store_matrix_sync(result + j * kFragment, sums[m][j], Tile::kResultStride, wmma::mem_row_major);
    __syncwarp();
#pragma unroll
    for (int row = lane / kQuads; row < kFragment; row += kStep) {
      const int64_t pixel = first_pixel + m * kFragment + row;
      if (count > 0 && pixel < p.pixels)
        finish(p.epilogue, bias, pixel, channel, count, result + row * Tile::kResultStride + quad);
    }
    __syncwarp();
  }
}

template <class T, int kUnit, int kLoaded, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) implicit_gemm_tensor(GemmProblem<T, T> p) {
  if constexpr (kHasTensorCores<T>) {
    LUCID_DYN_SHARED(unsigned char, shared);
    auto* windows = reinterpret_cast<Conv2dWindow*>(shared);
    const auto stage_pixels = [&](int stage) {
      return reinterpret_cast<T*>(shared + Tile::kWindowBytes + stage * (Tile::kPixelBytes + Tile::kWeightBytes));
    };
    const GemmPlace place = gemm_place(p, Tile::kRows, Tile::kColumns);
    for (int i = threadIdx.x; i < Tile::kRows; i += Tile::kThreads)
      windows[i] = conv2d_window(p.shape, place.pixel + i);

    const T* x = p.x + place.group * p.shape.in_group;
    const Conv2dTerm* terms = p.terms + term_of_thread<Tile, kUnit>();
    const int64_t column = place.column + column_of_thread<Tile, Tile::kVector>();
    const bool has_weights = column < p.packing.columns;
    const T* weights = p.weights + place.group * p.packing.weights + column +
                       first_weight_row<Tile, Tile::kVector>() * p.packing.columns;
    const int warp = threadIdx.x / kWarp, down = warp % Tile::kDown * Tile::kWarpRows;
    const int across = warp / Tile::kDown * Tile::kWarpColumns;
    const int steps = int((p.packing.sum + Tile::kDepth - 1) / Tile::kDepth);

    Conv2dTerm term = terms[0];
    int copied = 0;
    // A group of copies for each step, an empty one behind the last: the number that may be under way stays the same.
    const auto copy_step = [&] {
      if (copied < steps) {
        T* pixels = stage_pixels(copied % kStages);
        copy_pixels<Tile, kUnit, kLoaded>(p.shape, x, windows, term, pixels);
        copy_weights<Tile, Tile::kVector>(weights, p.packing.columns, has_weights,
                                          pixels + Tile::kRows * Tile::kPixelStride);
        weights += Tile::kDepth * p.packing.columns;
        if (++copied < steps) term = terms[copied * Tile::kDepth];
      }
      __pipeline_commit();
    };
    __syncthreads();
    for (int i = 0; i < kStages - 1; ++i) copy_step();
    typename Tile::Sums sums;
#pragma unroll
    for (auto& row : sums)
#pragma unroll
      for (auto& sum : row) wmma::fill_fragment(sum, 0.0f);
    for (int step = 0; step < steps; ++step) {
      __pipeline_wait_prior(kStages - 2);
      __syncthreads();
      copy_step();
      const T* pixels = stage_pixels(step % kStages);
      multiply<T, Tile>(pixels + down * Tile::kPixelStride, pixels + Tile::kRows * Tile::kPixelStride + across, sums);
    }
    __pipeline_wait_prior(0);
    __syncthreads();
    auto* result = reinterpret_cast<float*>(shared + Tile::kWindowBytes) + warp * kFragment * Tile::kResultStride;
    store<T, Tile>(p, sums, place.pixel + down, place.group, place.column + across, result);
  }
}

// The three channels of an image get a fourth, whose weights are zeros, and are copied together.
constexpr int kColours = 3, kColourUnit = 4;
GemmLayout layout_of(const Conv2dShape& shape, Dtype dtype) {
  const int64_t vector = dtype == Dtype::kFloat32 ? Operand<float>::kVector : Operand<__half>::kVector;
  return {vector, shape.in_group == kColours ? kColourUnit : shape.in_group};
}

template <class T, int kUnit, int kLoaded, class Tile>
Error launch_tensor(const Conv2d& arguments, Stream stream) {
  const auto p = gemm_problem<T, T>(arguments, layout_of(arguments.shape, arguments.dtype), Tile::kColumns);
  const int64_t blocks = gemm_blocks(arguments.shape, Tile::kRows, Tile::kColumns);
  if (blocks > kMostBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = implicit_gemm_tensor<T, kUnit, kLoaded, Tile>;
  const Error error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(Tile::kShared));
  if (error != 0) return error;
  return launch(kernel,
                {dim3(unsigned(blocks)), dim3(Tile::kThreads), Tile::kShared, static_cast<cudaStream_t>(stream)}, p);
}

// Copies of 16 bytes pass the first cache by. Where windows overlap, copies of 8 bytes find there what another tap has
// brought.
template <class T, class Tile>
Error run_tile(const Conv2d& arguments, Stream stream) {
  constexpr int kVector = Tile::kVector, kHalfVector = kVector / 2;
  const Conv2dShape& shape = arguments.shape;
  const auto lies_in = [&](int unit) {
    return shape.in_group % unit == 0 && is_aligned(arguments.x, unit * sizeof(T));
  };
  if (shape.taps() == 1 && lies_in(kVector)) return launch_tensor<T, kVector, kVector, Tile>(arguments, stream);
  if (lies_in(kHalfVector)) return launch_tensor<T, kHalfVector, kHalfVector, Tile>(arguments, stream);
  if (shape.in_group == kColours) return launch_tensor<T, kColourUnit, kColours, Tile>(arguments, stream);
  return launch_tensor<T, 1, 1, Tile>(arguments, stream);
}

template <class T>
using Tile224x128 = Tile<T, 2, 4, 112, 32, 1>;
template <class T>
using Tile128x128 = Tile<T, 2, 2, 64, 64, 2>;
template <class T>
using Tile128x64 = Tile<T, 4, 1, 32, 64, 4>;
template <class T>
using Tile64x64 = Tile<T, 2, 2, 32, 32, 4>;
template <class T>
using Tile128x32 = Tile<T, 4, 1, 32, 32, 4>;

template <template <class> class TileOf>
Error run(const Conv2d& arguments, Stream stream) {
  if (arguments.dtype == Dtype::kFloat16) return run_tile<__half, TileOf<__half>>(arguments, stream);
  return run_tile<__nv_bfloat16, TileOf<__nv_bfloat16>>(arguments, stream);
}

// A tile is as good as the products that it makes of an operand, which is what the second cache must deliver: those of
// 224 x 128 are 1. Of the others, 128 x 64 gets a little more, for it to win where there are 64 channels.
constexpr int kTileCount = 5;
constexpr GemmTile kTiles[kTileCount] = {
    {224, 128, 1.0}, {128, 128, 0.78}, {128, 64, 0.57}, {64, 64, 0.39}, {128, 32, 0.31}};

// The largest tile wants 82 KiB of shared memory, more than devices without bfloat16 have.
bool has_largest_tile() { return has_tensor_cores(Dtype::kBfloat16); }

Error run_best(const Conv2d& arguments, Stream stream) {
  const int first = has_largest_tile() ? 0 : 1;
  switch (first + best_gemm_tile(arguments.shape, kTiles + first, kTileCount - first)) {
    case 0: return run<Tile224x128>(arguments, stream);
    case 1: return run<Tile128x128>(arguments, stream);
    case 2: return run<Tile128x64>(arguments, stream);
    case 3: return run<Tile64x64>(arguments, stream);
    default: return run<Tile128x32>(arguments, stream);
  }
}

// Two tiles only: who asks for TF32 has large layers.
constexpr GemmTile kTf32Tiles[] = {{128, 128, 1.0}, {64, 64, 0.5}};

Error run_tf32(const Conv2d& arguments, Stream stream) {
  return best_tile(arguments.shape, kTf32Tiles) == 0 ? run_tile<float, Tile128x128<float>>(arguments, stream)
                                                     : run_tile<float, Tile64x64<float>>(arguments, stream);
}

bool accepts_tf32(const Conv2dShape& shape, Dtype dtype, bool tf32) {
  return tf32 && dtype == Dtype::kFloat32 && shape.out_group >= kFragment && has_tensor_cores(dtype);
}

bool accepts(const Conv2dShape& shape, Dtype dtype, bool) {
  return dtype != Dtype::kFloat32 && shape.out_group >= kFragment && has_tensor_cores(dtype);
}

bool accepts_largest(const Conv2dShape& shape, Dtype dtype, bool tf32) {
  return accepts(shape, dtype, tf32) && has_largest_tile();
}

size_t packed_bytes(const Conv2dShape& shape, Dtype dtype) {
  return gemm_packed_bytes(shape, layout_of(shape, dtype), dtype == Dtype::kFloat32 ? 4 : 2);
}

Error pack(const Conv2dPack& arguments, Stream stream) {
  return pack_gemm(arguments, layout_of(arguments.shape, arguments.dtype), arguments.dtype, stream);
}

}  // namespace

const Conv2dAlgorithm conv2d_tensor = {"tensor_gemm", accepts, packed_bytes, pack, run_best};
const Conv2dAlgorithm conv2d_tensor_tf32 = {"tensor_gemm_tf32", accepts_tf32, packed_bytes, pack, run_tf32};
const Conv2dAlgorithm conv2d_tensor_224x128 = {"tensor_gemm_224x128", accepts_largest, packed_bytes, pack,
                                               run<Tile224x128>};
const Conv2dAlgorithm conv2d_tensor_128x128 = {"tensor_gemm_128x128", accepts, packed_bytes, pack, run<Tile128x128>};
const Conv2dAlgorithm conv2d_tensor_128x64 = {"tensor_gemm_128x64", accepts, packed_bytes, pack, run<Tile128x64>};
const Conv2dAlgorithm conv2d_tensor_64x64 = {"tensor_gemm_64x64", accepts, packed_bytes, pack, run<Tile64x64>};
const Conv2dAlgorithm conv2d_tensor_128x32 = {"tensor_gemm_128x32", accepts, packed_bytes, pack, run<Tile128x32>};

}  // namespace lucid::cuda
