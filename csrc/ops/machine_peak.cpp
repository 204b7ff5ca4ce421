// The roofs of a roofline, measured on all threads at once.
#include <algorithm>
#include <chrono>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"

namespace lucid {
namespace {

using Clock = std::chrono::steady_clock;

// Of both measurements, about: what counts is that all threads come.
constexpr Patience kMeasured = std::chrono::seconds(1);

// Seconds until the last thread of the team has run `work`. The clock starts before the barrier that lets them go: a
// thread that the system stops right after it makes the time too long, never too short.
template <class Work>
double seconds_of(const Team& team, const Work& work) {
  const Clock::time_point start = Clock::now();
  team.barrier();
  work();
  team.barrier();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The rate that the fastest of some trials reached, in 1e9 units a second: whatever else the machine does only slows
// one down. `work(trial)` gives the units of one thread.
template <class Work>
double best_rate(const Team& team, int trials, const Work& work) {
  double best = 0.0;
  for (int trial = 0; trial < trials; ++trial) {
    double units = 0.0;
    const double seconds = seconds_of(team, [&] { units = work(trial); });
    best = std::max(best, 1e-9 * units * team.size() / seconds);
  }
  return best;
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_fma_peak(double* gflops) {
  using namespace lucid;
  if (gflops == nullptr) return fail(LUCID_INVALID_ARGUMENT, "fma_peak: gflops must have a place, got NULL");
  // 1 to 2 ms a trial, whatever the instruction set: short enough that some trials are not interrupted.
  constexpr int64_t kIterations = 400000;
  constexpr int kTrials = 20;
  parallel_team(num_threads(), kMeasured, [&](const Team& team) {
    float result;
    // So small that no sum changes: neither infinity nor denormal numbers come up.
    const double best = best_rate(
        team, kTrials, [&](int) { return static_cast<double>(kernels().fma_peak(kIterations, 1e-9f, &result)); });
    if (team.id() == 0) *gflops = best;
  });
  return ok();
}

extern "C" lucid_status lucid_matrix_peak(double* gflops) {
  using namespace lucid;
  if (gflops == nullptr) return fail(LUCID_INVALID_ARGUMENT, "matrix_peak: gflops must have a place, got NULL");
  *gflops = 0.0;
  if (kernels().matrix_peak == nullptr) return ok();
  constexpr int64_t kIterations = 10000;  // of four products of 7 to 17 ns each: 0.3 to 0.7 ms
  constexpr int kTrials = 20;
  parallel_team(num_threads(), kMeasured, [&](const Team& team) {
    float result;
    const double best =
        best_rate(team, kTrials, [&](int) { return static_cast<double>(kernels().matrix_peak(kIterations, &result)); });
    if (team.id() == 0) *gflops = best;
  });
  return ok();
}

extern "C" lucid_status lucid_memory_bandwidth(double* gbytes_per_second) {
  using namespace lucid;
  if (gbytes_per_second == nullptr)
    return fail(LUCID_INVALID_ARGUMENT, "memory_bandwidth: gbytes_per_second must have a place, got NULL");
  constexpr int64_t kTotal = int64_t{256} << 20, kLeast = int64_t{16} << 20;
  constexpr int kTrials = 10;
  const int threads = num_threads();
  const int64_t bytes = std::max(kTotal / threads, kLeast), floats = bytes / static_cast<int64_t>(sizeof(float));
  {
    const Scratch<float> buffer(floats * threads);
    if (buffer.data() == nullptr)
      return fail(LUCID_OUT_OF_MEMORY, "memory_bandwidth: no memory for %lld bytes",
                  static_cast<long long>(bytes * threads));
    parallel_team(threads, kMeasured, [&](const Team& team) {
      // Written by the thread that reads it, which puts it into that thread's memory.
      float* x = buffer.data() + team.id() * floats;
      std::fill(x, x + floats, 1.0f);
      volatile float result;
      const double best = best_rate(team, kTrials, [&](int) {
        result = kernels().read_memory(x, floats);
        return static_cast<double>(bytes);
      });
      if (team.id() == 0) *gbytes_per_second = best;
    });
  }
  lucid_release_memory();  // nothing else needs blocks of that size
  return ok();
}
