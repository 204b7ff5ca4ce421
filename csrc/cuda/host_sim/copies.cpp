// Copies between host and devices, and memory of the host that devices can reach.
#include <cstdlib>
#include <cstring>
#include <map>

#include "cuda/host_sim/machine.h"
#include "cuda/host_sim/memory.h"
#include "cuda/host_sim/runtime_api.h"
#include "cuda/host_sim/streams.h"

using namespace host_sim;

namespace {

std::map<const void*, size_t>& pinned_blocks() {
  static std::map<const void*, size_t> blocks;
  return blocks;
}

bool is_pinned(const void* memory) {
  auto block = pinned_blocks().upper_bound(memory);
  if (block == pinned_blocks().begin()) return false;
  --block;
  return memory < static_cast<const char*>(block->first) + block->second;
}

bool is_pageable(const void* memory) { return !device_memory().owns(memory) && !is_pinned(memory); }

cudaError_t check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = device_memory().owns(to), from_device = device_memory().owns(from);
  const bool right = kind == cudaMemcpyDefault || (kind == cudaMemcpyHostToDevice && to_device && !from_device) ||
                     (kind == cudaMemcpyDeviceToHost && !to_device && from_device) ||
                     (kind == cudaMemcpyDeviceToDevice && to_device && from_device) ||
                     (kind == cudaMemcpyHostToHost && !to_device && !from_device);
  if (!right) return failed(cudaErrorInvalidValue, "the direction of a copy does not fit its pointers");
  if ((to_device && !device_memory().holds(to, bytes)) || (from_device && !device_memory().holds(from, bytes)))
    return failed(cudaErrorInvalidValue, "a copy goes beyond its allocation");
  return cudaSuccess;
}

Work copy_work(void* to, const void* from, size_t bytes) {
  return [=] {
    const DeviceAccess access;
    std::memcpy(to, from, bytes);
  };
}

}  // namespace

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  const std::lock_guard lock(mutex());
  *memory = std::malloc(bytes != 0 ? bytes : 1);
  pinned_blocks()[*memory] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  if (const cudaError_t error = cudaDeviceSynchronize()) return error;
  const std::lock_guard lock(mutex());
  pinned_blocks().erase(memory);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  return guarded([&] {
    if (const cudaError_t error = check_copy(to, from, bytes, kind)) return error;
    const bool captured = stream_of(stream)->capture != nullptr;
    if (captured && (is_pageable(to) || is_pageable(from))) {
      stream->capture->broken = true;
      return failed(cudaErrorStreamCaptureUnsupported, "a copy of pageable memory in a capture");
    }
    if (is_pageable(from)) {  // it may be reused at once
      const auto* begin = static_cast<const char*>(from);
      return submit(
          stream, [to, held = std::vector<char>(begin, begin + bytes)] { copy_work(to, held.data(), held.size())(); });
    }
    const cudaError_t error = submit(stream, copy_work(to, from, bytes));
    if (error == cudaSuccess && is_pageable(to)) run_before(stream);
    return error;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return guarded([&] {
    if (const cudaError_t error = refuse_while_capturing(false)) return error;
    if (const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr)) return error;
    run_before(nullptr);
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* memory, int byte, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  return guarded([&] {
    if (!device_memory().holds(memory, bytes)) return failed(cudaErrorInvalidValue, "a fill beyond its allocation");
    return submit(stream, [=] {
      const DeviceAccess access;
      std::memset(memory, byte, bytes);
    });
  });
}
