#include "core/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "core/cpu_count.h"
#include "core/status.h"

namespace lucid {
namespace {

std::atomic<int> chosen_threads{0};  // 0: not set, use the default
std::atomic<bool> in_forked_child{false};

// libgomp's worker threads do not exist in a forked child, but its pool believes they do: the next parallel region
// would wait for them for ever.
const int fork_handler = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });

}  // namespace

int num_threads() {
  if (in_forked_child.load(std::memory_order_relaxed)) return 1;
  const int threads = chosen_threads.load(std::memory_order_relaxed);
  return threads > 0 ? threads : default_thread_count();
}

void parallel_for(int64_t tasks, int64_t grain, Share share, const void* context) {
  const int64_t wanted = std::min<int64_t>(num_threads(), (tasks + grain - 1) / std::max<int64_t>(grain, 1));
  if (tasks <= 0) return;
  if (wanted <= 1) return share(context, 0, tasks, 0);
#pragma omp parallel num_threads(static_cast<int>(wanted))
  {
    // Split by the team that arrived, not by the one asked for: OMP_THREAD_LIMIT and nesting make it smaller.
    const int64_t team = omp_get_num_threads(), id = omp_get_thread_num();
    const int64_t begin = tasks * id / team, end = tasks * (id + 1) / team;
    if (begin < end) share(context, begin, end, static_cast<int>(id));
  }
}

void Team::barrier() const {
  if (size_ == 1) return;
#pragma omp barrier
}

void parallel_team(void (*body)(const void* context, const Team& team), const void* context) {
  const int threads = num_threads();
  if (threads == 1) return body(context, Team(0, 1));
#pragma omp parallel num_threads(threads)
  body(context, Team(omp_get_thread_num(), omp_get_num_threads()));
}

}  // namespace lucid

extern "C" int32_t lucid_num_threads(void) { return lucid::num_threads(); }

extern "C" lucid_status lucid_set_num_threads(int32_t threads) {
  constexpr int32_t kMost = 1024;
  if (threads < 1 || threads > kMost)
    return lucid::fail(LUCID_INVALID_ARGUMENT, "set_num_threads: threads must be between 1 and %d, got %d", kMost,
                       threads);
  lucid::chosen_threads = threads;
  return lucid::ok();
}
