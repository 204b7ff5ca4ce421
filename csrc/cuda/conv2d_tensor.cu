// Convolution of any shape on tensor cores, in float16, bfloat16 or TF32, with sums in float32.
//
// Pixels are the rows of the left matrix, and come through shared memory, three stages deep: the operands of two steps
// are under way while one is multiplied. Channels are the columns of the right one; their weights are packed in the
// order of a warp's registers and go there straight from the caches, 16 terms ahead of the products. The columns of a
// product are dealt to channels so that a lane has sums of eight neighbours, and four lanes 32 of them: it adds bias
// and residual and stores 16 bytes, without a detour.
//
// What bounds it is counted in bytes of L1 cache and shared memory, which deliver 128 a cycle, for 16 terms of a tile
// of M x N, by warps of m x n: pixels come and go (64 M), each warp reads its pixels and its weights (32 m + 32 n). A
// warp of 64 x 64 multiplies 16 terms in 56 cycles of an H100's multiprocessor at 62 % of its peak, and reads them in
// 32; with 256 x 128 in a block, whose copies take 16 a warp, the tensor cores bound, and so they do at 192 x 128.
// Smaller tiles are for images that would leave multiprocessors without work.
//
// Where that ends: 1x1 of 1024 to 512 channels and 32 images of 14x14 is 24300 sums for each of an H100's 132
// multiprocessors, 6.65 us at its peak. Within twice that time its second cache (5500 GB/s assumed) delivers the
// operands of blocks with 1/M + 1/N <= 1/99, which are 39200 sums or more, and mma.sync makes 30200 at 62 % of the
// peak. No tile does both; 256 x 128 comes to 2.35 times the peak. Clusters that share what they load, with wgmma,
// would. The same holds of 2048 to 512 channels of 7x7, whose weights every block of 128 x 64 loads anew (82 MB of the
// cache's), and of half as many blocks of 128 x 128, which leave most multiprocessors without work.
//
// 3x3 of 512 to 1024 channels of 7x7 in two groups is 104 blocks of 128 x 128 for an H100's 132 multiprocessors: 2.17
// times the peak. 112 blocks of 112 x 128 make less each, but their warps of 112 x 32 read 25.6 KB of L1 for 16 terms,
// 200 cycles where the products take 192; 264 blocks of 48 x 128 load 155 MB of weights from the second cache, 28 us.
// Eight warps of 64 x 64 and 48 x 64, half of which sum every other 16 terms, would read 22.5 KB, 176 cycles: 1.90
// times the peak. But then sums have another order than in other tiles, and since the batch decides which tile is used,
// an image would not have the same bits in every batch. The layers of 1x1, which wait for the second cache, gain none.
#include <math.h>

#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_gemm_copy.h"
#include "cuda/warp_matrix.h"

namespace lucid::cuda {
namespace {

constexpr int kStages = 3, kFragment = 16, kWarp = 32;

// kDown by kAcross warps, each with kWarpRows pixels by kWarpColumns channels.
template <class T, int kDown_, int kAcross, int kWarpRows_, int kWarpColumns_, int kBlocks_>
struct Tile {
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_, kBlocks = kBlocks_, kDown = kDown_;
  static constexpr int kRows = kDown * kWarpRows, kColumns = kAcross * kWarpColumns;
  static constexpr int kVector = 16 / sizeof(T), kTerms = 2 * kVector, kDepth = 2 * kTerms;
  static constexpr int kPixelStride = kDepth + kVector;  // rows of a matrix that is loaded lie in different banks
  static constexpr int kThreads = kDown * kAcross * kWarp;
  static constexpr int kFragmentsDown = kWarpRows / kFragment, kStripsAcross = kWarpColumns / kGemmStrip;
  static constexpr size_t kPixelBytes = kRows * kPixelStride * sizeof(T), kWindowBytes = kRows * sizeof(Conv2dWindow);
  static constexpr size_t kShared = kWindowBytes + kStages * kPixelBytes;
  static_assert(kShared <= 64 * 1024, "the oldest of the devices has no more");
  static_assert(kGemmDepth % kDepth == 0 && kWarpRows % kFragment == 0 && kWarpColumns % kGemmStrip == 0);

  using Sums = float[kFragmentsDown][kStripsAcross][kGemmStrip / 8][4];
};

// The weights of a warp, as pack_gemm_fragments() writes them: it has 64 vectors for a strip and kTerms terms, the
// first 32 for the products 0 and 1, the others for 2 and 3.
template <class T, class Tile>
struct Weights {
  const uint4* from[Tile::kStripsAcross];
  uint4 next[Tile::kStripsAcross][2];

  __device__ __forceinline__ Weights(const GemmProblem<T, T>& p, int64_t group, int64_t column) {
    const int64_t strips = p.packing.columns / kGemmStrip, steps = p.packing.terms / Tile::kTerms;
#pragma unroll
    for (int i = 0; i < Tile::kStripsAcross; ++i) {
      const int64_t strip = column / kGemmStrip + i;  // behind the last, whose sums go nowhere, the first
      from[i] = reinterpret_cast<const uint4*>(p.weights) +
                (group * strips + (strip < strips ? strip : 0)) * steps * 64 + threadIdx.x % kWarp;
    }
    load();
  }
  __device__ __forceinline__ void load() {
#pragma unroll
    for (int i = 0; i < Tile::kStripsAcross; ++i) {
      next[i][0] = from[i][0], next[i][1] = from[i][32];
      from[i] += 64;
    }
  }
};

// The products 2 * half and the next.
template <class T>
__device__ __forceinline__ void multiply_vector(float (*sums)[4], const uint32_t (&left)[4], const uint4& weights) {
  const uint32_t first[2] = {weights.x, weights.y}, second[2] = {weights.z, weights.w};
  multiply_matrices<T>(sums[0], left, first);
  multiply_matrices<T>(sums[1], left, second);
}

// `pixels`: the row that this lane names of the warp's first matrix; `terms`: how many are left.
template <class T, class Tile>
__device__ __forceinline__ void multiply(const T* pixels, int terms, Weights<T, Tile>& weights,
                                         typename Tile::Sums& sums) {
#pragma unroll
  for (int k = 0; k < Tile::kDepth; k += Tile::kTerms) {
    if (k >= terms) break;
    uint4 now[Tile::kStripsAcross][2];
#pragma unroll
    for (int i = 0; i < Tile::kStripsAcross; ++i) now[i][0] = weights.next[i][0], now[i][1] = weights.next[i][1];
    weights.load();
#pragma unroll
    for (int m = 0; m < Tile::kFragmentsDown; ++m) {
      uint32_t left[4];
      load_matrices(left, pixels + m * kFragment * Tile::kPixelStride + k);
      if constexpr (std::is_same_v<T, float>)
#pragma unroll
        for (uint32_t& value : left) value = __float_as_uint(round_to_tf32(__uint_as_float(value)));
#pragma unroll
      for (int i = 0; i < Tile::kStripsAcross; ++i) {
        multiply_vector<T>(sums[m][i], left, now[i][0]);
        multiply_vector<T>(sums[m][i] + 2, left, now[i][1]);
      }
    }
  }
}

template <class T, class Tile>
__device__ __forceinline__ void store(const GemmProblem<T, T>& p, const typename Tile::Sums& sums, int64_t first_pixel,
                                      int64_t group, int64_t first_column) {
  constexpr int kCount = kGemmStrip / 4;
  const int lane = threadIdx.x % kWarp;
  const int64_t pixel = first_pixel + lane / 4;
#pragma unroll
  for (int i = 0; i < Tile::kStripsAcross; ++i) {
    const int64_t column = first_column + i * kGemmStrip + lane % 4 * kCount, left = p.shape.out_group - column;
    const int count = left < 0 ? 0 : left < kCount ? int(left) : kCount;
    const int64_t channel = group * p.shape.out_group + column;
    float bias[kCount];
    load_bias(p.epilogue, channel, count, bias);
#pragma unroll
    for (int m = 0; m < Tile::kFragmentsDown; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t own = pixel + m * kFragment + half * 8;
        float sum[kCount];
#pragma unroll
        for (int c = 0; c < kCount; ++c) sum[c] = sums[m][i][c / 2][2 * half + c % 2];
        if (count > 0 && own < p.pixels) finish(p.epilogue, bias, own, channel, count, sum);
      }
  }
}

template <class T, int kUnit, int kLoaded, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) implicit_gemm_tensor(GemmProblem<T, T> p) {
  if constexpr (kHasTensorCores<T>) {
    LUCID_DYN_SHARED(unsigned char, shared);
    auto* windows = reinterpret_cast<Conv2dWindow*>(shared);
    T* const stages = reinterpret_cast<T*>(shared + Tile::kWindowBytes);
    constexpr int kStage = Tile::kRows * Tile::kPixelStride;
    const GemmPlace place = gemm_place(p, Tile::kRows, Tile::kColumns);
    for (int i = threadIdx.x; i < Tile::kRows; i += Tile::kThreads)
      windows[i] = conv2d_window<T>(p.shape, place.pixel + i);

    const T* x = p.x + place.group * p.shape.in_group;
    const Conv2dTerm* terms = p.terms + term_of_thread<Tile, kUnit>();
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int down = warp % Tile::kDown * Tile::kWarpRows, across = warp / Tile::kDown * Tile::kWarpColumns;
    const int row = (down + lane % kFragment) * Tile::kPixelStride + lane / kFragment * Tile::kVector;
    const int steps = int((p.packing.sum + Tile::kDepth - 1) / Tile::kDepth);
    // Where terms come in small units their number is rarely one of whole steps: a 7x7 window of an image has 196.
    constexpr bool kPartial = kUnit < Tile::kVector;
    const int sum = int(p.packing.sum), needed = (sum + Tile::kTerms - 1) / Tile::kTerms * Tile::kTerms;
    const int own_term = term_of_thread<Tile, kUnit>();

    Conv2dTerm term = terms[0];
    int copied = 0, to = 0;
    // A group of copies for each step, an empty one behind the last: the number that may be under way stays the same.
    const auto copy_step = [&] {
      if (copied < steps) {
        if (!kPartial || copied * Tile::kDepth + own_term < needed)
          copy_pixels<Tile, kUnit, kLoaded>(p.shape, x, windows, term, stages + to);
        if (++copied < steps) term = terms[copied * Tile::kDepth];
        to = to == (kStages - 1) * kStage ? 0 : to + kStage;
      }
      __pipeline_commit();
    };
    __syncthreads();
    for (int i = 0; i < kStages - 1; ++i) copy_step();
    Weights<T, Tile> weights(p, place.group, place.column + across);
    typename Tile::Sums sums = {};
    for (int step = 0, from = row; step < steps; ++step) {
      __pipeline_wait_prior(kStages - 2);
      __syncthreads();
      copy_step();
      multiply<T, Tile>(stages + from, kPartial ? sum - step * Tile::kDepth : Tile::kDepth, weights, sums);
      from = from >= (kStages - 1) * kStage ? row : from + kStage;
    }
    __pipeline_wait_prior(0);
    store<T, Tile>(p, sums, place.pixel + down, place.group, place.column + across);
  }
}

// The three channels of an image get a fourth, whose weights are zeros, and are copied together.
constexpr int kColours = 3, kColourUnit = 4;
GemmLayout layout_of(const Conv2dShape& shape) {
  return {kGemmStrip, shape.in_group == kColours ? kColourUnit : shape.in_group};
}

template <class T, int kUnit, int kLoaded, class Tile>
Error launch_tensor(const Conv2d& arguments, Stream stream) {
  const auto p = gemm_problem<T, T>(arguments, layout_of(arguments.shape), Tile::kColumns);
  const int64_t blocks = gemm_blocks(arguments.shape, Tile::kRows, Tile::kColumns);
  if (blocks > kMostBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = implicit_gemm_tensor<T, kUnit, kLoaded, Tile>;
  const Error error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(Tile::kShared));
  if (error != 0) return error;
  return launch(kernel,
                {dim3(unsigned(blocks)), dim3(Tile::kThreads), Tile::kShared, static_cast<cudaStream_t>(stream)}, p);
}

template <class T, class Tile>
Error run_tile(const Conv2d& arguments, Stream stream) {
  constexpr int kVector = Tile::kVector, kHalfVector = kVector / 2;
  const Conv2dShape& shape = arguments.shape;
  const auto lies_in = [&](int unit) {
    return shape.in_group % unit == 0 && is_aligned(arguments.x, unit * sizeof(T));
  };
  if (lies_in(kVector)) return launch_tensor<T, kVector, kVector, Tile>(arguments, stream);
  if (lies_in(kHalfVector)) return launch_tensor<T, kHalfVector, kHalfVector, Tile>(arguments, stream);
  if (shape.in_group == kColours) return launch_tensor<T, kColourUnit, kColours, Tile>(arguments, stream);
  return launch_tensor<T, 1, 1, Tile>(arguments, stream);
}

template <class T>
using Tile256x128 = Tile<T, 4, 2, 64, 64, 1>;
template <class T>
using Tile192x128 = Tile<T, 4, 2, 48, 64, 1>;
template <class T>
using Tile128x128 = Tile<T, 2, 2, 64, 64, 2>;
template <class T>
using Tile128x64 = Tile<T, 2, 1, 64, 64, 4>;
template <class T>
using Tile64x64 = Tile<T, 2, 1, 32, 64, 6>;
template <class T>
using Tile256x32 = Tile<T, 2, 1, 128, 32, 3>;

template <template <class> class TileOf>
Error run(const Conv2d& arguments, Stream stream) {
  if (arguments.dtype == Dtype::kFloat16) return run_tile<__half, TileOf<__half>>(arguments, stream);
  return run_tile<__nv_bfloat16, TileOf<__nv_bfloat16>>(arguments, stream);
}

// Products of 16 bits that the tensor cores of a multiprocessor make in a cycle, and while the second cache delivers an
// operand to each multiprocessor: of an H100 at 62 % of its peak, an A100, and a GeForce 4090.
struct TensorRate {
  double products, products_per_operand;
};
TensorRate tensor_rate() {
  const int capability = compute_capability();
  if (capability >= 90 && capability < 120) return {1174, 112};
  if (capability == 80) return {1024, 69};
  return {256, 33};
}

// A tile, and of how many of its products L1 and shared memory deliver the operands in a cycle, if that is less than
// the fastest device makes.
struct TensorTile {
  int64_t rows, columns;
  double products;
};
constexpr TensorTile kTiles[] = {{256, 128, 1174}, {192, 128, 1174}, {128, 128, 1021},
                                 {128, 64, 1021},  {64, 64, 822},    {256, 32, 646}};

template <int kCount>
int best_tensor_tile(const Conv2dShape& shape, const TensorTile (&tiles)[kCount]) {
  const TensorRate rate = tensor_rate();
  GemmTile of_device[kCount];
  for (int i = 0; i < kCount; ++i)
    of_device[i] = {tiles[i].rows, tiles[i].columns, fmin(1.0, tiles[i].products / rate.products)};
  return best_tile(shape, of_device, rate.products_per_operand);
}

Error run_best(const Conv2d& arguments, Stream stream) {
  switch (best_tensor_tile(arguments.shape, kTiles)) {
    case 0: return run<Tile256x128>(arguments, stream);
    case 1: return run<Tile192x128>(arguments, stream);
    case 2: return run<Tile128x128>(arguments, stream);
    case 3: return run<Tile128x64>(arguments, stream);
    case 4: return run<Tile64x64>(arguments, stream);
    default: return run<Tile256x32>(arguments, stream);
  }
}

// Two tiles only: who asks for TF32 has large layers.
constexpr TensorTile kTf32Tiles[] = {{128, 128, 1174}, {64, 64, 587}};

Error run_tf32(const Conv2d& arguments, Stream stream) {
  return best_tensor_tile(arguments.shape, kTf32Tiles) == 0 ? run_tile<float, Tile128x128<float>>(arguments, stream)
                                                            : run_tile<float, Tile64x64<float>>(arguments, stream);
}

bool accepts_tf32(const Conv2dShape& shape, Dtype dtype, bool tf32) {
  return tf32 && dtype == Dtype::kFloat32 && shape.out_group >= kFragment && has_tensor_cores(dtype);
}

bool accepts(const Conv2dShape& shape, Dtype dtype, bool) {
  return dtype != Dtype::kFloat32 && shape.out_group >= kFragment && has_tensor_cores(dtype);
}

size_t packed_bytes(const Conv2dShape& shape, Dtype dtype) {
  return gemm_fragments_bytes(shape, layout_of(shape), dtype);
}

Error pack(const Conv2dPack& arguments, Stream stream) {
  return pack_gemm_fragments(arguments, layout_of(arguments.shape), stream);
}

}  // namespace

const Conv2dAlgorithm conv2d_tensor = {"tensor_gemm", accepts, packed_bytes, pack, run_best};
const Conv2dAlgorithm conv2d_tensor_tf32 = {"tensor_gemm_tf32", accepts_tf32, packed_bytes, pack, run_tf32};
const Conv2dAlgorithm conv2d_tensor_256x128 = {"tensor_gemm_256x128", accepts, packed_bytes, pack, run<Tile256x128>};
const Conv2dAlgorithm conv2d_tensor_192x128 = {"tensor_gemm_192x128", accepts, packed_bytes, pack, run<Tile192x128>};
const Conv2dAlgorithm conv2d_tensor_128x128 = {"tensor_gemm_128x128", accepts, packed_bytes, pack, run<Tile128x128>};
const Conv2dAlgorithm conv2d_tensor_128x64 = {"tensor_gemm_128x64", accepts, packed_bytes, pack, run<Tile128x64>};
const Conv2dAlgorithm conv2d_tensor_64x64 = {"tensor_gemm_64x64", accepts, packed_bytes, pack, run<Tile64x64>};
const Conv2dAlgorithm conv2d_tensor_256x32 = {"tensor_gemm_256x32", accepts, packed_bytes, pack, run<Tile256x32>};

}  // namespace lucid::cuda
