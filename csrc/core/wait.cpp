#include "core/wait.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#endif

namespace lucid {

#if defined(__linux__)

void sleep_while(const std::atomic<uint32_t>& word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(const std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

#else

void sleep_while(const std::atomic<uint32_t>& word, uint32_t value) { word.wait(value); }

void wake_all(const std::atomic<uint32_t>& word) { const_cast<std::atomic<uint32_t>&>(word).notify_all(); }

#endif

namespace {

enum SignalState : uint32_t { kUnset, kSet, kAwaited };

}  // namespace

void Signal::set() {
  if (state_.exchange(kSet, std::memory_order_acq_rel) == kAwaited) wake_all(state_);
}

void Signal::wait(Patience patience) {
  const auto is_set = [&] { return state_.load(std::memory_order_acquire) == kSet; };
  if (spin_until(is_set, patience)) return;
  while (!is_set()) {
    uint32_t seen = kUnset;
    if (state_.compare_exchange_strong(seen, kAwaited) || seen == kAwaited) sleep_while(state_, kAwaited);
  }
}

void Barrier::wait(int size, Patience patience) {
  constexpr uint32_t kAsleep = 1;
  const uint32_t phase = phase_.load(std::memory_order_relaxed) & ~kAsleep;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size)) {
    arrived_.store(0, std::memory_order_relaxed);
    if (phase_.exchange(phase + 2, std::memory_order_acq_rel) & kAsleep) wake_all(phase_);
    return;
  }
  const auto passed = [&] { return (phase_.load(std::memory_order_acquire) & ~kAsleep) != phase; };
  if (spin_until(passed, patience)) return;
  while (!passed()) {
    uint32_t seen = phase;
    if (phase_.compare_exchange_strong(seen, phase | kAsleep) || seen == (phase | kAsleep))
      sleep_while(phase_, phase | kAsleep);
  }
}

}  // namespace lucid
