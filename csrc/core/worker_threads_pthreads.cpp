#include <pthread.h>

#include <climits>
#include <new>

#include "core/worker_threads.h"

namespace lucid {
namespace {

struct Start {
  void (*body)(int);
  int index;
};

void* run(void* argument) {
  const Start start = *static_cast<Start*>(argument);
  delete static_cast<Start*>(argument);
  start.body(start.index);
  return nullptr;
}

}  // namespace

int start_threads(int first, int count, void (*body)(int index)) {
  for (int started = 0; started < count; ++started) {
    Start* start = new (std::nothrow) Start{body, first + started};
    pthread_t thread;
    if (start == nullptr || pthread_create(&thread, nullptr, run, start) != 0) {
      delete start;
      return started;
    }
    pthread_detach(thread);
  }
  return count;
}

int thread_limit() { return INT_MAX; }

}  // namespace lucid
