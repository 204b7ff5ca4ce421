// A worker has one word that says what it does. Free workers have a bit each, and a call takes the lowest: so a worker
// finds the weights of its part in its cache again.
//
// On a busy machine the system may take 3 ms to give a woken worker a processor. A call does not wait for that: it
// takes its work back from workers that have not begun, or goes on with the team that has arrived. Two threads then are
// not slower than one, where libgomp's wait for each other.
#include "core/team.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <mutex>

#include "core/worker_threads.h"

namespace lucid {
namespace {

constexpr int kMostWorkers = 1023, kWordBits = 64, kWords = (kMostWorkers + kWordBits) / kWordBits;
constexpr uint32_t kAsleep = uint32_t{1} << 31;  // in `running`: the caller sleeps until the rest is zero

// An idle worker is awake a little longer than Python needs from one layer to the next.
constexpr int kIdlePatience = 4;

// Waking a worker on an idle processor takes up to 60 us in a virtual machine.
constexpr Patience kArrival{100}, kArrivalOfTheAwake{5};

// A team stays as it began: a plan of 400 ms whose worker came 0.2 ms late, behind threads of another library that were
// still waiting awake, took 860. So a late worker is waited for as long as is small beside the work.
constexpr int kWorkBesideArrival = 8;

// Lies on the caller's stack. It is gone as soon as `running` is zero.
struct Job {
  const TeamCall* call;
  int size;
  std::atomic<uint32_t> running;
  const uint32_t ticket;  // the state of a worker that it calls
  Signal go{};            // the team is complete
};

// A called worker's state is the ticket of the job: a caller that looks late must not take the call of another back.
constexpr uint32_t kIdle = 0, kSleeping = 1, kFirstTicket = 2;
std::atomic<uint32_t> tickets{0};

uint32_t new_ticket() { return kFirstTicket + tickets.fetch_add(1, std::memory_order_relaxed) % (UINT32_MAX / 2); }

bool is_ticket(uint32_t state) { return state >= kFirstTicket; }

struct alignas(64) Worker {
  std::atomic<uint32_t> state{kIdle};
  std::atomic<int> thread{0};  // of the system; 0 before it has begun
  int id = 0;                  // in the team of its job
  Job* job = nullptr;
  CpuSet cpus;
};

Worker workers[kMostWorkers];
std::atomic<uint64_t> free_workers[kWords];
std::atomic<int> started{0};
std::mutex starting;

thread_local bool in_region = false;

void set_free(int index) {
  free_workers[index / kWordBits].fetch_or(uint64_t{1} << index % kWordBits, std::memory_order_release);
}

// A forked child has none of the workers, and starts its own.
void forget_workers() {
  for (std::atomic<uint64_t>& word : free_workers) word = 0;
  for (Worker& worker : workers) {
    worker.state = kIdle;
    worker.thread = 0;
    worker.cpus = {};
  }
  started = 0;
  starting.unlock();
}

const int fork_handler = pthread_atfork([] { starting.lock(); }, [] { starting.unlock(); }, forget_workers);

void wait_for_call(Worker& worker, Patience patience) {
  const auto called = [&] { return is_ticket(worker.state.load(std::memory_order_acquire)); };
  if (spin_until(called, patience)) return;
  while (!called()) {
    uint32_t seen = kIdle;
    if (worker.state.compare_exchange_strong(seen, kSleeping) || seen == kSleeping)
      sleep_while(worker.state, kSleeping);
  }
}

// Between the caller that takes its call back and the worker that begins, one wins.
bool take_call(Worker& worker, uint32_t ticket) {
  return worker.state.compare_exchange_strong(ticket, kIdle, std::memory_order_acq_rel);
}

void serve(int index) {
  Worker& self = workers[index];
  self.thread = this_thread_number();
  in_region = true;
  for (Patience patience = Patience::zero();;) {
    wait_for_call(self, patience);
    const uint32_t ticket = self.state.load(std::memory_order_acquire);
    if (!is_ticket(ticket) || !take_call(self, ticket)) continue;
    Job* job = self.job;
    const TeamCall& call = *job->call;
    patience = kIdlePatience * call.patience;
    if (call.simultaneously) job->go.wait(call.patience);
    call.member(call.region, self.id, job->size);
    // Before the caller goes on, so that its next call finds this worker free.
    set_free(index);
    std::atomic<uint32_t>& running = job->running;
    if (running.fetch_sub(1, std::memory_order_acq_rel) == (kAsleep | 1)) wake_all(running);
  }
}

// Signals are for the program's own threads; those that report an error of the thread itself stay.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int error : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF}) sigdelset(&all, error);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

void start_workers(int wanted) {
  const std::lock_guard<std::mutex> lock(starting);
  const SignalsBlocked blocked;
  const int first = started, count = std::min(wanted, kMostWorkers) - first;
  if (count <= 0) return;
  const int came = start_threads(first, count, serve);
  for (int index = first; index < first + came; ++index) set_free(index);
  started = first + came;
  if (came < count) note_shortage(1 + first + came);
}

int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }

// Takes up to `wanted` free workers; `taken` receives their bits.
int take_workers(int wanted, uint64_t* taken) {
  int count = 0;
  for (int word = 0; word < kWords && count < wanted; ++word) {
    uint64_t free = free_workers[word].load(std::memory_order_relaxed), chosen;
    do {
      chosen = 0;
      for (uint64_t rest = free; rest != 0 && count + __builtin_popcountll(chosen) < wanted; rest &= rest - 1)
        chosen |= rest & -rest;
    } while (chosen != 0 && !free_workers[word].compare_exchange_weak(free, free & ~chosen, std::memory_order_acquire));
    taken[word] = chosen;
    count += __builtin_popcountll(chosen);
  }
  return count;
}

template <class Visit>
void for_each(const uint64_t* taken, const Visit& visit) {
  for (int word = 0; word < kWords; ++word)
    for (uint64_t bits = taken[word]; bits != 0; bits &= bits - 1) visit(word * kWordBits + lowest_bit(bits));
}

void send(Worker& worker, int id, Job* job) {
  worker.id = id;
  worker.job = job;
  if (const int thread = worker.thread.load(); thread != 0 && !(worker.cpus == *job->call->cpus)) {
    worker.cpus = *job->call->cpus;
    worker.cpus.bind(thread);
  }
  if (worker.state.exchange(job->ticket, std::memory_order_acq_rel) == kSleeping) wake_all(worker.state);
}

void wait_for_workers(Job* job) {
  std::atomic<uint32_t>& running = job->running;
  const auto done = [&] { return (running.load(std::memory_order_acquire) & ~kAsleep) == 0; };
  if (spin_until(done, job->call->patience)) return;
  uint32_t value = running.fetch_or(kAsleep, std::memory_order_acq_rel) | kAsleep;
  while ((value & ~kAsleep) != 0) {
    sleep_while(running, value);
    value = running.load(std::memory_order_acquire);
  }
}

// More threads than processors are somebody's choice, perhaps a test's: all of them come.
bool hurried(const Job* job) { return job->call->patience != Patience::zero(); }

// How long to wait for a team. After workers have not come to little work, only those that are awake are waited for,
// twice as many times at each failure.
class Arrival {
 public:
  Patience patience(Patience work) {
    if (work / kWorkBesideArrival > kArrival) return work / kWorkBesideArrival;
    return waits_ > 0 ? --waits_, kArrivalOfTheAwake : kArrival;
  }
  void found(bool complete, Patience patience) {
    if (patience != kArrival) return;
    failures_ = complete ? 0 : std::min(failures_ + 1, 6);
    waits_ = complete ? 0 : 1 << failures_;
  }

 private:
  int failures_ = 0, waits_ = 0;
};

// Waits until the workers have taken their calls, and takes the calls of the others back.
void gather(const uint64_t* taken, Job* job) {
  if (!hurried(job)) return job->go.set();
  thread_local Arrival arrival;
  const Patience patience = arrival.patience(job->call->work);
  const bool complete = spin_until(
      [&] {
        bool all = true;
        for_each(taken, [&](int index) { all = all && workers[index].state.load() != job->ticket; });
        return all;
      },
      patience);
  arrival.found(complete, patience);
  int id = 1;
  for_each(taken, [&](int index) {
    if (take_call(workers[index], job->ticket)) {
      job->running.fetch_sub(1, std::memory_order_relaxed);
      set_free(index);
    } else {
      workers[index].id = id++;
    }
  });
  job->size = id;
  job->go.set();
}

// The caller computes the parts of workers that have not begun.
void take_back(const uint64_t* taken, Job* job) {
  if (!hurried(job)) return;
  int next = 1;
  for_each(taken, [&](int index) {
    const int id = next++;
    if (!take_call(workers[index], job->ticket)) return;
    job->running.fetch_sub(1, std::memory_order_relaxed);
    set_free(index);
    job->call->member(job->call->region, id, job->size);
  });
}

}  // namespace

void run_team(int threads, const TeamCall& call) {
  if (in_region) return call.member(call.region, 0, 1);
  if (started.load(std::memory_order_relaxed) < threads - 1) start_workers(threads - 1);
  uint64_t taken[kWords] = {};
  const int size = 1 + take_workers(threads - 1, taken);
  if (size == 1) return call.member(call.region, 0, 1);
  Job job{&call, size, static_cast<uint32_t>(size - 1), new_ticket()};
  int id = 1;
  for_each(taken, [&](int index) { send(workers[index], id++, &job); });
  in_region = true;
  if (call.simultaneously) gather(taken, &job);
  call.member(call.region, 0, job.size);
  if (!call.simultaneously) take_back(taken, &job);
  in_region = false;
  wait_for_workers(&job);
}

}  // namespace lucid
