#include "cuda/host_sim/machine.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cuda/host_sim/sanitizers.h"

namespace host_sim {

Machine machine;

namespace {

const char* name_of(Meeting meeting) {
  switch (meeting) {
    case Meeting::kBarrier: return "__syncthreads";
    case Meeting::kSyncWarp: return "__syncwarp";
    case Meeting::kShuffle: return "__shfl_sync";
    case Meeting::kVote: return "__ballot_sync";
    case Meeting::kMatrix: return "a product of matrices";
    case Meeting::kNone: break;
  }
  return "nothing";
}

HOST_SIM_UNSEEN void thread_main() {
  entered(machine.running->context);
  for (;;) {
    Thread& thread = *machine.running;
    take(&machine.start_token);
    try {
      (*machine.kernel)();
    } catch (const std::exception& fault) {
      if (machine.fault.empty()) machine.fault = fault.what();
    }
    if ((!thread.open_copies.empty() || !thread.committed_copies.empty()) && machine.fault.empty())
      machine.fault = "a thread ended with asynchronous copies that it never waited for";
    give(&machine.end_token);
    thread.state = State::kDone;
    thread.meeting = Meeting::kNone;
    switch_context(thread.context, machine.host);
  }
}

// What a thread gives on arrival. Two tokens by turns: a thread that runs ahead to the next meeting must not look
// ordered before one that has not left this one yet.
void* arrival_token(Thread& thread, Meeting meeting, unsigned mask) {
  if (meeting == Meeting::kBarrier) return &machine.barrier_token[thread.barriers++ & 1];
  if (mask == kWholeWarp) return &machine.warps[thread.warp].token[thread.whole_meetings++ & 1];
  return &thread.token[thread.partial_meetings & 1];
}

bool in_mask(unsigned mask, unsigned lane) { return (mask >> lane & 1) != 0; }

// Whether all lanes of the mask of a waiting thread wait with it. Sets the fault if they never can.
bool is_complete(const Thread& thread, unsigned first, unsigned lanes) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!in_mask(thread.mask, lane)) continue;
    if (lane >= lanes) {
      machine.fault = where(thread) + ": the mask names lane " + std::to_string(lane) + ", which a block of " +
                      std::to_string(machine.thread_count) + " threads does not have";
      return false;
    }
    const Thread& other = *machine.threads[first + lane];
    if (other.state == State::kDone) {
      machine.fault = where(thread) + ": the mask names a lane that has exited";
      return false;
    }
    if (other.state != State::kWaiting || other.meeting == Meeting::kBarrier) return false;
    if (other.meeting != thread.meeting || other.mask != thread.mask || other.site.line != thread.site.line) {
      if ((other.mask & thread.mask) != 0)
        machine.fault = "lanes of a warp meet in different places: " + where(thread) + ", " + where(other);
      return false;
    }
  }
  return true;
}

// A whole warp has one token; a part of it is ordered lane by lane.
void order_lanes(unsigned mask, unsigned first) {
  if (mask == kWholeWarp) return;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!in_mask(mask, lane)) continue;
    std::vector<void*>& before = machine.threads[first + lane]->orders_before;
    before.clear();
    for (unsigned other = 0; other < kWarp; ++other) {
      if (!in_mask(mask, other)) continue;
      Thread& thread = *machine.threads[first + other];
      before.push_back(&thread.token[thread.partial_meetings & 1]);
    }
  }
}

}  // namespace

void prepare_block(unsigned threads) {
  while (machine.threads.size() < threads) {
    auto thread = std::make_unique<Thread>();
    make_context(thread->context, thread_main);
    machine.threads.push_back(std::move(thread));
  }
  machine.warps.resize((threads + kWarp - 1) / kWarp);
}

void switch_to_thread(Thread& thread) {
  machine.running = &thread;
  switch_context(machine.host, thread.context);
  machine.running = nullptr;
}

void fail(const std::string& text) {
  if (machine.fault.empty()) machine.fault = text;
  throw Fault(text);
}

std::string where(const Thread& thread) {
  char text[300];
  std::snprintf(text, sizeof text, "thread (%u,%u,%u) at %s in %s:%d", thread.index.x, thread.index.y, thread.index.z,
                name_of(thread.meeting), thread.site.file != nullptr ? thread.site.file : "?",
                std::abs(thread.site.line));
  return text;
}

void meet(Meeting meeting, unsigned mask, const char* file, int line) {
  Thread* thread = machine.running;
  if (thread == nullptr) throw Fault("a device function was called outside a kernel");
  thread->meeting = meeting;
  thread->mask = mask;
  thread->site = {file, line};
  thread->state = State::kWaiting;
  void* token = arrival_token(*thread, meeting, mask);
  give(token);
  switch_context(thread->context, machine.host);
  if (meeting == Meeting::kBarrier || mask == kWholeWarp) {
    take(token);
  } else {
    ++thread->partial_meetings;
    for (void* before : thread->orders_before) take(before);
  }
  if (!machine.fault.empty()) throw Fault(machine.fault);
}

void release_warp(unsigned warp) {
  const unsigned first = warp * kWarp, lanes = std::min(kWarp, machine.thread_count - first);
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const Thread& thread = *machine.threads[first + lane];
    if (thread.state != State::kWaiting || thread.meeting == Meeting::kBarrier) continue;
    if (!in_mask(thread.mask, lane)) {
      machine.fault = where(thread) + ": its own lane is not in the mask";
      return;
    }
    const bool complete = is_complete(thread, first, lanes);
    if (!machine.fault.empty()) return;
    if (!complete) continue;
    order_lanes(thread.mask, first);
    for (unsigned other = 0; other < lanes; ++other)
      if (in_mask(thread.mask, other)) machine.threads[first + other]->state = State::kReady;
  }
}

}  // namespace host_sim
