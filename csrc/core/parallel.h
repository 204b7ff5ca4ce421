// The one place that owns threads. A kernel sees only its share, a [begin, end) range of tasks.
#pragma once

#include <cstdint>

#include "core/wait.h"

namespace lucid {

// `thread` is below num_threads(): the index of this share's slice of a scratch buffer.
using Share = void (*)(const void* context, int64_t begin, int64_t end, int thread);

constexpr int kMostThreads = 1024;  // that somebody may ask for

// The tasks of a host that lends its threads. Else as many as set_num_threads() has chosen, or one for each processor
// that this thread may use now, but no more than the context of the call allows. A mask that is changed while the
// process runs counts within kMaskLife, and lucid_num_threads() looks anew.
int num_threads();

// The grain of tasks that move about `floats` floats each: a parallel region costs a microsecond, in which one thread
// moves some 25 KB; a thread should have more than twice that to do.
inline int64_t grain_of(int64_t floats) {
  constexpr int64_t kWorthAThread = 16384;
  return floats < kWorthAThread ? kWorthAThread / (floats > 0 ? floats : 1) : 1;
}

// Splits [0, tasks) into contiguous shares of at least `grain` tasks, at most one per thread, and waits for all of
// them. Runs on the calling thread alone where one share is enough, and inside another parallel region.
void parallel_for(int64_t tasks, int64_t grain, Share share, const void* context);

// The same for a callable: parallel_for(tasks, grain, [&](int64_t begin, int64_t end, int thread) { ... }).
template <class Body>
void parallel_for(int64_t tasks, int64_t grain, const Body& body) {
  parallel_for(
      tasks, grain,
      [](const void* context, int64_t begin, int64_t end, int thread) {
        (*static_cast<const Body*>(context))(begin, end, thread);
      },
      &body);
}

// A thread's place in a team that goes through several steps together.
class Team {
 public:
  Team(int id, int size, Barrier* barrier, Patience patience)
      : id_(id), size_(size), barrier_(barrier), patience_(patience) {}
  int id() const { return id_; }
  int size() const { return size_; }
  // This thread's contiguous share of `tasks`.
  int64_t begin(int64_t tasks) const { return tasks * id_ / size_; }
  int64_t end(int64_t tasks) const { return tasks * (id_ + 1) / size_; }
  // Waits until all threads of the team are here.
  void barrier() const {
    if (size_ > 1) barrier_->wait(size_, patience_);
  }

 private:
  int id_, size_;
  Barrier* barrier_;
  Patience patience_;
};

using TeamBody = void (*)(const void* context, const Team& team);

// Runs `body` as each of `parts` members of a team, in any order and perhaps one after another: they must not meet at a
// barrier. On the host's threads, where it lends them.
void parallel_parts(int parts, TeamBody body, const void* context);

// Runs `body` once on each of at most `threads` threads, all at the same time. They compute in the caller's float mode.
// `work` is about how long one thread alone would take: the longer, the longer a late one is waited for.
void parallel_team(int threads, Patience work, TeamBody body, const void* context);

template <class Body>
void parallel_team(int threads, Patience work, const Body& body) {
  parallel_team(
      threads, work, [](const void* context, const Team& team) { (*static_cast<const Body*>(context))(team); }, &body);
}

template <class Body>
void parallel_parts(int parts, const Body& body) {
  parallel_parts(
      parts, [](const void* context, const Team& team) { (*static_cast<const Body*>(context))(team); }, &body);
}

}  // namespace lucid
