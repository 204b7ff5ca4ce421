// The pool of worker threads: a call takes those that are free and lends them a part of its work.
#pragma once

#include "core/affinity.h"
#include "core/wait.h"

namespace lucid {

using Member = void (*)(void* region, int id, int size);

struct TeamCall {
  Member member;
  void* region;
  Patience patience;    // for which a thread waits awake; zero with more threads than processors
  const CpuSet* cpus;   // where the workers may run
  bool simultaneously;  // the members meet at barriers; else the caller computes the part of a worker that is late
  Patience work;        // about how long one thread would take, where that is known
};

// Runs member(region, id, size) for each id of a team of at most `threads`, of which the caller is the first, and waits
// for all of them.
void run_team(int threads, const TeamCall& call);

// Says that the system has given only `threads`; more are asked for again after a second.
void note_shortage(int threads);

}  // namespace lucid
