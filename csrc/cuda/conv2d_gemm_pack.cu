// Packed weights of the convolutions that are products of matrices, and how those are cut into tiles.
#include "cuda/conv2d_gemm.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

// weights[group][term][column] of weight[channel][c][tap].
template <class T, class Weight>
__global__ void pack_weights(Conv2dShape shape, GemmPacking packing, const T* weight, Weight* weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= shape.groups * packing.weights) return;
  const int64_t column = i % packing.columns, term = i / packing.columns % packing.terms, group = i / packing.weights;
  const int64_t tap = term / packing.channels, taps = shape.kernel_h * shape.kernel_w;
  const int64_t channel = term % packing.channels;
  float value = 0.0f;
  if (column < shape.out_group && tap < taps && channel < shape.in_group)
    value = to_float(weight[((group * shape.out_group + column) * shape.in_group + channel) * taps + tap]);
  weights[i] = from_float<Weight>(value);
}

__global__ void pack_terms(Conv2dShape shape, GemmPacking packing, Conv2dTerm* terms) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < packing.terms) terms[i] = conv2d_term(shape, packing.channels, i);
}

template <class T, class Weight>
Error pack(const Conv2dPack& arguments, const GemmLayout& layout, Stream stream) {
  const Conv2dShape& shape = arguments.shape;
  const GemmPacking packing(shape, layout);
  auto* terms = static_cast<Conv2dTerm*>(arguments.packed);
  const int64_t count = shape.groups * packing.weights;
  if (count / kThreads >= kMostBlocks) return cudaErrorInvalidConfiguration;
  if (const Error error = launch(pack_terms, threads_for(packing.terms, kThreads, stream), shape, packing, terms))
    return error;
  return launch(pack_weights<T, Weight>, threads_for(count, kThreads, stream), shape, packing,
                static_cast<const T*>(arguments.weight), reinterpret_cast<Weight*>(terms + packing.terms));
}

}  // namespace

int64_t gemm_blocks(const Conv2dShape& shape, int64_t tile_rows, int64_t tile_columns) {
  const int64_t down = (shape.out_rows() * shape.out_w + tile_rows - 1) / tile_rows;
  return down * ((shape.out_group + tile_columns - 1) / tile_columns) * shape.groups;
}

int best_gemm_tile(const Conv2dShape& shape, const GemmTile* tiles, int count) {
  const int64_t processors = multiprocessors();
  int best = 0;
  double least = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t blocks = gemm_blocks(shape, tiles[i].rows, tiles[i].columns);
    const int64_t most = (blocks + processors - 1) / processors;
    const double time = double(most * tiles[i].rows * tiles[i].columns) / tiles[i].efficiency;
    if (i == 0 || time < least) best = i, least = time;
  }
  return best;
}

size_t gemm_packed_bytes(const Conv2dShape& shape, const GemmLayout& layout, size_t weight_bytes) {
  const GemmPacking packing(shape, layout);
  return size_t(packing.terms) * sizeof(Conv2dTerm) + size_t(shape.groups * packing.weights) * weight_bytes;
}

Error pack_gemm(const Conv2dPack& arguments, const GemmLayout& layout, Dtype weights, Stream stream) {
  const bool floats = weights == Dtype::kFloat32;
  switch (arguments.dtype) {
    case Dtype::kFloat32: return pack<float, float>(arguments, layout, stream);
    case Dtype::kFloat16:
      return floats ? pack<__half, float>(arguments, layout, stream) : pack<__half, __half>(arguments, layout, stream);
    case Dtype::kBfloat16:
      return floats ? pack<__nv_bfloat16, float>(arguments, layout, stream)
                    : pack<__nv_bfloat16, __nv_bfloat16>(arguments, layout, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace lucid::cuda
