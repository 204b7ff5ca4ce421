// CUDA on a CPU, for tests: kernels compiled by a plain C++ compiler, and executed.
//
// Every CUDA thread of a block is a fiber, so barriers, shuffles and shared memory behave as on a device. What a device
// would silently get wrong ends with a message that names the thread and the line, or gives a result that is NaN or
// depends on the order of the threads:
//   * threads of a block at different barriers, or of a warp at different shuffles;
//   * accesses beyond device memory or a variable in shared memory (with AddressSanitizer);
//   * shared memory and device memory that nobody wrote: all NaN;
//   * races: between two barriers, threads, warps and blocks run in an order that a seed decides; ThreadSanitizer finds
//     them in any order, since a fiber is a thread to it and only meetings order two of them;
//   * a wait that is missing: work runs when something waits for it and no sooner, asynchronous copies too, and device
//     memory cannot be reached by the host;
//   * launches, captures and pointers that a device refuses.
// What it does not know: the order in which memory becomes visible without a barrier, PTX but for warp_matrix.h,
// caches, and how a device rounds in fused operations and fast functions.
#pragma once

#include <algorithm>

#include "cuda/host_sim/device_functions.h"
#include "cuda/host_sim/half.h"
#include "cuda/host_sim/runtime_api.h"
#include "cuda/host_sim/warp_matrix.h"
#include "cuda/host_sim/wmma.h"

using std::max;
using std::min;
