// How many processors this process may use.
#pragma once

#include "core/affinity.h"

namespace lucid {

// min(processors in a thread's mask, cgroup CPU quota rounded up), at least 1; the quota is read once.
// A container with a quota of 4 CPUs on a 64-core host shows 64 processors, and 64 threads on 4 CPUs run many times
// slower than 4.
int available_cpus(const CpuSet& mask);

// At most OMP_NUM_THREADS of them.
int default_thread_count(int cpus);

}  // namespace lucid
