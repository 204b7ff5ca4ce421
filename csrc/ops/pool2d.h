// What pool2d and the pools of a plan share: the checks.
#pragma once

#include "cpu/kernels.h"
#include "lucid.h"

namespace lucid {

// Checks everything but y, and fills in the problem but for the memory. Reads no data.
lucid_status describe_pool2d(const lucid_pool2d_args& args, Pool2d* pool);

}  // namespace lucid
