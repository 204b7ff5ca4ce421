// The derivative of a ReLU by what it gave.
#pragma once

#include "vec.h"

namespace lucid::LUCID_ISA {

// dy where y is positive or NaN, else 0, by the compiler's own vectors, as every F32 holds one.
inline F32 where_positive(F32 y, F32 dy) { return {y.v <= F32::zero().v ? F32::zero().v : dy.v}; }

inline float where_positive(float y, float dy) { return y <= 0.0f ? 0.0f : dy; }

}  // namespace lucid::LUCID_ISA
