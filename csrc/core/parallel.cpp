// How many threads, and what each of them runs.
#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "core/cpu_count.h"
#include "core/host.h"
#include "core/openmp_runtimes.h"
#include "core/status.h"
#include "core/team.h"
#include "core/worker_threads.h"

namespace lucid {
namespace {

using Clock = std::chrono::steady_clock;

// A look at the mask costs 0.3 us, a look at the clock a tenth of it.
constexpr auto kMaskLife = std::chrono::microseconds(100);

// Longer than the threads of a step are apart when all run, far shorter than the milliseconds for which the system
// gives a processor to somebody else.
constexpr Patience kPatience{50};

// What it takes to start a thread of an OpenMP runtime anew. With it, work that pays for the end of their waiting grows
// with the square of the threads: each has a part of the work, and all are started.
constexpr Patience kThreadStart{50};

std::atomic<int> chosen_threads{0};  // 0: not set, use the default

// Threads that the system could not give. They are forgotten after a second.
std::atomic<int> shortage{0};
std::atomic<Clock::rep> shortage_end{0};

struct Processors {
  CpuSet mask;
  int available = 1;
  Clock::time_point until{};
};

// Those of the calling thread.
const Processors& processors(bool anew) {
  thread_local Processors found;
  const Clock::time_point now = Clock::now();
  if (anew || now >= found.until) {
    found.mask = CpuSet::of_this_thread();
    found.available = available_cpus(found.mask);
    found.until = now + kMaskLife;
  }
  return found;
}

int least_limit(int threads) {
  threads = std::min(threads, thread_limit());
  const int limit = shortage.load(std::memory_order_relaxed);
  if (limit == 0) return threads;
  if (Clock::now().time_since_epoch().count() < shortage_end.load(std::memory_order_relaxed))
    return std::min(threads, limit);
  shortage.store(0, std::memory_order_relaxed);
  return threads;
}

int count_threads(bool anew) {
  const int chosen = chosen_threads.load(std::memory_order_relaxed);
  return least_limit(chosen > 0 ? chosen : default_thread_count(processors(anew).available));
}

struct Region {
  TeamBody body;
  const void* context;
  uint64_t mode;
  Patience patience;
  Barrier barrier{};
};

// A thread that rounds otherwise, or flushes denormals, would make results depend on who computed them.
void run_member(void* argument, int id, int size) {
  Region& region = *static_cast<Region*>(argument);
  const uint64_t own = float_mode();
  if (own != region.mode) set_float_mode(region.mode);
  region.body(region.context, Team(id, size, &region.barrier, region.patience));
  if (own != region.mode) set_float_mode(own);
}

// Where workers may run: everywhere where the caller may, but not where it runs now. On a busy machine the system wakes
// a thread on the processor of who wakes it, for which it then waits.
CpuSet beside(const Processors& now, int threads) {
  const Binding& binding = binding_at_load();
  CpuSet cpus = binding.exists && now.mask == binding.place ? binding.whole : now.mask;
  if (threads <= cpus.count()) cpus.remove_current_cpu();
  return cpus;
}

void run_region(int threads, TeamBody body, const void* context, bool simultaneously, Patience work) {
  if (threads <= 1) return body(context, Team(0, 1, nullptr, Patience::zero()));
  const Processors& now = processors(false);
  // With more threads than processors, one that waits awake keeps another from running.
  const Patience patience = threads <= now.available ? kPatience : Patience::zero();
  const CpuSet cpus = beside(now, threads);
  Region region{body, context, float_mode(), patience};
  run_team(threads, {run_member, &region, patience, &cpus, simultaneously, work});
}

// On the host's threads, of which nothing is known but that each index is called once.
void run_on_host(const Host& host, int tasks, TeamBody body, const void* context) {
  if (tasks <= 1) return body(context, Team(0, 1, nullptr, Patience::zero()));
  struct Tasks {
    Region region;
    int count;
  } all{{body, context, float_mode(), Patience::zero()}, tasks};
  const auto run = [](void* data, int64_t index) {
    auto& [region, count] = *static_cast<Tasks*>(data);
    run_member(&region, static_cast<int>(index), count);
  };
  host.parallel_for(host.data, tasks, run, &all);
}

struct Split {
  Share share;
  const void* context;
  int64_t tasks;
};

}  // namespace

int num_threads() {
  const Host& host = current_host();
  if (host.threads == 0) return count_threads(false);
  return host.parallel_for != nullptr || host.threads == 1 ? host.threads
                                                           : std::min(host.threads, count_threads(false));
}

void note_shortage(int threads) {
  shortage_end.store((Clock::now() + std::chrono::seconds(1)).time_since_epoch().count(), std::memory_order_relaxed);
  shortage.store(threads, std::memory_order_relaxed);
}

void parallel_team(int threads, Patience work, TeamBody body, const void* context) {
  if (threads > 1 && work >= kThreadStart * threads * threads) rest_openmp_runtimes();
  run_region(threads, body, context, true, work);
}

void parallel_parts(int parts, TeamBody body, const void* context) {
  const Host& host = current_host();
  if (host.parallel_for != nullptr) return run_on_host(host, parts, body, context);
  run_region(parts, body, context, false, Patience::zero());
}

void parallel_for(int64_t tasks, int64_t grain, Share share, const void* context) {
  if (tasks <= 0) return;
  const int64_t shares = (tasks + grain - 1) / std::max<int64_t>(grain, 1);
  if (shares <= 1) return share(context, 0, tasks, 0);
  const Split split{share, context, tasks};
  parallel_parts(
      static_cast<int>(std::min<int64_t>(num_threads(), shares)),
      [](const void* argument, const Team& team) {
        // Split by the team that arrived, not by the one asked for: it may be smaller.
        const Split& split = *static_cast<const Split*>(argument);
        const int64_t begin = team.begin(split.tasks), end = team.end(split.tasks);
        if (begin < end) split.share(split.context, begin, end, team.id());
      },
      &split);
}

}  // namespace lucid

extern "C" int32_t lucid_num_threads(void) { return lucid::count_threads(true); }

extern "C" lucid_status lucid_set_num_threads(int32_t threads) {
  if (threads < 1 || threads > lucid::kMostThreads)
    return lucid::fail(LUCID_INVALID_ARGUMENT, "set_num_threads: threads must be between 1 and %d, got %d",
                       lucid::kMostThreads, threads);
  lucid::chosen_threads = threads;
  return lucid::ok();
}
