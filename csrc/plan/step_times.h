// The times of a plan's steps, and how long its threads wait for each other behind each.
#pragma once

#include <chrono>
#include <vector>

#include "plan/plan.h"

namespace lucid::plan {

// Where the caller wants them, in milliseconds, a number for each described step, zeros before a run; or null.
struct StepTimes {
  double* milliseconds = nullptr;
  double* waiting = nullptr;
  double* barriers = nullptr;

  bool wanted() const { return milliseconds != nullptr || waiting != nullptr || barriers != nullptr; }
};

// Notes when each thread of a team arrives at the barrier behind each step, and when it leaves it. Threads share no
// line of memory, and the clock is read twice a step, 50 ns.
class Stopwatch {
 public:
  // Does nothing where no times are wanted.
  Stopwatch(const lucid_plan& plan, int most_threads, const StepTimes& times);

  void begin(const Team& team) {
    if (wanted_) row(team)[0].left = Clock::now();
  }
  void arrive(const Team& team, size_t turn) {
    if (wanted_) row(team)[turn + 1].arrived = Clock::now();
  }
  void leave(const Team& team, size_t turn) {
    if (wanted_) row(team)[turn + 1].left = Clock::now();
  }
  // Adds the means over the threads to the times of the steps, when all are done.
  void add(int threads) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Stamp {
    Clock::time_point arrived, left;
  };

  Stamp* row(const Team& team) { return stamps_.data() + static_cast<size_t>(team.id()) * stride_; }

  const lucid_plan& plan_;
  const StepTimes times_;
  const bool wanted_;
  const size_t stride_;
  std::vector<Stamp> stamps_;
};

}  // namespace lucid::plan
