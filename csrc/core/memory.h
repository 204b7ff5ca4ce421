// Aligned memory from a cache of freed blocks; the owner of every scratch buffer and of Python's results.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lucid.h"

namespace lucid {

constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector

// A temporary array; data() is null when there was no memory.
template <class Element>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<Element*>(lucid_alloc(static_cast<size_t>(count) * sizeof(Element)))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { lucid_free(data_); }
  Element* data() const { return data_; }

 private:
  Element* data_;
};

}  // namespace lucid
