// The 16-bit types, with the conversions that kernels use: to the nearest even, as the hardware rounds.
#pragma once

#include <bit>
#include <cstdint>

#include "cuda/host_sim/types.h"

namespace host_sim {

constexpr uint16_t kNan16 = 0x7fff;  // the only one that a conversion makes

inline uint16_t half_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return kNan16;
  if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // infinity from 65520 on
  if (size >= 0x38800000u) {                                              // normal
    uint32_t rounded = size - 0x38000000u;
    rounded += 0xfffu + (rounded >> 13 & 1);
    return static_cast<uint16_t>(sign | rounded >> 13);
  }
  if (size < 0x33000000u) return static_cast<uint16_t>(sign);  // below half of the least subnormal
  const uint32_t mantissa = (size & 0x7fffffu) | 0x800000u, shift = 126 - (size >> 23);
  const uint32_t rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
  uint32_t units = mantissa >> shift;
  if (rest > tie || (rest == tie && (units & 1) != 0)) ++units;
  return static_cast<uint16_t>(sign | units);
}

inline float float_of_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = half >> 10 & 31,
                 mantissa = half & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float size = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -size : size;
}

inline uint16_t bfloat16_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return kNan16;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

inline float float_of_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace host_sim

struct alignas(2) __half {
  uint16_t bits;
  __half() = default;
  __half(float value) : bits(host_sim::half_of(value)) {}
  operator float() const { return host_sim::float_of_half(bits); }
};
struct alignas(2) __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(host_sim::bfloat16_of(value)) {}
  operator float() const { return host_sim::float_of_bfloat16(bits); }
};
struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
using half = __half;

inline __half __float2half(float value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline float __half2float(__half value) { return value; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
inline __half __ushort_as_half(unsigned short bits) { return std::bit_cast<__half>(bits); }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }

inline __nv_bfloat16 __float2bfloat16(float value) { return value; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return value; }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return std::bit_cast<__nv_bfloat16>(bits); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
