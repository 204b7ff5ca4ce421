// Linear layer: y[n][o] = bias[o] + sum over i of x[n][i] * weight[o][i], with both operands as they lie; then a ReLU.
//
// Bound by reading the weights when there are few rows, as the classifiers of these networks have them, and by L1 when
// there are many. A warp computes a tile of rows by outputs: every lane multiplies its vectors of the inputs, and the
// lanes' sums meet in a tree. Each result adds its products in one order, whatever tile it is in, so that it does not
// depend on the batch. Tensor cores would pay from many rows on only, and add in another order.
#include "cuda/elements.h"
#include "cuda/kernels.h"

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

}  // namespace

Error linear(const Linear& p, Stream stream) {
  return with_access(p.dtype, p.in, {p.x, p.weight}, [&](auto access) {
    // Few rows: more warps, to keep more loads of weights under way.
    return p.rows <= 4 ? launch_tiles<4, 1>(p, stream, access) : launch_tiles<8, 4>(p, stream, access);
  });
}

}  // namespace lucid::cuda
