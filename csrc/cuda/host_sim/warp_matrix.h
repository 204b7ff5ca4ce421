// What cuda/warp_matrix.h has in PTX: mma and ldmatrix, with elements where the PTX manual says.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/host_sim/device_functions.h"
#include "cuda/host_sim/wmma.h"

namespace host_sim {

// Element `part` of a register's pair, as the hardware reads it: of float, what TF32 has of its bits.
template <class T>
float element_of(uint32_t bits, int part) {
  if constexpr (sizeof(T) == 4) {
    return std::bit_cast<float>(bits & 0xffffe000u);
  } else {
    return std::bit_cast<T>(static_cast<uint16_t>(bits >> (16 * part)));
  }
}

template <class T>
void multiply_matrices(float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2], const char* file,
                       int line) {
  constexpr int kPair = 4 / sizeof(T), kTerms = 8 * kPair;
  Warp& warp = machine.warps[machine.running->warp];
  const int group = static_cast<int>(lane() / 4), place = static_cast<int>(lane() % 4);
  for (int part = 0; part < kPair; ++part) {
    for (int i = 0; i < 4; ++i)
      warp.matrix_a[(group + 8 * (i % 2)) * kTerms + kPair * (place + 4 * (i / 2)) + part] =
          element_of<T>(left[i], part);
    for (int i = 0; i < 2; ++i)
      warp.matrix_b[(kPair * (place + 4 * i) + part) * 8 + group] = element_of<T>(right[i], part);
  }
  meet(Meeting::kMatrix, kWholeWarp, file, line);
  for (int i = 0; i < 4; ++i) {
    const int row = group + 8 * (i / 2), column = 2 * place + i % 2;
    for (int k = 0; k < kTerms; ++k)
      sums[i] = std::fma(warp.matrix_a[row * kTerms + k], warp.matrix_b[k * 8 + column], sums[i]);
  }
  meet(Meeting::kMatrix, kWholeWarp, file, -line);
}

inline void load_matrices(uint32_t (&to)[4], const void* row, bool transposed, const char* file, int line) {
  Warp& warp = machine.warps[machine.running->warp];
  const auto* from = static_cast<const unsigned char*>(row);
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("ldmatrix: an address must be a multiple of 16 bytes");
  if (from < machine.shared || from >= machine.shared + machine.static_end)
    fail("ldmatrix: an address outside of shared memory");
  std::memcpy(warp.lane_value[lane()], &from, sizeof from);
  meet(Meeting::kMatrix, kWholeWarp, file, line);
  const unsigned group = lane() / 4, place = lane() % 4;
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned part = 0; part < 2; ++part) {
      const unsigned line_of = transposed ? 2 * place + part : group, column = transposed ? group : 2 * place + part;
      const unsigned char* begin = nullptr;
      std::memcpy(&begin, warp.lane_value[8 * i + line_of], sizeof begin);
      std::memcpy(reinterpret_cast<char*>(&to[i]) + 2 * part, begin + 2 * column, 2);
    }
  meet(Meeting::kMatrix, kWholeWarp, file, -line);
}

}  // namespace host_sim
