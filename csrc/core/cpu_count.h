// How many processors this process may use.
#pragma once

namespace lucid {

// min(processors in the affinity mask, cgroup CPU quota rounded up, OMP_NUM_THREADS), at least 1; read once.
// A container with a quota of 4 CPUs on a 64-core host shows 64 processors, and 64 threads on 4 CPUs run many times
// slower than 4.
int default_thread_count();

}  // namespace lucid
