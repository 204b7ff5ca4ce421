// One loop body for whole vectors and for the channels left over. Both are the same vector instructions, so a channel's
// result does not depend on its place, as it would where a scalar tail rounds a product that the vector's FMA does not.
#pragma once

#include "vec.h"

namespace lucid::LUCID_ISA {

struct Whole {
  F32 load(const float* p) const { return F32::load(p); }
  void store(F32 a, float* p) const { a.store(p); }
};

struct Part {
  int64_t count;
  F32 load(const float* p) const { return F32::load(p, count); }
  void store(F32 a, float* p) const { a.store(p, count); }
};

// body(i, lanes) for i = 0, kLanes, 2 kLanes, ... < size.
template <class Body>
inline void for_each_vector(int64_t size, const Body& body) {
  int64_t i = 0;
  for (; i + F32::kLanes <= size; i += F32::kLanes) body(i, Whole{});
  if (i < size) body(i, Part{size - i});
}

}  // namespace lucid::LUCID_ISA
