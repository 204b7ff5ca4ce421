// The workers are the team of one OpenMP region that never ends, opened by a thread of its own: the calling thread, in
// which a program may use OpenMP for itself, has no part in it.
#include <omp.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/wait.h"
#include "core/worker_threads.h"

namespace lucid {
namespace {

// Lies on the starting thread's stack until `team` says how many have come.
struct Start {
  void (*body)(int);
  int first, count;
  std::atomic<uint32_t> team{0};
};

void* open_region(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  void (*const body)(int) = start.body;
  const int first = start.first, count = start.count;
  omp_set_dynamic(0);
#pragma omp parallel num_threads(count)
  {
    const int id = omp_get_thread_num(), team = omp_get_num_threads();
    if (id == 0) {
      start.team.store(static_cast<uint32_t>(team));
      wake_all(start.team);
    }
    body(first + id);
  }
  return nullptr;
}

void* wait_at_gate(void* argument) {
  const auto& closed = *static_cast<std::atomic<uint32_t>*>(argument);
  while (closed.load() != 0) sleep_while(closed, 1);
  return nullptr;
}

// Where no thread is to be had, libgomp ends the process. So they are asked for beforehand, all at once and one more
// than is needed; how many there were.
int probe_threads(int count) {
  std::atomic<uint32_t> closed{1};
  std::vector<pthread_t> threads;
  pthread_t thread;
  while (static_cast<int>(threads.size()) < count && pthread_create(&thread, nullptr, wait_at_gate, &closed) == 0)
    threads.push_back(thread);
  closed = 0;
  wake_all(closed);
  for (const pthread_t probe : threads) pthread_join(probe, nullptr);
  usleep(1000);  // until the system has stopped counting them
  return static_cast<int>(threads.size());
}

}  // namespace

int start_threads(int first, int count, void (*body)(int index)) {
  // The thread that opens the region is one of the team, and may fail to start.
  if (count > 1) count = std::max(1, std::min(count, probe_threads(count + 1) - 1));
  Start start{body, first, count};
  pthread_t thread;
  if (pthread_create(&thread, nullptr, open_region, &start) != 0) return 0;
  pthread_detach(thread);
  while (start.team.load() == 0) sleep_while(start.team, 0);
  return static_cast<int>(start.team.load());
}

int thread_limit() { return omp_get_max_active_levels() < 1 ? 1 : omp_get_thread_limit(); }

}  // namespace lucid
