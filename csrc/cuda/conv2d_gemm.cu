// Convolution of any shape on CUDA cores, in float32: a tile of pixels times channels in registers, its operands in
// shared memory, where the next stretch of terms arrives while this one is multiplied.
//
// Bound by the FMA units. A thread holds 8 x 8 sums: for four terms it loads 16 vectors of four and does 256 FMAs. The
// pixels of a tile lie as they do in x, one after another with their terms together, so that 16 bytes are copied
// straight to shared memory; four floats of padding spread them over the banks.
#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_gemm_copy.h"

namespace lucid::cuda {
namespace {

constexpr int kStages = 2, kVector = 4;

// kRows pixels by kColumns channels; a thread has 8 pixels, and channels in vectors of four.
template <int kRows_, int kColumns_, int kVectors_, int kBlocks_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kVectors = kVectors_, kBlocks = kBlocks_;
  static constexpr int kDepth = 16, kPixelStride = kDepth + 4, kWeightStride = kColumns, kThreadRows = 8;
  // Threads along both sides, and the channels between two vectors of a thread.
  static constexpr int kDown = kRows / kThreadRows, kAcross = kColumns / (kVectors * kVector);
  static constexpr int kThreads = kDown * kAcross, kVectorStep = kAcross * kVector;
  static constexpr size_t kShared =
      kRows * sizeof(Conv2dWindow) + kStages * sizeof(float) * (kRows * kPixelStride + kDepth * kWeightStride);
  static_assert(kShared <= 48 * 1024, "a tile must fit into static shared memory");
  static_assert(kThreads % 32 == 0 && kThreads <= 1024 && kAcross % 8 == 0 && kGemmDepth % kDepth == 0);
};

template <class T>
using Problem = GemmProblem<T, float>;

template <class Tile>
using Sums = float[Tile::kThreadRows][Tile::kVectors * kVector];

// a: the thread's first pixel; b: its first channel.
template <class Tile>
__device__ __forceinline__ void multiply(const float* a, const float* b, Sums<Tile>& sums) {
#pragma unroll
  for (int k = 0; k < Tile::kDepth; k += kVector) {
    float pixels[Tile::kThreadRows][kVector];
#pragma unroll
    for (int m = 0; m < Tile::kThreadRows; ++m) load_floats(a + m * Tile::kDown * Tile::kPixelStride + k, pixels[m]);
#pragma unroll
    for (int i = 0; i < kVector; ++i)
#pragma unroll
      for (int v = 0; v < Tile::kVectors; ++v) {
        float channels[kVector];
        load_floats(b + (k + i) * Tile::kWeightStride + v * Tile::kVectorStep, channels);
#pragma unroll
        for (int m = 0; m < Tile::kThreadRows; ++m)
#pragma unroll
          for (int j = 0; j < kVector; ++j)
            sums[m][v * kVector + j] = fmaf(pixels[m][i], channels[j], sums[m][v * kVector + j]);
      }
  }
}

template <class T, class Tile>
__device__ __forceinline__ void store(const Problem<T>& p, const Sums<Tile>& sums, int64_t first_pixel, int64_t group,
                                      int first_column) {
#pragma unroll
  for (int v = 0; v < Tile::kVectors; ++v) {
    const int64_t column = first_column + v * Tile::kVectorStep, left = p.shape.out_group - column;
    if (left <= 0) continue;
    const int64_t channel = group * p.shape.out_group + column;
    const int count = left < kVector ? int(left) : kVector;
    float bias[kVector];
    load_bias(p.epilogue, channel, count, bias);
#pragma unroll
    for (int m = 0; m < Tile::kThreadRows; ++m) {
      const int64_t pixel = first_pixel + m * Tile::kDown;
      if (pixel < p.pixels) finish(p.epilogue, bias, pixel, channel, count, sums[m] + v * kVector);
    }
  }
}

// A warp has 4 pixels by 8 vectors of the tile, so that what its lanes load together are 64 and 128 bytes.
template <class T, int kUnit, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) implicit_gemm(Problem<T> p) {
  LUCID_SHARED(Conv2dWindow, windows, [Tile::kRows]);
  LUCID_SHARED(float, a, [kStages][Tile::kRows * Tile::kPixelStride]);
  LUCID_SHARED(float, b, [kStages][Tile::kDepth * Tile::kWeightStride]);
  const GemmPlace place = gemm_place(p, Tile::kRows, Tile::kColumns);
  for (int i = threadIdx.x; i < Tile::kRows; i += Tile::kThreads)
    windows[i] = conv2d_window<T>(p.shape, place.pixel + i);

  const T* x = p.x + place.group * p.shape.in_group;
  const Conv2dTerm* terms = p.terms + term_of_thread<Tile, kUnit>();
  const int64_t column = place.column + column_of_thread<Tile, kVector>();
  const bool has_weights = column < p.packing.columns;
  const float* weights =
      p.weights + place.group * p.packing.weights + column + first_weight_row<Tile, kVector>() * p.packing.columns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int down = warp / (Tile::kAcross / 8) * 4 + lane / 8, vector = warp % (Tile::kAcross / 8) * 8 + lane % 8;
  const int steps = int((p.packing.sum + Tile::kDepth - 1) / Tile::kDepth);

  Conv2dTerm term = terms[0];
  __syncthreads();
  copy_pixels<Tile, kUnit, kUnit>(p.shape, x, windows, term, a[0]);
  copy_weights<Tile, kVector>(weights, p.packing.columns, has_weights, b[0]);
  __pipeline_commit();
  if (steps > 1) term = terms[Tile::kDepth];
  Sums<Tile> sums = {};
  for (int step = 0; step < steps; ++step) {
    const int now = step % kStages;
    __pipeline_wait_prior(0);
    __syncthreads();
    if (step + 1 < steps) {
      weights += Tile::kDepth * p.packing.columns;
      copy_pixels<Tile, kUnit, kUnit>(p.shape, x, windows, term, a[1 - now]);
      copy_weights<Tile, kVector>(weights, p.packing.columns, has_weights, b[1 - now]);
      if (step + 2 < steps) term = terms[(step + 2) * Tile::kDepth];
    }
    __pipeline_commit();
    multiply<Tile>(a[now] + down * Tile::kPixelStride, b[now] + vector * kVector, sums);
  }
  __pipeline_wait_prior(0);
  store<T, Tile>(p, sums, place.pixel + down, place.group, place.column + vector * kVector);
}

GemmLayout layout_of(const Conv2dShape& shape) { return {kVector, shape.in_group}; }

template <class T, int kUnit, class Tile>
Error launch_gemm(const Conv2d& arguments, Stream stream) {
  const auto p = gemm_problem<T, float>(arguments, layout_of(arguments.shape), Tile::kColumns);
  const int64_t blocks = gemm_blocks(arguments.shape, Tile::kRows, Tile::kColumns);
  if (blocks > kMostBlocks) return cudaErrorInvalidConfiguration;
  return launch(implicit_gemm<T, kUnit, Tile>,
                {dim3(unsigned(blocks)), dim3(Tile::kThreads), 0, static_cast<cudaStream_t>(stream)}, p);
}

template <class T, class Tile>
Error run_tile(const Conv2d& arguments, Stream stream) {
  constexpr int kUnit = 16 / sizeof(T);
  if (arguments.shape.in_group % kUnit == 0 && is_aligned(arguments.x, 16))
    return launch_gemm<T, kUnit, Tile>(arguments, stream);
  return launch_gemm<T, 1, Tile>(arguments, stream);
}

template <class Tile>
Error run(const Conv2d& arguments, Stream stream) {
  switch (arguments.dtype) {
    case Dtype::kFloat32: return run_tile<float, Tile>(arguments, stream);
    case Dtype::kFloat16: return run_tile<__half, Tile>(arguments, stream);
    case Dtype::kBfloat16: return run_tile<__nv_bfloat16, Tile>(arguments, stream);
    default: return cudaErrorInvalidValue;
  }
}

using Tile128x128 = Tile<128, 128, 2, 2>;
using Tile128x64 = Tile<128, 64, 2, 4>;
using Tile64x64 = Tile<64, 64, 1, 4>;
using Tile128x32 = Tile<128, 32, 1, 4>;

// Tiles best first where several take as long: the larger, the fewer loads for each FMA.
constexpr GemmTile kTiles[] = {{128, 128, 1.0}, {128, 64, 0.95}, {64, 64, 0.8}, {128, 32, 0.75}};
// Of float32 an H100, while its second cache delivers an operand to each multiprocessor; 9 an A100, 33 a GeForce 4090.
constexpr double kProductsPerOperand = 24;

Error run_best(const Conv2d& arguments, Stream stream) {
  switch (best_tile(arguments.shape, kTiles, kProductsPerOperand)) {
    case 0: return run<Tile128x128>(arguments, stream);
    case 1: return run<Tile128x64>(arguments, stream);
    case 2: return run<Tile64x64>(arguments, stream);
    default: return run<Tile128x32>(arguments, stream);
  }
}

bool accepts(const Conv2dShape&, Dtype, bool) { return true; }

size_t packed_bytes(const Conv2dShape& shape, Dtype) { return gemm_packed_bytes(shape, layout_of(shape)); }

Error pack(const Conv2dPack& arguments, Stream stream) {
  return pack_gemm(arguments, layout_of(arguments.shape), stream);
}

}  // namespace

// The first chooses a tile, which changes no result; the others are one tile each.
const Conv2dAlgorithm conv2d_gemm = {"implicit_gemm", accepts, packed_bytes, pack, run_best};
const Conv2dAlgorithm conv2d_gemm_128x128 = {"implicit_gemm_128x128", accepts, packed_bytes, pack, run<Tile128x128>};
const Conv2dAlgorithm conv2d_gemm_128x64 = {"implicit_gemm_128x64", accepts, packed_bytes, pack, run<Tile128x64>};
const Conv2dAlgorithm conv2d_gemm_64x64 = {"implicit_gemm_64x64", accepts, packed_bytes, pack, run<Tile64x64>};
const Conv2dAlgorithm conv2d_gemm_128x32 = {"implicit_gemm_128x32", accepts, packed_bytes, pack, run<Tile128x32>};

}  // namespace lucid::cuda
