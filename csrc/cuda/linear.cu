// Linear layer: y[n][o] = bias[o] + sum over i of x[n][i] * weight[o][i], with both operands as they lie; then a ReLU.
//
// Bound by reading the weights when there are few rows, as the classifiers of these networks have them, and by L1 when
// there are many. A warp computes a tile of rows by outputs: every lane multiplies its vectors of the inputs, and the
// lanes' sums meet in a tree. Each result adds its products in one order, whatever tile it is in, so that it does not
// depend on the batch.
//
// Of float32 with many rows a block of 8 warps has 32 rows by 16 outputs: what it loads from the second cache is a
// third of what tiles of 8 x 4 do. A lane multiplies vectors of 8 rows by those of 8 outputs. Weights come from memory
// and pass through shared memory, four stages deep; rows, which the second cache has, go to registers a step ahead. The
// block has the partial sums of all lanes of a tile, and adds them in the same tree.
//
// Of elements of 16 bits a block of tensor cores has 32 rows by 16 outputs, for any number of rows: 2048 inputs of 32
// rows are 8 loads of the cache for each of 63 blocks of a classifier, where tiles of 8 x 4 load three times as much.
// Its warps divide the inputs, in a way that the number of inputs decides, and their sums meet in shared memory.
#include "cuda/cached_copy.h"
#include "cuda/conv2d_elements.h"
#include "cuda/conv2d_launch.h"
#include "cuda/divisor.h"
#include "cuda/elements.h"
#include "cuda/kernels.h"
#include "cuda/warp_matrix.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;

struct Tiles {
  Divisor row_blocks, output_blocks;  // output blocks of a group; row blocks are numbered first
  int count;
  int64_t x_step, y_step;  // from row to row
};

// The first row and output of a tile; `output` counts through all groups.
struct TilePlace {
  int64_t group, row, first, output;

  __device__ __forceinline__ TilePlace(const Linear& p, const Tiles& tiles, int rows, int outputs) {
    const int tile = static_cast<int>(blockIdx.x), block = tiles.row_blocks.quotient(tile),
              in_order = tiles.output_blocks.quotient(block);
    group = in_order;
    row = static_cast<int64_t>(tiles.row_blocks.remainder(tile, block)) * rows;
    first = static_cast<int64_t>(tiles.output_blocks.remainder(block, in_order)) * outputs;
    output = group * p.outputs + first;
  }
};

// Where kCount rows begin, `step` apart, the first at `from`, which exists; what does not is the last one that does.
template <int kCount>
__device__ __forceinline__ void find_rows(int64_t from, int64_t step, uint32_t count, int64_t (&at)[kCount]) {
  at[0] = from;
#pragma unroll
  for (int i = 1; i < kCount; ++i) at[i] = at[i - 1] + (static_cast<uint32_t>(i) < count ? step : 0);
}

// The sum over all lanes of values[i], i being the lane's number divided by 32 / kCount. While a lane holds several, a
// step gives half of them away; a sum's tree is the same for any kCount.
template <int kCount, int kOffset = 16, int kSize>
__device__ __forceinline__ float sum_over_lanes(float (&values)[kSize], uint32_t lane) {
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

// A block has kDown tiles of rows. Rows and outputs that do not exist are the last ones once more. The lanes' vectors
// are in such an order that the tree begins with four neighbours, which a warp of dot_blocks() has.
template <int kRows, int kOutputs, int kDown, class Access>
__global__ void __launch_bounds__(kThreads) dot_tiles(Linear p, Tiles tiles, Access access) {
  constexpr int kWidth = Access::kWidth, kCount = kRows * kOutputs, kAcross = kWarps / kDown;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const TilePlace block(p, tiles, kRows * kDown, kOutputs * kAcross);
  const int64_t row = block.row + warp % kDown * kRows, in_group = warp / kDown * kOutputs;
  if (row >= p.rows || block.first + in_group >= p.outputs) return;
  const int64_t output = block.output + in_group, left = p.outputs - block.first - in_group;
  const int rows_left = static_cast<int>(p.rows - row < kRows ? p.rows - row : kRows);
  const int outputs_left = static_cast<int>(left < kOutputs ? left : kOutputs);
  const uint32_t in = static_cast<uint32_t>(p.in), first = (lane % 8 * 4 + lane / 8) * kWidth;
  int64_t x[kRows], weight[kOutputs];
  find_rows(row * tiles.x_step + block.group * p.in + first, tiles.x_step, rows_left, x);
  find_rows(output * p.in + first, p.in, outputs_left, weight);
  float sums[kCount] = {};
#pragma unroll(kCount > 4 ? 1 : 4)
  for (uint32_t k = first; k < in; k += 32 * kWidth) {
    float weights[kOutputs][kWidth];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      access.load(p.weight, weight[o], weights[o]);
      weight[o] += 32 * kWidth;
    }
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      float values[kWidth];
      access.load(p.x, x[n], values);
      x[n] += 32 * kWidth;
#pragma unroll
      for (int o = 0; o < kOutputs; ++o)
#pragma unroll
        for (int v = 0; v < kWidth; ++v)
          sums[n * kOutputs + o] = fmaf(values[v], weights[o][v], sums[n * kOutputs + o]);
    }
  }
  const float sum = sum_over_lanes<kCount>(sums, lane);
  const int result = static_cast<int>(lane / (32 / kCount)), n = result / kOutputs, o = result % kOutputs;
  if (lane % (32 / kCount) != 0 || n >= rows_left || o >= outputs_left) return;
  const float value = sum + (p.bias != nullptr ? p.bias[output + o] : 0.0f);
  const float y[1] = {p.relu ? rectified(value) : value};
  OneElement{p.dtype}.store(p.y, (row + n) * tiles.y_step + output + o, y);
}

// Calls function(tiles) if they are not too many.
template <class Function>
Error with_tiles(const Linear& p, int64_t rows, int64_t outputs, Function function) {
  const int64_t row_blocks = blocks_of(p.rows, rows), output_blocks = blocks_of(p.outputs, outputs);
  const int64_t count = row_blocks * output_blocks * p.groups;
  if (count > INT32_MAX) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  return function(Tiles{Divisor(row_blocks), Divisor(output_blocks), static_cast<int>(count), p.groups * p.in,
                        p.groups * p.outputs});
}

template <int kRows, int kOutputs, int kDown, class Access>
Error launch_tiles(const Linear& p, Stream stream, Access access) {
  return with_tiles(p, kRows * kDown, kOutputs * kWarps / kDown, [&](const Tiles& tiles) {
    return launch_blocks(dot_tiles<kRows, kOutputs, kDown, Access>, tiles.count, kThreads, 0, stream, p, tiles, access);
  });
}

constexpr int kBlockRows = 32, kBlockOutputs = 16, kMostWarps = 8, kSums = kBlockRows * kBlockOutputs;

// ---- float32, many rows

// A step is 32 vectors of every row and output, of which a warp has four neighbours: lane 16 * c + 4 * v + r multiplies
// vector v of the rows r + 4 * n and the outputs c + 2 * o. Stages and steps of a round are as many, so that no address
// in shared memory is computed.
constexpr int kStep = 128, kStages = 4, kStage = kBlockOutputs * kStep, kBlockThreads = 32 * kMostWarps;
constexpr int kLaneRows = kBlockRows / 4, kLaneOutputs = kBlockOutputs / 2;

using LaneRows = float[kLaneRows][4];
using LaneSums = float[kLaneOutputs][kLaneRows];

// Where this lane's rows begin. Those that do not exist are others once more.
__device__ __forceinline__ void find_rows(const float* x, int64_t x_step, uint32_t rows,
                                          const float* (&from)[kLaneRows]) {
  const uint32_t lane = threadIdx.x % 32, r = lane % 4, vector = threadIdx.x / 32 * 4 + lane / 4 % 4;
  from[0] = x + (r < rows ? r : 0) * x_step + vector * 4;
  const int64_t bytes = 4 * x_step * sizeof(float);
#pragma unroll
  for (int n = 1; n < kLaneRows; ++n)
    from[n] =
        reinterpret_cast<const float*>(reinterpret_cast<const char*>(from[n - 1]) + (r + n * 4 < rows ? bytes : 0));
}

__device__ __forceinline__ void load_rows(const float* const (&from)[kLaneRows], int step, LaneRows& values) {
#pragma unroll
  for (int n = 0; n < kLaneRows; ++n) FourFloats{}.load(from[n], step * kStep, values[n]);
}

__device__ __forceinline__ void multiply_rows(const LaneRows& values, const float* weight, LaneSums& sums) {
#pragma unroll
  for (int o = 0; o < kLaneOutputs; ++o) {
    float weights[4];
    FourFloats{}.load(weight, o * 2 * kStep, weights);
#pragma unroll
    for (int n = 0; n < kLaneRows; ++n)
#pragma unroll
      for (int v = 0; v < 4; ++v) sums[o][n] = fmaf(values[n][v], weights[v], sums[o][n]);
  }
}

// Weights on their way to shared memory: a warp copies a step of an output, and of the eighth behind it.
struct WeightCopies {
  const float* from[2];
  float* to;

  template <int kNumber>
  __device__ __forceinline__ void start(int left) const {
    constexpr int kFrom = kNumber * kStep * 4, kTo = kNumber % kStages * kStage * 4, kUpper = kMostWarps * kStep * 4;
    if (kNumber * kStep < left) {
      copy_cached<16, kTo, kFrom>(to, from[0], true);
      copy_cached<16, kTo + kUpper, kFrom>(to, from[1], true);
    }
    __pipeline_commit();
  }
};

// Multiplies a step of those that are left; returns whether there is a next, whose rows it loads.
template <int kNumber>
__device__ __forceinline__ bool add_step(const WeightCopies& copies, const float* const (&from)[kLaneRows], int left,
                                         const LaneRows& now, LaneRows& next, const float* weight, LaneSums& sums) {
  __pipeline_wait_prior(kStages - 2);
  __syncthreads();
  copies.start<kNumber + kStages - 1>(left);
  const bool more = (kNumber + 1) * kStep < left;
  if (more) load_rows(from, kNumber + 1, next);
  multiply_rows(now, weight + kNumber * kStage, sums);
  return more;
}

// Half of the block's results are added up at a time, in the memory of the stages: 32 parts of each, that of vector v
// and warp w where v * kParts + w * kSums / 2 says. kParts has 16 floats more than all warps, for lanes that store
// parts of two vectors together; the first part is not at 0, since nvcc cuts a vector that has no offset into its
// elements.
constexpr int kParts = kSums / 2 * kMostWarps + 16, kFirstPart = 32;
constexpr int kShared = kFirstPart + 3 * kParts + kSums / 2 * kMostWarps;
static_assert(kShared >= kStages * kStage);
__device__ __forceinline__ void store_sums(const LaneSums& sums, int half, float* parts) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, vector = lane / 4 % 4;
  float* const own = parts + vector * kParts + warp * (kSums / 2) + lane / 16 * 16 + lane % 4 * 4;
#pragma unroll
  for (int i = 0; i < kLaneOutputs; ++i) {
    const auto& from = sums[half * (kLaneOutputs / 2) + i / 2];
    const int n = i % 2 * 4;
    *reinterpret_cast<float4*>(own + i * 32) = make_float4(from[n], from[n + 1], from[n + 2], from[n + 3]);
  }
}

template <int kCount, int kSize>
__device__ __forceinline__ float sum_of(float (&values)[kSize]) {
  if constexpr (kCount == 1) {
    return values[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) values[i] += values[i + kCount / 2];
    return sum_of<kCount / 2>(values);
  }
}

// Of this thread's result: sum_over_lanes() adds 32 lanes in this order.
__device__ __forceinline__ float sum_of_parts(const float* parts) {
  float sums[32];
#pragma unroll
  for (int i = 0; i < 32; ++i) sums[i] = parts[i / kMostWarps * kParts + i % kMostWarps * (kSums / 2) + threadIdx.x];
  return sum_of<32>(sums);
}

// The number of inputs is a multiple of a step. Outputs that do not exist are the last once more.
__global__ void __launch_bounds__(kBlockThreads, 1) dot_blocks(Linear p, Tiles tiles) {
  LUCID_SHARED(float, stages, [kShared]);
  const auto [group, row, first, output] = TilePlace(p, tiles, kBlockRows, kBlockOutputs);
  const auto rows = static_cast<uint32_t>(p.rows - row < kBlockRows ? p.rows - row : kBlockRows);
  const auto outputs = static_cast<uint32_t>(p.outputs - first < kBlockOutputs ? p.outputs - first : kBlockOutputs);
  const uint32_t thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const auto in = static_cast<int>(p.in);

  const uint32_t upper = warp + kMostWarps;
  const float* const weights = static_cast<const float*>(p.weight) + output * in + lane * 4;
  WeightCopies copies{{weights + (warp < outputs ? warp : outputs - 1) * int64_t{in},
                       weights + (upper < outputs ? upper : outputs - 1) * int64_t{in}},
                      stages + warp * kStep + lane * 4};
  copies.start<0>(in);
  copies.start<1>(in);
  copies.start<2>(in);

  const float* from[kLaneRows];
  find_rows(static_cast<const float*>(p.x) + row * tiles.x_step + group * in, tiles.x_step, rows, from);
  const float* const weight = stages + lane / 16 * kStep + warp * 16 + lane / 4 % 4 * 4;
  LaneRows even, odd;
  load_rows(from, 0, even);
  LaneSums sums = {};
  for (int left = in; left > 0; left -= kStages * kStep) {
    add_step<0>(copies, from, left, even, odd, weight, sums) &&
        add_step<1>(copies, from, left, odd, even, weight, sums) &&
        add_step<2>(copies, from, left, even, odd, weight, sums) &&
        add_step<3>(copies, from, left, odd, even, weight, sums);
    copies.from[0] += kStages * kStep, copies.from[1] += kStages * kStep;
#pragma unroll
    for (const float*& own : from) own += kStages * kStep;
  }
  __pipeline_wait_prior(0);

  const uint32_t n = thread / 32 % 2 * 16 + thread % 4 * 4 + thread / 4 % 4, o = thread / 64 * 2 + thread / 16 % 2;
  float* const y = static_cast<float*>(p.y) + (row + n) * tiles.y_step + output + o;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    __syncthreads();
    store_sums(sums, half, stages + kFirstPart);
    __syncthreads();
    const uint32_t place = half * (kBlockOutputs / 2);
    if (n < rows && o + place < outputs) {
      const float sum = sum_of_parts(stages + kFirstPart) + (p.bias != nullptr ? p.bias[output + o + place] : 0.0f);
      y[place] = p.relu ? rectified(sum) : sum;
    }
  }
}

// Tiles of 8 x 4 load three times as much from the second cache, by all multiprocessors: as long as fewer than a third
// of them have a block, tiles are faster.
bool serves_blocks(const Linear& p) {
  return p.dtype == Dtype::kFloat32 && p.rows > kBlockRows / 2 && p.in % kStep == 0 && p.in > 0 && p.in <= INT32_MAX &&
         are_aligned({p.x, p.weight}) &&
         3 * p.groups * blocks_of(p.rows, kBlockRows) * blocks_of(p.outputs, kBlockOutputs) >= multiprocessors();
}

Error launch_float_blocks(const Linear& p, Stream stream) {
  return with_tiles(p, kBlockRows, kBlockOutputs, [&](const Tiles& tiles) {
    return launch_blocks(dot_blocks, tiles.count, kBlockThreads, 0, stream, p, tiles);
  });
}

// ---- tensor cores

constexpr int kChunk = 32;

// Eight terms of a row, which in a product are columns 2 * t, 2 * t + 1 and 8 more of two steps: any order of the terms
// serves, if both operands have it.
__device__ __forceinline__ void load_terms(uint32_t (&terms)[4], const void* base, int64_t at, bool exist) {
  const uint4 v = exist ? *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(base) + at) : uint4{};
  terms[0] = v.x, terms[1] = v.y, terms[2] = v.z, terms[3] = v.w;
}

// `x` and `weight`: the block's first row and output. Those that do not exist are others once more.
template <class T>
__device__ __forceinline__ void add_products(const Linear& p, int64_t x, int64_t x_step, uint32_t rows, int64_t weight,
                                             uint32_t outputs, float (&sums)[kBlockRows / 16][kBlockOutputs / 8][4]) {
  const uint32_t place = threadIdx.x % 32 / 4, row = place < rows ? place : 0, output = place < outputs ? place : 0;
  const uint32_t in = static_cast<uint32_t>(p.in), first = threadIdx.x / 32 * kChunk + threadIdx.x % 4 * 8;
  int64_t x_at[kBlockRows / 8], weight_at[kBlockOutputs / 8];
  find_rows(x + row * x_step + first, 8 * x_step, (rows - place + 7) / 8, x_at);
  find_rows(weight + output * p.in + first, 8 * p.in, (outputs - place + 7) / 8, weight_at);
  for (uint32_t k = first; k - first % kChunk < in; k += blockDim.x) {
    uint32_t left[kBlockRows / 8][4], right[kBlockOutputs / 8][4];
#pragma unroll
    for (int i = 0; i < kBlockRows / 8; ++i) load_terms(left[i], p.x, x_at[i], k < in), x_at[i] += blockDim.x;
#pragma unroll
    for (int i = 0; i < kBlockOutputs / 8; ++i)
      load_terms(right[i], p.weight, weight_at[i], k < in), weight_at[i] += blockDim.x;
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
    const auto [group, row, first, output] = TilePlace(p, tiles, kBlockRows, kBlockOutputs);
    const auto rows = static_cast<uint32_t>(p.rows - row < kBlockRows ? p.rows - row : kBlockRows);
    const auto outputs = static_cast<uint32_t>(p.outputs - first < kBlockOutputs ? p.outputs - first : kBlockOutputs);
    float sums[kBlockRows / 16][kBlockOutputs / 8][4] = {};
    add_products<T>(p, row * tiles.x_step + group * p.in, tiles.x_step, rows, output * p.in, outputs, sums);
    float* own = parts + threadIdx.x / 32 * kSums + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kSums / 32; ++i) own[i * 32] = sums[i / 8][i / 4 % 2][i % 4];
    __syncthreads();
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x; i < kSums; i += blockDim.x) {
      const uint32_t n = i / 256 * 16 + i / 64 % 2 * 8 + lane / 4, o = i / 128 % 2 * 8 + lane % 4 * 2 + i / 32 % 2;
      if (n >= rows || o >= outputs) continue;
      float sum = 0.0f;
      for (uint32_t part = i; part < blockDim.x / 32 * kSums; part += kSums) sum += parts[part];
      if (p.bias != nullptr) sum += p.bias[output + o];
      static_cast<T*>(p.y)[(row + n) * tiles.y_step + output + o] = from_float<T>(p.relu ? rectified(sum) : sum);
    }
  }
}

template <class T>
Error launch_tensor(const Linear& p, Stream stream) {
  const int64_t chunks = blocks_of(p.in, kChunk), warps = chunks < 1 ? 1 : chunks < kMostWarps ? chunks : kMostWarps;
  return with_tiles(p, kBlockRows, kBlockOutputs, [&](const Tiles& tiles) {
    return launch_blocks(linear_tensor<T>, tiles.count, warps * 32, 0, stream, p, tiles);
  });
}

}  // namespace

Error linear(const Linear& p, Stream stream) {
  if (p.dtype != Dtype::kFloat32 && has_tensor_cores(p.dtype) && p.in % width_of(p.dtype) == 0 && p.in <= INT32_MAX &&
      are_aligned({p.x, p.weight}))
    return p.dtype == Dtype::kFloat16 ? launch_tensor<__half>(p, stream) : launch_tensor<__nv_bfloat16>(p, stream);
  if (serves_blocks(p)) return launch_float_blocks(p, stream);
  return with_access(p.dtype, p.in, {p.x, p.weight}, [&](auto access) {
    // Few rows: more warps, to keep more loads of weights under way.
    return p.rows <= 4 ? launch_tiles<4, 1, 1>(p, stream, access) : launch_tiles<8, 4, 2>(p, stream, access);
  });
}

}  // namespace lucid::cuda
