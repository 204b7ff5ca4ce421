// Memory of devices, from a cache of freed blocks: allocating anew waits for the device and takes up to milliseconds.
#pragma once

#include <utility>

#include "cuda/plugin.h"

namespace lucid::cuda {

// At least `bytes` on `device`, whose contents `stream` may use at once. A block that was freed is taken again only by
// the stream that it was allocated for, in whose order its next owner comes behind the last. Where the device has no
// memory left, cached blocks go back to it first; LUCID_OUT_OF_MEMORY names the bytes.
lucid_status allocate(const char* op, int32_t device, size_t bytes, Stream stream, void** memory);
// Null is nothing. Work that was enqueued on the block's stream, or on one that note_use() named, may still use it.
void deallocate(void* memory);
void note_use(void* memory, Stream stream);

// The stream is about to be destroyed, and has nothing to do any more: its blocks go back or to the default stream.
void forget_stream(Stream stream);

// Bytes in blocks that are in use, and in those and the cached ones.
void memory_counters(int32_t device, int64_t* allocated, int64_t* reserved);
// Gives all cached blocks back.
void release_memory();

// A block that frees itself.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Memory() { deallocate(data_); }

  lucid_status allocate(const char* op, int32_t device, size_t bytes, Stream stream) {
    deallocate(std::exchange(data_, nullptr));
    return cuda::allocate(op, device, bytes, stream, &data_);
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace lucid::cuda
