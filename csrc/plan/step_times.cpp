#include "plan/step_times.h"

#include <algorithm>

#include "plan/micro_batches.h"

namespace lucid::plan {
namespace {

// Between the rows of two threads.
constexpr size_t kLine = 64;

double milliseconds_of(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

size_t turns_of(const lucid_plan& plan) {
  size_t turns = 0;
  for (const Entry& entry : plan.entries) turns += static_cast<size_t>(micro_batches_of(plan, entry));
  return turns;
}

void add_to(double* times, int step, double time) {
  if (times != nullptr) times[step] += time;
}

}  // namespace

Stopwatch::Stopwatch(const lucid_plan& plan, int most_threads, const StepTimes& times)
    : plan_(plan),
      times_(times),
      wanted_(times.wanted() && plan.described_steps > 0),
      stride_(wanted_ ? turns_of(plan) + 1 + kLine / sizeof(Stamp) : 0),
      stamps_(wanted_ ? stride_ * static_cast<size_t>(most_threads) : 0) {}

void Stopwatch::add(int threads) const {
  if (!wanted_) return;
  for_turns(plan_, [&](size_t turn, const Entry& entry, int64_t) {
    double time = 0.0, waiting = 0.0, barrier = 0.0;
    Clock::time_point last{};
    for (int thread = 0; thread < threads; ++thread)
      last = std::max(last, stamps_[static_cast<size_t>(thread) * stride_ + turn + 1].arrived);
    for (int thread = 0; thread < threads; ++thread) {
      const Stamp* stamp = &stamps_[static_cast<size_t>(thread) * stride_ + turn + 1];
      time += milliseconds_of(stamp->left - stamp[-1].left);
      waiting += milliseconds_of(stamp->left - stamp->arrived);
      barrier += milliseconds_of(stamp->left - last);
    }
    add_to(times_.milliseconds, entry.described, time / threads);
    if (threads == 1) return;  // who is alone does not wait
    add_to(times_.waiting, entry.described, waiting / threads);
    add_to(times_.barriers, entry.described, barrier / threads);
  });
}

}  // namespace lucid::plan
