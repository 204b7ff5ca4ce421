// The most that the processor can do: fused multiply-adds from registers to registers, and a sum over memory.
//
// The chains are as many as the accumulators of the matrix product's tile, so the peak is one that its registers allow:
// 28 with AVX-512 and 12 with AVX2, more than the 4 cycles of latency times 2 instructions a cycle that hide it.
#include "blocking.h"
#include "cpu/kernels.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

// acc += acc * factor: both operands change, so that where a product and a sum are two instructions (generic) neither
// can leave the loop.
int64_t fma_peak(int64_t iterations, float factor, float* result) {
  constexpr int kChains = kTileRows * kTileVectors;
  F32 acc[kChains];
#pragma GCC unroll 32
  for (int i = 0; i < kChains; ++i) acc[i] = F32::broadcast(1.0f + static_cast<float>(i));
  const F32 b = F32::broadcast(factor);
  for (int64_t step = 0; step < iterations; ++step) {
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) accumulate(acc[i], acc[i], b);
  }
  F32 total = F32::zero();
#pragma GCC unroll 32
  for (int i = 0; i < kChains; ++i) total = total + acc[i];
  *result = sum(total);
  return iterations * kChains * F32::kLanes * 2;
}

float read_memory(const float* x, int64_t size) {
  constexpr int kChains = 8;
  F32 acc[kChains];
#pragma GCC unroll 8
  for (int i = 0; i < kChains; ++i) acc[i] = F32::zero();
  for (int64_t start = 0; start + kChains * F32::kLanes <= size; start += kChains * F32::kLanes) {
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) acc[i] = acc[i] + F32::load(x + start + i * F32::kLanes);
  }
  F32 total = F32::zero();
#pragma GCC unroll 8
  for (int i = 0; i < kChains; ++i) total = total + acc[i];
  return sum(total);
}

}  // namespace lucid::LUCID_ISA
