// Packed weights of the convolutions that are products of matrices, and how those are cut into tiles.
#include <math.h>

#include "cuda/conv2d_gemm.h"
#include "cuda/warp_matrix.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

// weight[channel][c][tap] of a group's column and term; 0 of those that do not exist.
template <class T>
__device__ float weight_at(const Conv2dShape& shape, const GemmPacking& packing, const T* weight, int64_t group,
                           int64_t column, int64_t term) {
  const int64_t tap = term / packing.channels, channel = term % packing.channels,
                taps = shape.kernel_h * shape.kernel_w;
  if (column >= shape.out_group || tap >= taps || channel >= shape.in_group) return 0.0f;
  return to_float(weight[((group * shape.out_group + column) * shape.in_group + channel) * taps + tap]);
}

// weights[group][term][column]
template <class T>
__global__ void pack_rows(Conv2dShape shape, GemmPacking packing, const T* weight, float* weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= shape.groups * packing.weights) return;
  const int64_t column = i % packing.columns, term = i / packing.columns % packing.terms;
  weights[i] = weight_at(shape, packing, weight, i / packing.weights, column, term);
}

// A thread has the elements of a register of a lane: kPair terms of a column.
template <class T>
__global__ void pack_fragments(Conv2dShape shape, GemmPacking packing, const T* weight, T* weights) {
  constexpr int kPair = 4 / sizeof(T);
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= shape.groups * packing.weights / kPair) return;
  const int64_t lane = i / 4 % 32, product = i / 128 % 2 * 2 + i / 2 % 2;
  const int64_t step = i / 256 % (packing.terms / (8 * kPair)), strip = i / 256 / (packing.terms / (8 * kPair));
  const int64_t strips = packing.columns / kGemmStrip, row = lane / 4;
  const int64_t column = strip % strips * kGemmStrip + row / 2 * 8 + product * 2 + row % 2;
  const int64_t term = kPair * (step * 8 + lane % 4 + i % 2 * 4);
#pragma unroll
  for (int part = 0; part < kPair; ++part) {
    float value = weight_at(shape, packing, weight, strip / strips, column, term + part);
    if constexpr (std::is_same_v<T, float>) value = round_to_tf32(value);
    weights[i * kPair + part] = from_float<T>(value);
  }
}

__global__ void pack_terms(Conv2dShape shape, GemmPacking packing, Conv2dTerm* terms) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < packing.terms) terms[i] = conv2d_term(shape, packing.channels, i);
}

// Packs the terms; behind them, if there are not too many, the caller packs weights.
Error begin_pack(const Conv2dPack& arguments, const GemmPacking& packing, Stream stream) {
  if (arguments.shape.groups * packing.weights / kThreads >= kMostBlocks) return cudaErrorInvalidConfiguration;
  return launch(pack_terms, threads_for(packing.terms, kThreads, stream), arguments.shape, packing,
                static_cast<Conv2dTerm*>(arguments.packed));
}

template <class T, class Weight>
Error pack(const Conv2dPack& arguments, const GemmLayout& layout, int64_t elements,
           void (*kernel)(Conv2dShape, GemmPacking, const T*, Weight*), Stream stream) {
  const GemmPacking packing(arguments.shape, layout);
  if (const Error error = begin_pack(arguments, packing, stream)) return error;
  auto* weights = reinterpret_cast<Weight*>(static_cast<Conv2dTerm*>(arguments.packed) + packing.terms);
  return launch(kernel, threads_for(arguments.shape.groups * packing.weights / elements, kThreads, stream),
                arguments.shape, packing, static_cast<const T*>(arguments.weight), weights);
}

}  // namespace

int64_t gemm_blocks(const Conv2dShape& shape, int64_t tile_rows, int64_t tile_columns) {
  const int64_t down = (shape.out_rows() * shape.out_w + tile_rows - 1) / tile_rows;
  return down * ((shape.out_group + tile_columns - 1) / tile_columns) * shape.groups;
}

int best_gemm_tile(const Conv2dShape& shape, const GemmTile* tiles, int count, double products_per_operand) {
  const int64_t processors = multiprocessors();
  // Where windows overlap, the first cache has what another tap has brought.
  const double overlap = double(shape.taps()) / double(shape.stride_h * shape.stride_w),
               fetched = 1 / fmax(1.0, overlap), terms = double(shape.in_group * shape.taps());
  int best = 0;
  double least = 0;
  for (int i = 0; i < count; ++i) {
    const auto [rows, columns, efficiency] = tiles[i];
    const int64_t blocks = gemm_blocks(shape, rows, columns), most = (blocks + processors - 1) / processors;
    const double products = double(most * rows * columns) / efficiency;
    const double pixels = double(rows) * fetched,
                 weights = double(columns < shape.out_group ? columns : shape.out_group);
    const double outputs = double(rows * columns) / terms;  // they pass the second cache once
    const double operands = double(blocks) * (pixels + weights + outputs) / double(processors) * products_per_operand;
    const double time = products > operands ? products : operands;
    if (i == 0 || time < least) best = i, least = time;
  }
  return best;
}

size_t gemm_packed_bytes(const Conv2dShape& shape, const GemmLayout& layout) {
  const GemmPacking packing(shape, layout);
  return size_t(packing.terms) * sizeof(Conv2dTerm) + size_t(shape.groups * packing.weights) * sizeof(float);
}

Error pack_gemm(const Conv2dPack& arguments, const GemmLayout& layout, Stream stream) {
  switch (arguments.dtype) {
    case Dtype::kFloat32: return pack(arguments, layout, 1, pack_rows<float>, stream);
    case Dtype::kFloat16: return pack(arguments, layout, 1, pack_rows<__half>, stream);
    case Dtype::kBfloat16: return pack(arguments, layout, 1, pack_rows<__nv_bfloat16>, stream);
    default: return cudaErrorInvalidValue;
  }
}

// Kernels load a step ahead, and behind the last step what nobody has written.
size_t gemm_fragments_bytes(const Conv2dShape& shape, const GemmLayout& layout, Dtype dtype) {
  const GemmPacking packing(shape, layout);
  const size_t element = dtype == Dtype::kFloat32 ? 4 : 2;
  return size_t(packing.terms) * sizeof(Conv2dTerm) + size_t(shape.groups * packing.weights) * element +
         32 * kGemmStrip;
}

Error pack_gemm_fragments(const Conv2dPack& arguments, const GemmLayout& layout, Stream stream) {
  switch (arguments.dtype) {
    case Dtype::kFloat32: return pack(arguments, layout, 1, pack_fragments<float>, stream);
    case Dtype::kFloat16: return pack(arguments, layout, 2, pack_fragments<__half>, stream);
    case Dtype::kBfloat16: return pack(arguments, layout, 2, pack_fragments<__nv_bfloat16>, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace lucid::cuda
