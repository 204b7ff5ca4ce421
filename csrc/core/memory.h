// Aligned memory from a cache of freed blocks; the owner of every scratch buffer and of Python's results.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lucid.h"

namespace lucid {

constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector

// A temporary array of floats; data() is null when there was no memory.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : data_(static_cast<float*>(lucid_alloc(static_cast<size_t>(floats) * sizeof(float)))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { lucid_free(data_); }
  float* data() const { return data_; }

 private:
  float* data_;
};

}  // namespace lucid
