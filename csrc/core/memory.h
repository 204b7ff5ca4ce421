// Aligned memory from a cache of freed blocks; the owner of every scratch buffer and of Python's results.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lucid.h"

namespace lucid {

constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector

// Memory of the host, where the context of the call lends it, or of lucid_alloc(). It may outlive the call.
class Memory {
 public:
  explicit Memory(size_t bytes);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();
  void* data() const { return data_; }

 private:
  void *data_, *block_;  // aligned, and what was allocated
  void (*deallocate_)(void* host, void* memory);
  void* host_;
};

// A temporary array; data() is null when there was no memory.
template <class Element>
class Scratch {
 public:
  explicit Scratch(int64_t count) : memory_(static_cast<size_t>(count) * sizeof(Element)) {}
  Element* data() const { return static_cast<Element*>(memory_.data()); }

 private:
  Memory memory_;
};

}  // namespace lucid
