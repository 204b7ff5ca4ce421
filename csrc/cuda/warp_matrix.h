// Products of matrices on tensor cores whose elements lie in registers where the PTX manual says (mma and ldmatrix;
// wmma leaves that open), so that sums go from registers to memory and operands come from wherever they are.
//
// A register of 32 bits holds kPair neighbours of a row of the left matrix, of a column of the right one: two of 16
// bits, or one of TF32. In lane l, with g = l / 4 and t = l % 4, are
//   left, 16 rows:     register i: row g + 8 * (i % 2), columns kPair * (t + 4 * (i / 2)) and the next
//   right, 8 columns:  register i: column g, rows kPair * (t + 4 * i) and the next
//   sums, 16 x 8:      register i: row g + 8 * (i / 2), column 2 * t + i % 2
// All lanes of a warp call these functions together.
#pragma once

#include "cuda/cuda_compat.h"

namespace lucid::cuda {

// To the nearest that TF32 has; devices without it are not asked.
__device__ __forceinline__ float round_to_tf32(float value) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  return nvcuda::wmma::__float_to_tf32(value);
#else
  return value;
#endif
}

#ifdef LUCID_CUDA_HOST

template <class T>
void multiply_matrices(float (&sums)[4], const uint32_t (&left)[4], const uint32_t (&right)[2], HOST_SIM_PLACE) {
  host_sim::multiply_matrices<T>(sums, left, right, file, line);
}
inline void load_matrices(uint32_t (&to)[4], const void* row, HOST_SIM_PLACE) {
  host_sim::load_matrices(to, row, false, file, line);
}
using SharedAddress = uintptr_t;
inline SharedAddress shared_address(const void* memory) { return reinterpret_cast<SharedAddress>(memory); }
inline void load_matrices(uint32_t (&to)[4], SharedAddress row, HOST_SIM_PLACE) {
  host_sim::load_matrices(to, reinterpret_cast<const void*>(row), false, file, line);
}
inline void load_transposed(uint32_t (&to)[4], const void* row, HOST_SIM_PLACE) {
  host_sim::load_matrices(to, row, true, file, line);
}

#else

// sums += left * right; of float, the products of 8 terms as TF32, else of 16 terms.
template <class T>
__device__ __forceinline__ void multiply_matrices(float (&sums)[4], const uint32_t (&left)[4],
                                                  const uint32_t (&right)[2]);

#define LUCID_MMA(type, text) \
  template <> \
  __device__ __forceinline__ void multiply_matrices<type>(float (&sums)[4], const uint32_t (&left)[4], \
                                                          const uint32_t (&right)[2]) { \
    asm volatile("mma.sync.aligned." text " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) \
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1])); \
  }
LUCID_MMA(__nv_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
LUCID_MMA(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
#if __CUDA_ARCH__ >= 800
LUCID_MMA(__half, "m16n8k16.row.col.f32.f16.f16.f32")
#else
// Turing multiplies 8 terms at a time.
template <>
__device__ __forceinline__ void multiply_matrices<__half>(float (&sums)[4], const uint32_t (&left)[4],
                                                          const uint32_t (&right)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[2 * half]), "r"(left[2 * half + 1]), "r"(right[half]));
}
#endif
#undef LUCID_MMA

// An address in shared memory, by which counting takes one instruction where a pointer takes three.
using SharedAddress = uint32_t;
__device__ __forceinline__ SharedAddress shared_address(const void* memory) {
  return SharedAddress(__cvta_generic_to_shared(memory));
}

// Four matrices of 8 rows of 16 bytes in shared memory: lane l says where row l % 8 of matrix l / 8 begins, at a
// multiple of 16 bytes, and gets the bytes 4 * t to 4 * t + 3 of row g of each.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  load_matrices(to, shared_address(row));
}
// The same, of which a lane gets column g of the rows 2 * t and 2 * t + 1, elements of 16 bits.
__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

#endif

}  // namespace lucid::cuda
