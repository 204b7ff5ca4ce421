// CUDA's keywords and vector types, for a C++ compiler.
#pragma once

#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // works, but LUCID_SHARED is checked as well
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define HOST_SIM_VECTORS(type, name, align2, align4) \
  struct alignas(align2) name##2 { type x, y; }; \
  struct name##3 { type x, y, z; }; \
  struct alignas(align4) name##4 { type x, y, z, w; }; \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; } \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
HOST_SIM_VECTORS(signed char, char, 2, 4)
HOST_SIM_VECTORS(unsigned char, uchar, 2, 4)
HOST_SIM_VECTORS(short, short, 4, 8)
HOST_SIM_VECTORS(unsigned short, ushort, 4, 8)
HOST_SIM_VECTORS(int, int, 8, 16)
HOST_SIM_VECTORS(unsigned, uint, 8, 16)
HOST_SIM_VECTORS(float, float, 8, 16)
HOST_SIM_VECTORS(long long, longlong, 16, 16)
HOST_SIM_VECTORS(unsigned long long, ulonglong, 16, 16)
HOST_SIM_VECTORS(double, double, 16, 16)
#undef HOST_SIM_VECTORS
