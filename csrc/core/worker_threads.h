// Who makes the workers' threads: worker_threads_openmp.cpp or worker_threads_pthreads.cpp, as LUCID_THREADS chooses.
#pragma once

namespace lucid {

// Starts threads that run body(first), body(first + 1), ... and never end; gives how many of the `count` there are.
int start_threads(int first, int count, void (*body)(int index));

// The most threads that may compute together, the caller included.
int thread_limit();

}  // namespace lucid
