// How operands of a convolution that is a product of matrices come into shared memory.
//
// A tile has kThreads, kRows (pixels), kColumns (channels), kDepth (terms), and in shared memory kPixelStride elements
// from one pixel to the next and kWeightStride from one term's weights to the next.
#pragma once

#include <type_traits>

#include "cuda/cached_copy.h"
#include "cuda/conv2d_gemm.h"

namespace lucid::cuda {

// Neighbours that are copied together, zeros where they are outside. Copies of the same type and 4 bytes or more are
// asynchronous: they are there after __pipeline_wait_prior().
template <int kUnit, class T>
__device__ __forceinline__ void copy_async(T* to, const T* from, bool inside) {
  if (inside)
    __pipeline_memcpy_async(to, from, kUnit * sizeof(T));
  else
    *reinterpret_cast<Elements<T, kUnit>*>(to) = Elements<T, kUnit>{};
}

// Others are loaded even if outside, from the beginning of x, since loads behind branches would wait for each other.
// Fewer than a unit are loaded one by one.
template <int kUnit, int kLoaded, class T, class Shared>
__device__ __forceinline__ void copy_unit(Shared* to, const T* x, const T* from, bool inside) {
  constexpr int kBytes = kUnit * sizeof(T);
  if constexpr (std::is_same_v<T, Shared> && kLoaded == kUnit && kBytes >= 8) {
    copy_cached<kBytes>(to, from, inside);
  } else if constexpr (std::is_same_v<T, Shared> && kLoaded == kUnit && kBytes == 4) {
    copy_async<kUnit>(to, from, inside);
  } else {
    if (!inside) from = x;
    Elements<T, kUnit> loaded{};
    if constexpr (kLoaded == kUnit) {
      loaded = *reinterpret_cast<const Elements<T, kUnit>*>(from);
    } else {
#pragma unroll
      for (int i = 0; i < kLoaded; ++i) loaded.at[i] = from[i];
    }
    if constexpr (std::is_same_v<T, Shared> && kBytes % 4 == 0) {  // as words: fewer to choose between and to store
      Elements<uint32_t, kBytes / 4> words;
      memcpy(&words, &loaded, kBytes);
#pragma unroll
      for (uint32_t& word : words.at) word = inside ? word : 0;
      *reinterpret_cast<Elements<uint32_t, kBytes / 4>*>(to) = words;
    } else {
      Elements<Shared, kUnit> values;
#pragma unroll
      for (int i = 0; i < kUnit; ++i) values.at[i] = inside ? convert_to<Shared>(loaded.at[i]) : Shared(0.0f);
      *reinterpret_cast<Elements<Shared, kUnit>*>(to) = values;
    }
  }
}

// The terms of a thread, the same for all rows that it copies.
template <class Tile, int kUnit>
__device__ __forceinline__ int term_of_thread() {
  return threadIdx.x % (Tile::kDepth / kUnit) * kUnit;
}

// A pixel is half as many bytes as all banks have together, with a padding of 16. That puts pixels that are 4 apart
// into the two halves of the banks, and neighbours on top of each other: those of 8 are taken in the order 0 4 1 5 2 6
// 3 7. Not where terms come one by one, for which registers are scarce.
template <int kUnits, int kStep>
__device__ __forceinline__ int first_pixel(int i) {
  if constexpr (kUnits > 8 || kStep % 8 != 0) return i;
  return (i & ~7) | (i & 1) << 2 | (i >> 1 & 3);
}

template <class Tile, int kUnit, int kLoaded, class T, class Shared>
__device__ __forceinline__ void copy_pixels(const Conv2dShape& shape, const T* x, const Conv2dWindow* windows,
                                            const Conv2dTerm& term, Shared* pixels) {
  constexpr int kUnits = Tile::kDepth / kUnit, kStep = Tile::kThreads / kUnits;
  static_assert(Tile::kThreads % kUnits == 0);
  const int column = term_of_thread<Tile, kUnit>(), first = first_pixel<kUnits, kStep>(threadIdx.x / kUnits);
  const char* from = reinterpret_cast<const char*>(x + term.offset);
  Shared* const to = pixels + first * Tile::kPixelStride + column;
#pragma unroll
  for (int i = 0; i < (Tile::kRows + kStep - 1) / kStep; ++i) {
    const int row = first + i * kStep;
    if (Tile::kRows % kStep != 0 && row >= Tile::kRows) break;
    const Conv2dWindow window = windows[row];
    const bool inside =
        unsigned(window.h + term.h) < unsigned(shape.h) && unsigned(window.w + term.w) < unsigned(shape.w);
    copy_unit<kUnit, kLoaded>(to + i * kStep * Tile::kPixelStride, x, reinterpret_cast<const T*>(from + window.offset),
                              inside);
  }
}

// The channels of a thread, the same for all terms that it copies.
template <class Tile, int kVector>
__device__ __forceinline__ int column_of_thread() {
  return threadIdx.x % (Tile::kColumns / kVector) * kVector;
}
template <class Tile, int kVector>
__device__ __forceinline__ int first_weight_row() {
  return threadIdx.x / (Tile::kColumns / kVector);
}

// `from` is this thread's first vector, in the row first_weight_row().
template <class Tile, int kVector, class Weight>
__device__ __forceinline__ void copy_weights(const Weight* from, int64_t columns, bool inside, Weight* weights) {
  constexpr int kStep = Tile::kThreads / (Tile::kColumns / kVector);
  static_assert(Tile::kThreads % (Tile::kColumns / kVector) == 0);
  const int column = column_of_thread<Tile, kVector>(), first = first_weight_row<Tile, kVector>();
#pragma unroll
  for (int i = 0; i < (Tile::kDepth + kStep - 1) / kStep; ++i) {
    const int row = first + i * kStep;
    if (Tile::kDepth % kStep != 0 && row >= Tile::kDepth) break;
    copy_async<kVector>(weights + row * Tile::kWeightStride + column, from + i * kStep * columns, inside);
  }
}

}  // namespace lucid::cuda
