// A block's tile of a matrix product: sum over k of a[m][k] * b[k][n], from slabs in shared memory into registers.
//
// Three kinds, one interface. FmaTile multiplies float32, 64 products for 16 floats that a thread loads. TensorTile
// gives 16 x 16 x 16 products of float16 or bfloat16 to the tensor cores. PlainTile does what TensorTile does where a
// device has none for bfloat16. Sums are float32, and their order is that of k.
#pragma once

#include <cstring>
#include <type_traits>

#include "cuda/cuda_compat.h"
#include "cuda/quad.h"

namespace lucid::cuda {

// Elements that are moved at once: 16 bytes.
template <class T>
inline constexpr int kChunk = 16 / static_cast<int>(sizeof(T));

// A tile of kM x kN, added up in slabs of kK, by kWarpsM x kWarpsN warps. kRowMajorA: a slab of A is [m][k] rather
// than [k][m]; that of B is [k][n]. The padding of the rows keeps the banks of shared memory apart.
template <class T_, int kM_, int kN_, int kK_, int kWarpsM_, int kWarpsN_, bool kRowMajorA_>
struct ProductShape {
  using T = T_;
  static constexpr int kM = kM_, kN = kN_, kK = kK_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_;
  static constexpr bool kRowMajorA = kRowMajorA_, kFloat = std::is_same_v<T, float>;
  static constexpr int kWarps = kWarpsM * kWarpsN, kThreads = 32 * kWarps;
  static constexpr int kBlocks = kThreads > 128 ? 512 / kThreads : 384 / kThreads;  // of an SM at once, for registers
  static constexpr int kRowA = (kRowMajorA ? kK : kM) + kChunk<T>, kRowB = kN + kChunk<T>;
  static constexpr int kSizeA = (kRowMajorA ? kM : kK) * kRowA, kSizeB = kK * kRowB;
  static constexpr int kWarpM = kM / kWarpsM, kWarpN = kN / kWarpsN;
  static_assert(kM % kWarpsM == 0 && kN % kWarpsN == 0 && kK % kChunk<T> == 0);
  static_assert(kFloat ? kThreads * 64 == kM * kN && !kRowMajorA
                       : kWarpM % 16 == 0 && kWarpN % 16 == 0 && kK % 16 == 0);
  static_assert((kSizeA + kSizeB) * sizeof(T) + kM * 16 + kWarps * 1280 <= 48 * 1024, "more than static shared memory");
};

// What is at `from`, or zeros for null.
template <class T>
__device__ uint4 load_chunk(const T* from) {
  return from == nullptr ? uint4{0, 0, 0, 0} : *reinterpret_cast<const uint4*>(from);
}
template <class T>
__device__ T load_element(const T* from) {
  return from == nullptr ? from_float<T>(0.0f) : *from;
}

template <class Shape>
class FmaTile {
 public:
  static constexpr int kStaging = 4;

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < 8; ++i) sum_[i][0] = sum_[i][1] = zero_quad();
  }

  __device__ void multiply(const float* a, const float* b) {
    const int m = 4 * (threadIdx.x / kColumns), n = 4 * (threadIdx.x % kColumns);
    // Not unrolled: other warps hide the loads, and 256 threads of more than 128 registers would be alone on an SM.
#pragma unroll 1
    for (int k = 0; k < Shape::kK; ++k) {
      float left[8];
      float4 right[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 quad = load_quad(a + k * Shape::kRowA + half * (Shape::kM / 2) + m);
        left[4 * half] = quad.x, left[4 * half + 1] = quad.y, left[4 * half + 2] = quad.z, left[4 * half + 3] = quad.w;
        right[half] = load_quad(b + k * Shape::kRowB + half * (Shape::kN / 2) + n);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        multiply_add(sum_[i][0], left[i], right[0]);
        multiply_add(sum_[i][1], left[i], right[1]);
      }
    }
  }

  // Calls emit(m, n, quad) for each four neighbours of a row that this thread holds.
  template <class Emit>
  __device__ void each_quad(float*, Emit emit) {
    const int m = 4 * (threadIdx.x / kColumns), n = 4 * (threadIdx.x % kColumns);
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        emit(i / 4 * (Shape::kM / 2) + m + i % 4, half * (Shape::kN / 2) + n, sum_[i][half]);
  }

 private:
  static constexpr int kColumns = Shape::kN / 8;  // of threads
  float4 sum_[8][2];
};

template <class Shape>
class TensorTile {
  using T = typename Shape::T;

 public:
  static constexpr int kStaging = Shape::kWarps * 16 * 20;

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) nvcuda::wmma::fill_fragment(sum_[i][j], 0.0f);
  }

  __device__ void multiply(const T* a, const T* b) {
    const int warp = threadIdx.x / 32;
    const int m = warp / Shape::kWarpsN * Shape::kWarpM, n = warp % Shape::kWarpsN * Shape::kWarpN;
#pragma unroll
    for (int k = 0; k < Shape::kK; k += 16) {
      Left left[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int row = m + 16 * i;
        const T* from = Shape::kRowMajorA ? a + row * Shape::kRowA + k : a + k * Shape::kRowA + row;
        nvcuda::wmma::load_matrix_sync(left[i], from, Shape::kRowA);
      }
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        Right right;
        nvcuda::wmma::load_matrix_sync(right, b + k * Shape::kRowB + n + 16 * j, Shape::kRowB);
#pragma unroll
        for (int i = 0; i < kRows; ++i) nvcuda::wmma::mma_sync(sum_[i][j], left[i], right, sum_[i][j]);
      }
    }
  }

  // Which lane holds what is not specified, so the sums go through shared memory, `staging`.
  template <class Emit>
  __device__ void each_quad(float* staging, Emit emit) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int m = warp / Shape::kWarpsN * Shape::kWarpM, n = warp % Shape::kWarpsN * Shape::kWarpN;
    float* own = staging + warp * 16 * 20;
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        nvcuda::wmma::store_matrix_sync(own, sum_[i][j], 20, nvcuda::wmma::mem_row_major);
        __syncwarp();
#pragma unroll
        for (int quad = lane; quad < 64; quad += 32)
          emit(m + 16 * i + quad / 4, n + 16 * j + quad % 4 * 4, load_quad(own + quad / 4 * 20 + quad % 4 * 4));
        __syncwarp();
      }
  }

 private:
  using Order = std::conditional_t<Shape::kRowMajorA, nvcuda::wmma::row_major, nvcuda::wmma::col_major>;
  using Left = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, Order>;
  using Right = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::row_major>;
  using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
  static constexpr int kRows = Shape::kWarpM / 16, kColumns = Shape::kWarpN / 16;
  Sum sum_[kRows][kColumns];
};

template <class Shape>
class PlainTile {
  using T = typename Shape::T;

 public:
  static constexpr int kStaging = 4;

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) sum_[i] = zero_quad();
  }

  __device__ void multiply(const T* a, const T* b) {
    for (int k = 0; k < Shape::kK; ++k)
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        const int row = m(i);
        const T left = Shape::kRowMajorA ? a[row * Shape::kRowA + k] : a[k * Shape::kRowA + row];
        multiply_add(sum_[i], to_float(left), load_quad(b + k * Shape::kRowB + n(i)));
      }
  }

  template <class Emit>
  __device__ void each_quad(float*, Emit emit) {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) emit(m(i), n(i), sum_[i]);
  }

 private:
  static constexpr int kQuadsOfRow = Shape::kN / 4, kQuads = Shape::kM * kQuadsOfRow / Shape::kThreads;
  static_assert(kQuads * Shape::kThreads == Shape::kM * kQuadsOfRow);
  __device__ int m(int i) const { return (static_cast<int>(threadIdx.x) + i * Shape::kThreads) / kQuadsOfRow; }
  __device__ int n(int i) const { return (static_cast<int>(threadIdx.x) + i * Shape::kThreads) % kQuadsOfRow * 4; }
  float4 sum_[kQuads];
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <class T>
inline constexpr bool kTensorCores = std::is_same_v<T, __half>;
#else
template <class T>
inline constexpr bool kTensorCores = !std::is_same_v<T, float>;
#endif

// Only a kernel may ask: which one it is depends on the device.
template <class Shape>
using ProductTile =
    std::conditional_t<Shape::kFloat, FmaTile<Shape>,
                       std::conditional_t<kTensorCores<typename Shape::T>, TensorTile<Shape>, PlainTile<Shape>>>;

}  // namespace lucid::cuda
