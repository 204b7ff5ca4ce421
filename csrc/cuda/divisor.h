// Division of integers by a number that the host knows, as a multiplication and a shift: a few instructions, where a
// division takes some thirty.
#pragma once

#include "cuda/cuda_compat.h"

namespace lucid::cuda {

// Of 0 <= n < 2^31 by 1 <= value < 2^31. With 2^shift >= value, multiplier + 2^32 is 2^(32 + shift) / value rounded up,
// and that is exact for such n.
struct Divisor {
  uint32_t value = 1, multiplier = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t divisor) : value(static_cast<uint32_t>(divisor)), shift(0) {
    while ((int64_t{1} << shift) < divisor) ++shift;
    const uint64_t above = (uint64_t{1} << shift) - value;
    multiplier = static_cast<uint32_t>((above << 32) / value + 1);
  }

  __device__ int quotient(int n) const {
    const uint32_t number = static_cast<uint32_t>(n);
    return static_cast<int>((__umulhi(number, multiplier) + number) >> shift);
  }
  __device__ int remainder(int n, int quotient) const { return n - quotient * static_cast<int>(value); }
};

}  // namespace lucid::cuda
