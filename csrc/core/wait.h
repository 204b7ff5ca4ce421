// Waiting for another thread: awake for a while, then asleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/processor.h"

namespace lucid {

using Patience = std::chrono::microseconds;

// Sleeps while `word` is `value`; may return early. The caller looks again.
void sleep_while(const std::atomic<uint32_t>& word, uint32_t value);

// Wakes all that sleep on `word`. Reads nothing there, so that the word may be gone already.
void wake_all(const std::atomic<uint32_t>& word);

// Asks `done` again and again for as long as `patience`; whether it said yes.
template <class Done>
bool spin_until(const Done& done, Patience patience) {
  if (done()) return true;
  if (patience == Patience::zero()) return false;
  const auto end = std::chrono::steady_clock::now() + patience;
  do {
    for (int i = 0; i < 8; ++i) {  // reading the clock takes as long as one pause
      spin_pause();
      if (done()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Set once; whoever waits for it goes on then.
class Signal {
 public:
  void set();
  void wait(Patience patience);

 private:
  std::atomic<uint32_t> state_{0};
};

// Where the threads of a team wait until all of them are there.
class Barrier {
 public:
  void wait(int size, Patience patience);

 private:
  // On lines of their own: who arrives does not disturb those that watch the phase.
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};  // counts in twos; the lowest bit says that a thread sleeps
};

}  // namespace lucid
