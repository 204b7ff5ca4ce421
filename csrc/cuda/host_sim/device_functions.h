// What a kernel can call: where its thread is, meetings, shuffles, asynchronous copies and arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cuda/host_sim/machine.h"

#define threadIdx (::host_sim::machine.running->index)
#define blockIdx (::host_sim::machine.block_index)
#define blockDim (::host_sim::machine.block_size)
#define gridDim (::host_sim::machine.grid_size)
constexpr int warpSize = 32;
#define CUDART_INF_F (std::numeric_limits<float>::infinity())

#define __syncthreads() ::host_sim::meet(::host_sim::Meeting::kBarrier, 0, __FILE__, __LINE__)
// The caller's place: arguments by default are evaluated there.
#define HOST_SIM_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncwarp(unsigned mask = host_sim::kWholeWarp, HOST_SIM_PLACE) {
  host_sim::meet(host_sim::Meeting::kSyncWarp, mask, file, line);
}

namespace host_sim {

// Each lane hands in a value and, if `reads`, takes that of another. The second meeting keeps the values until all have
// read; its line is negative, to be told from the first.
template <class T>
T shuffle_value(T value, unsigned mask, unsigned source, bool reads, const char* file, int line) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(Warp::lane_value[0]));
  Thread* thread = machine.running;
  Warp& warp = machine.warps[thread->warp];
  std::memcpy(warp.lane_value[thread->lane], &value, sizeof value);
  meet(Meeting::kShuffle, mask, file, line);
  T found = value;
  if (reads) {
    if ((mask >> source & 1) == 0) fail(where(*thread) + ": reads a lane that is not in the mask");
    std::memcpy(&found, warp.lane_value[source], sizeof found);
  }
  meet(Meeting::kSyncWarp, mask, file, -line);
  return found;
}

inline unsigned vote(bool value, unsigned mask, const char* file, int line) {
  Thread* thread = machine.running;
  Warp& warp = machine.warps[thread->warp];
  warp.lane_value[thread->lane][0] = value;
  meet(Meeting::kVote, mask, file, line);
  unsigned found = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane)
    if ((mask >> lane & 1) != 0 && warp.lane_value[lane][0] != 0) found |= 1u << lane;
  meet(Meeting::kSyncWarp, mask, file, -line);
  return found;
}

inline unsigned lane() { return machine.running->lane; }

}  // namespace host_sim

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, HOST_SIM_PLACE) {
  const unsigned part = static_cast<unsigned>(width), first = host_sim::lane() & ~(part - 1);
  return host_sim::shuffle_value(value, mask, first + (static_cast<unsigned>(source) & (part - 1)), true, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, HOST_SIM_PLACE) {
  const unsigned part = static_cast<unsigned>(width), end = (host_sim::lane() & ~(part - 1)) + part;
  const unsigned source = host_sim::lane() ^ static_cast<unsigned>(bits);
  return host_sim::shuffle_value(value, mask, source & 31, source < end, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, HOST_SIM_PLACE) {
  const unsigned part = static_cast<unsigned>(width), in_part = host_sim::lane() & (part - 1);
  return host_sim::shuffle_value(value, mask, (host_sim::lane() + by) & 31, in_part + by < part, file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, HOST_SIM_PLACE) {
  const unsigned in_part = host_sim::lane() & (static_cast<unsigned>(width) - 1);
  return host_sim::shuffle_value(value, mask, (host_sim::lane() - by) & 31, in_part >= by, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int value, HOST_SIM_PLACE) {
  return host_sim::vote(value != 0, mask, file, line);
}
inline int __any_sync(unsigned mask, int value, HOST_SIM_PLACE) {
  return host_sim::vote(value != 0, mask, file, line) != 0;
}
inline int __all_sync(unsigned mask, int value, HOST_SIM_PLACE) {
  return host_sim::vote(value != 0, mask, file, line) == mask;
}

// One thread of the host runs them all: nothing is reordered, and nothing can come between.
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T, class V>
T atomicAdd(T* to, V value) {
  T before = __atomic_load_n(to, __ATOMIC_RELAXED);
  __atomic_store_n(to, static_cast<T>(before + static_cast<T>(value)), __ATOMIC_RELAXED);
  return before;
}
inline float atomicAdd(float* to, float value) {
  auto* bits = reinterpret_cast<uint32_t*>(to);
  const float before = std::bit_cast<float>(__atomic_load_n(bits, __ATOMIC_RELAXED));
  __atomic_store_n(bits, std::bit_cast<uint32_t>(before + value), __ATOMIC_RELAXED);
  return before;
}

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}

// Asynchronous copies (cuda_pipeline_primitives.h): until it is waited for, the target holds NaN.
inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zeros = 0) {
  if (bytes != 4 && bytes != 8 && bytes != 16) host_sim::fail("an asynchronous copy must be of 4, 8 or 16 bytes");
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes != 0)
    host_sim::fail("an asynchronous copy must be aligned to its size");
  std::memset(to, 0xff, bytes);
  std::memset(static_cast<char*>(to) + (bytes - zeros), 0, zeros);
  host_sim::machine.running->open_copies.push_back({to, from, bytes - zeros});
}
inline void __pipeline_commit() {
  host_sim::Thread& thread = *host_sim::machine.running;
  thread.committed_copies.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}
inline void __pipeline_wait_prior(size_t groups) {
  auto& committed = host_sim::machine.running->committed_copies;
  for (; committed.size() > groups; committed.pop_front())
    for (const host_sim::AsyncCopy& copy : committed.front()) std::memcpy(copy.to, copy.from, copy.bytes);
}

// Less exact on a GPU: tests leave room for that.
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
// Never fused with what is around it.
inline float __fadd_rn(float x, float y) {
  volatile float sum = x + y;
  return sum;
}
inline float __fmul_rn(float x, float y) {
  volatile float product = x * y;
  return product;
}

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
inline uint64_t __umul64hi(uint64_t x, uint64_t y) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(x) * y >> 64);
}
