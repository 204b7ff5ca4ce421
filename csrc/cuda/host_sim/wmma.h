// Tensor cores: nvcuda::wmma for float16, bfloat16 and TF32 operands, with sums in float32.
//
// Which element of a matrix a lane holds is nobody's business but the hardware's. Here, element i of lane l is
// element l + 32 * i of the matrix in rows. Operands of 16 bits are held twice, as fragments of some GPUs are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/host_sim/device_functions.h"
#include "cuda/host_sim/half.h"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
}  // namespace precision

// 10 bits of mantissa, to the nearest, ties away from zero.
inline float __float_to_tf32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

template <class Use, int kM, int kN, int kK, class T, class Layout = void>
struct fragment {
  static constexpr bool kOperand = !std::is_same_v<Use, accumulator>;
  static constexpr int kRows = std::is_same_v<Use, matrix_b> ? kK : kM;
  static constexpr int kColumns = std::is_same_v<Use, matrix_a> ? kK : kN;
  static constexpr int kPerLane = kRows * kColumns / 32;
  using element_type = std::conditional_t<std::is_same_v<T, precision::tf32>, float, T>;
  static_assert(std::is_same_v<T, precision::tf32> ? kM == 16 && kN == 16 && kK == 8
                                                   : !kOperand || (kM * kN == 256 && kK == 16 && sizeof(T) == 2));
  static constexpr int num_elements = kPerLane * (kOperand && sizeof(element_type) == 2 ? 2 : 1);
  static constexpr int num_storage_elements = num_elements;
  element_type x[num_elements];

  static int place(int element) { return static_cast<int>(host_sim::lane()) + 32 * (element % kPerLane); }
  // Where an element is in memory.
  static size_t offset(int element, bool rows, unsigned step) {
    const auto row = static_cast<size_t>(place(element) / kColumns),
               column = static_cast<size_t>(place(element) % kColumns);
    return rows ? row * step + column : column * step + row;
  }
};

namespace detail {

template <class T>
void check_address(const T* memory, unsigned step) {
  if (reinterpret_cast<uintptr_t>(memory) % 32 != 0) host_sim::fail("wmma: an address must be a multiple of 32 bytes");
  if (step * sizeof(T) % 16 != 0) host_sim::fail("wmma: a row must take a multiple of 16 bytes");
}
inline void meet(const char* file, int line) {
  host_sim::meet(host_sim::Meeting::kMatrix, host_sim::kWholeWarp, file, line);
}
template <class Fragment, class T>
void load(Fragment& to, const T* from, unsigned step, bool rows, const char* file, int line) {
  check_address(from, step);
  meet(file, line);
  for (int i = 0; i < Fragment::num_elements; ++i) to.x[i] = from[Fragment::offset(i, rows, step)];
  meet(file, -line);
}
// What the hardware reads of an operand.
template <class T>
float operand(typename std::conditional_t<std::is_same_v<T, precision::tf32>, float, T> value) {
  if constexpr (std::is_same_v<T, precision::tf32>)
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xffffe000u);
  else
    return value;
}

}  // namespace detail

template <class Use, int kM, int kN, int kK, class T, class Layout, class Value>
void fill_fragment(fragment<Use, kM, kN, kK, T, Layout>& to, Value value) {
  for (auto& element : to.x) element = value;
}

template <class Use, int kM, int kN, int kK, class T, class Layout, class Memory>
void load_matrix_sync(fragment<Use, kM, kN, kK, T, Layout>& to, const Memory* from, unsigned step, HOST_SIM_PLACE) {
  detail::load(to, from, step, std::is_same_v<Layout, row_major>, file, line);
}
template <int kM, int kN, int kK, class T>
void load_matrix_sync(fragment<accumulator, kM, kN, kK, T>& to, const T* from, unsigned step, layout_t layout,
                      HOST_SIM_PLACE) {
  detail::load(to, from, step, layout == mem_row_major, file, line);
}

template <int kM, int kN, int kK, class T>
void store_matrix_sync(T* to, const fragment<accumulator, kM, kN, kK, T>& from, unsigned step, layout_t layout,
                       HOST_SIM_PLACE) {
  using Fragment = fragment<accumulator, kM, kN, kK, T>;
  detail::check_address(to, step);
  detail::meet(file, line);
  for (int i = 0; i < Fragment::num_elements; ++i) to[Fragment::offset(i, layout == mem_row_major, step)] = from.x[i];
  detail::meet(file, -line);
}

template <int kM, int kN, int kK, class Sum, class T, class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, kM, kN, kK, Sum>& d, const fragment<matrix_a, kM, kN, kK, T, LayoutA>& a,
              const fragment<matrix_b, kM, kN, kK, T, LayoutB>& b, const fragment<accumulator, kM, kN, kK, Sum>& c,
              HOST_SIM_PLACE) {
  using A = fragment<matrix_a, kM, kN, kK, T, LayoutA>;
  using B = fragment<matrix_b, kM, kN, kK, T, LayoutB>;
  using D = fragment<accumulator, kM, kN, kK, Sum>;
  host_sim::Warp& warp = host_sim::machine.warps[host_sim::machine.running->warp];
  for (int i = 0; i < A::kPerLane; ++i) warp.matrix_a[A::place(i)] = detail::operand<T>(a.x[i]);
  for (int i = 0; i < B::kPerLane; ++i) warp.matrix_b[B::place(i)] = detail::operand<T>(b.x[i]);
  detail::meet(file, line);
  float sums[D::num_elements];
  for (int i = 0; i < D::num_elements; ++i) sums[i] = c.x[i];
  for (int i = 0; i < D::num_elements; ++i) {
    const int row = D::place(i) / kN, column = D::place(i) % kN;
    for (int k = 0; k < kK; ++k)
      sums[i] = std::fma(warp.matrix_a[row * kK + k], warp.matrix_b[k * kN + column], sums[i]);
  }
  for (int i = 0; i < D::num_elements; ++i) d.x[i] = sums[i];
  detail::meet(file, -line);
}

}  // namespace nvcuda::wmma
