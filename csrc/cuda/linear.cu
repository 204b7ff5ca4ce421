// Linear layer: y[n][o] = bias[o] + sum over i of x[n][i] * weight[o][i], with both operands as they lie; then a ReLU.
//
// Bound by reading the weights when there are few rows, as the classifiers of these networks have them, and by L1 when
// there are many. A warp computes a tile of rows by outputs: every lane multiplies its vectors of the inputs, and the
// lanes' sums meet in a tree. Each result adds its products in one order, whatever tile it is in, so that it does not
// depend on the batch.
//
// Of elements of 16 bits a block of tensor cores has 32 rows by 16 outputs, for any number of rows: 2048 inputs of 32
// rows are 8 loads of the cache for each of 63 blocks of a classifier, where tiles of 8 x 4 load three times as much.
// Its warps divide the inputs, in a way that the number of inputs decides, and their sums meet in shared memory.
#include "cuda/conv2d_elements.h"
#include "cuda/conv2d_launch.h"
#include "cuda/elements.h"
#include "cuda/kernels.h"
#include "cuda/warp_matrix.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;

struct Tiles {
  uint32_t row_blocks, output_blocks, count;  // output blocks of a group; row blocks are numbered first
};

// The sum over all lanes of values[i], i being the lane's number divided by 32 / kCount. While a lane holds several, a
// step gives half of them away; a sum's tree is the same for any kCount.
template <int kCount, int kOffset = 16, int kSize>
__device__ __forceinline__ float sum_over_lanes(float (&values)[kSize], int lane) {
  if constexpr (kOffset == 0) {
    return values[0];
  } else {
    constexpr int kKept = kCount > 1 ? kCount / 2 : 1, kOthers = kCount / 2;
    const bool upper = (lane & kOffset) != 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const float kept = upper ? values[i + kOthers] : values[i], given = upper ? values[i] : values[i + kOthers];
      values[i] = kept + __shfl_xor_sync(0xffffffffu, given, kOffset);
    }
    return sum_over_lanes<kKept, kOffset / 2>(values, lane);
  }
}

// Rows and outputs that do not exist are the last ones once more.
template <int kRows, int kOutputs, class Access>
__global__ void __launch_bounds__(kThreads) dot_tiles(Linear p, Tiles tiles, Access access) {
  constexpr int kWidth = Access::kWidth, kCount = kRows * kOutputs;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t tile = blockIdx.x * kWarps + threadIdx.x / 32;
  if (tile >= tiles.count) return;
  const uint32_t block = tile / tiles.row_blocks, group = block / tiles.output_blocks;
  const int64_t row = static_cast<int64_t>(tile % tiles.row_blocks) * kRows;
  const int64_t first = static_cast<int64_t>(block % tiles.output_blocks) * kOutputs;
  const int rows_left = static_cast<int>(p.rows - row < kRows ? p.rows - row : kRows);
  const int outputs_left = static_cast<int>(p.outputs - first < kOutputs ? p.outputs - first : kOutputs);
  const int64_t x_step = p.groups * p.in, output = group * p.outputs + first;
  const int64_t x = (row * p.groups + group) * p.in, weight = output * p.in;
  float sums[kCount] = {};
#pragma unroll(kCount > 4 ? 1 : 4)
  for (int64_t k = lane * kWidth; k < p.in; k += 32 * kWidth) {
    float weights[kOutputs][kWidth];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o)
      access.load(p.weight, weight + (o < outputs_left ? o : outputs_left - 1) * p.in + k, weights[o]);
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      float values[kWidth];
      access.load(p.x, x + (n < rows_left ? n : rows_left - 1) * x_step + k, values);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o)
#pragma unroll
        for (int v = 0; v < kWidth; ++v)
          sums[n * kOutputs + o] = fmaf(values[v], weights[o][v], sums[n * kOutputs + o]);
    }
  }
  const float sum = sum_over_lanes<kCount>(sums, lane);
  const int result = lane / (32 / kCount), n = result / kOutputs, o = result % kOutputs;
  if (lane % (32 / kCount) != 0 || n >= rows_left || o >= outputs_left) return;
  const float value = sum + (p.bias != nullptr ? p.bias[output + o] : 0.0f);
  const float y[1] = {p.relu ? rectified(value) : value};
  OneElement{p.dtype}.store(p.y, (row + n) * p.groups * p.outputs + output + o, y);
}

template <int kRows, int kOutputs, class Access>
Error launch_tiles(const Linear& p, Stream stream, Access access) {
  const int64_t row_blocks = blocks_of(p.rows, kRows), output_blocks = blocks_of(p.outputs, kOutputs);
  const int64_t count = row_blocks * output_blocks * p.groups;
  if (count > INT32_MAX) return cudaErrorInvalidValue;
  const Tiles tiles{static_cast<uint32_t>(row_blocks), static_cast<uint32_t>(output_blocks),
                    static_cast<uint32_t>(count)};
  return launch_blocks(dot_tiles<kRows, kOutputs, Access>, blocks_of(count, kWarps), kThreads, 0, stream, p, tiles,
                       access);
}

// ---- tensor cores

constexpr int kBlockRows = 32, kBlockOutputs = 16, kChunk = 32, kMostWarps = 8, kSums = kBlockRows * kBlockOutputs;

// Eight terms of a row, which in a product are columns 2 * t, 2 * t + 1 and 8 more of two steps: any order of the terms
// serves, if both operands have it.
__device__ __forceinline__ void load_terms(uint32_t (&terms)[4], const void* base, int64_t at, bool exist) {
  const uint4 v = exist ? *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(base) + at) : uint4{};
  terms[0] = v.x, terms[1] = v.y, terms[2] = v.z, terms[3] = v.w;
}

// Rows and outputs that do not exist are the last ones once more.
template <class T>
__device__ __forceinline__ void add_products(const Linear& p, int64_t row, int64_t x_step, int64_t rows_left,
                                             int64_t output, int64_t outputs_left,
                                             float (&sums)[kBlockRows / 16][kBlockOutputs / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, place = lane / 4;
  int64_t x[kBlockRows / 8], weight[kBlockOutputs / 8];
#pragma unroll
  for (int i = 0; i < kBlockRows / 8; ++i)
    x[i] = row + (i * 8 + place < rows_left ? i * 8 + place : rows_left - 1) * x_step;
#pragma unroll
  for (int i = 0; i < kBlockOutputs / 8; ++i)
    weight[i] = (output + (i * 8 + place < outputs_left ? i * 8 + place : outputs_left - 1)) * p.in;
  for (int64_t first = threadIdx.x / 32 * kChunk; first < p.in; first += blockDim.x) {
    const int64_t k = first + lane % 4 * 8;
    uint32_t left[kBlockRows / 8][4], right[kBlockOutputs / 8][4];
#pragma unroll
    for (int i = 0; i < kBlockRows / 8; ++i) load_terms(left[i], p.x, x[i] + k, k < p.in);
#pragma unroll
    for (int i = 0; i < kBlockOutputs / 8; ++i) load_terms(right[i], p.weight, weight[i] + k, k < p.in);
#pragma unroll
    for (int step = 0; step < 4; step += 2)
#pragma unroll
      for (int m = 0; m < kBlockRows / 16; ++m) {
        const uint32_t a[4] = {left[2 * m][step], left[2 * m + 1][step], left[2 * m][step + 1],
                               left[2 * m + 1][step + 1]};
#pragma unroll
        for (int n = 0; n < kBlockOutputs / 8; ++n) {
          const uint32_t b[2] = {right[n][step], right[n][step + 1]};
          multiply_matrices<T>(sums[m][n], a, b);
        }
      }
  }
}

template <class T>
__global__ void __launch_bounds__(kMostWarps * 32) linear_tensor(Linear p, Tiles tiles) {
  if constexpr (kHasTensorCores<T>) {
    LUCID_SHARED(float, parts, [kMostWarps * kSums]);
    const uint32_t block = blockIdx.x / tiles.row_blocks, group = block / tiles.output_blocks;
    const int64_t row = static_cast<int64_t>(blockIdx.x % tiles.row_blocks) * kBlockRows;
    const int64_t first = static_cast<int64_t>(block % tiles.output_blocks) * kBlockOutputs;
    const int64_t x_step = p.groups * p.in, output = group * p.outputs + first;
    float sums[kBlockRows / 16][kBlockOutputs / 8][4] = {};
    add_products<T>(p, (row * p.groups + group) * p.in, x_step, p.rows - row, output, p.outputs - first, sums);
    float* own = parts + threadIdx.x / 32 * kSums + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kSums / 32; ++i) own[i * 32] = sums[i / 8][i / 4 % 2][i % 4];
    __syncthreads();
    for (int i = threadIdx.x; i < kSums; i += blockDim.x) {
      const int lane = i % 32, n = i / 256 * 16 + i / 64 % 2 * 8 + lane / 4;
      const int o = i / 128 % 2 * 8 + lane % 4 * 2 + i / 32 % 2;
      if (row + n >= p.rows || first + o >= p.outputs) continue;
      float sum = 0.0f;
      for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) sum += parts[warp * kSums + i];
      if (p.bias != nullptr) sum += p.bias[output + o];
      static_cast<T*>(p.y)[(row + n) * p.groups * p.outputs + output + o] =
          from_float<T>(p.relu ? rectified(sum) : sum);
    }
  }
}

template <class T>
Error launch_tensor(const Linear& p, Stream stream) {
  const int64_t row_blocks = blocks_of(p.rows, kBlockRows), output_blocks = blocks_of(p.outputs, kBlockOutputs);
  const int64_t count = row_blocks * output_blocks * p.groups, chunks = blocks_of(p.in, kChunk);
  if (count > INT32_MAX) return cudaErrorInvalidValue;
  const Tiles tiles{static_cast<uint32_t>(row_blocks), static_cast<uint32_t>(output_blocks),
                    static_cast<uint32_t>(count)};
  const int64_t warps = chunks < 1 ? 1 : chunks < kMostWarps ? chunks : kMostWarps;
  return launch_blocks(linear_tensor<T>, count, warps * 32, 0, stream, p, tiles);
}

}  // namespace

Error linear(const Linear& p, Stream stream) {
  if (p.dtype != Dtype::kFloat32 && has_tensor_cores(p.dtype) && p.in % width_of(p.dtype) == 0 &&
      are_aligned({p.x, p.weight}))
    return p.dtype == Dtype::kFloat16 ? launch_tensor<__half>(p, stream) : launch_tensor<__nv_bfloat16>(p, stream);
  return with_access(p.dtype, p.in, {p.x, p.weight}, [&](auto access) {
    // Few rows: more warps, to keep more loads of weights under way.
    return p.rows <= 4 ? launch_tiles<4, 1>(p, stream, access) : launch_tiles<8, 4>(p, stream, access);
  });
}

}  // namespace lucid::cuda
