// Runs a plan: all steps in one parallel region, a barrier after each.
#include <algorithm>
#include <chrono>
#include <memory>

#include "core/memory.h"
#include "core/status.h"
#include "ops/shapes.h"
#include "plan/plan.h"

namespace lucid::plan {
namespace {

lucid_status view_arguments(const lucid_plan& plan, const std::vector<int>& indices, const char* name,
                            const lucid_tensor* const* tensors, std::vector<ImageView>* views) {
  for (size_t i = 0; i < indices.size(); ++i) {
    const Value& v = plan.values[indices[i]];
    const int64_t shape[4] = {v.n, v.c, v.h, v.w};
    const lucid_shape wanted = make_shape(shape, v.image ? 4 : 2, v.layout.dtype);
    LUCID_CHECK(check_tensor("plan", name, tensors[i], wanted.ndim, wanted.ndim, wanted.dtype));
    LUCID_CHECK(check_shape("plan", name, *tensors[i], wanted));
    LUCID_CHECK(check_data("plan", name, tensors[i]));
    (*views)[i] = view_image(*tensors[i]);
  }
  return ok();
}

// Bytes of one thread: the most that any step wants.
int64_t scratch_of(const lucid_plan& plan, int team) {
  int64_t bytes = kBlockBytes;
  for (const Entry& entry : plan.entries) bytes = std::max(bytes, entry.step->scratch_bytes(team));
  return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

// About how long one thread takes.
Patience work_of(const lucid_plan& plan) {
  constexpr double kMultiplicationsPerMicrosecond = 1e5;  // AVX-512 has 1.2e5, AVX2 0.5e5, the matrix unit 1.6e5
  constexpr double kLongest = 1e6;
  return Patience(static_cast<int64_t>(std::min(plan.multiplications / kMultiplicationsPerMicrosecond, kLongest)));
}

using Clock = std::chrono::steady_clock;

void run_steps(const lucid_plan& plan, const Run& run, const Team& team, std::byte* scratch, double* milliseconds) {
  Clock::time_point start = Clock::now();
  for (const Entry& entry : plan.entries) {
    entry.step->run(run, team, scratch);
    team.barrier();
    if (milliseconds == nullptr || team.id() != 0 || plan.described_steps == 0) continue;
    const Clock::time_point end = Clock::now();
    milliseconds[entry.described] += std::chrono::duration<double, std::milli>(end - start).count();
    start = end;
  }
}

}  // namespace
}  // namespace lucid::plan

extern "C" lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                       lucid_tensor* const* outputs, double* milliseconds) {
  using namespace lucid;
  try {
    std::vector<ImageView> x(plan->inputs.size()), y(plan->outputs.size());
    LUCID_CHECK(plan::view_arguments(*plan, plan->inputs, "input", inputs, &x));
    LUCID_CHECK(plan::view_arguments(*plan, plan->outputs, "output", outputs, &y));
    const Scratch<std::byte> arena(plan->arena_bytes);
    if (arena.data() == nullptr)
      return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for %lld bytes of activations",
                  static_cast<long long>(plan->arena_bytes));
    if (milliseconds != nullptr) std::fill(milliseconds, milliseconds + plan->described_steps, 0.0);
    const plan::Run run{arena.data(), x.data(), y.data()};
    std::unique_ptr<Scratch<std::byte>> scratch;
    int64_t each = 0;
    parallel_team(num_threads(), plan::work_of(*plan), [&](const Team& team) {
      // Its size is known only now: fewer threads than asked for may have come.
      if (team.id() == 0) {
        each = plan::scratch_of(*plan, team.size());
        scratch.reset(new (std::nothrow) Scratch<std::byte>(each * team.size()));
      }
      team.barrier();
      if (scratch == nullptr || scratch->data() == nullptr) return;
      std::byte* own = scratch->data() + team.id() * each;
      plan::run_steps(*plan, run, team, own, milliseconds);
    });
    if (scratch == nullptr || scratch->data() == nullptr)
      return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for scratch");
    return ok();
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for its arguments");
  }
}

extern "C" const char* lucid_plan_algorithm(const lucid_plan* plan, int32_t step) {
  for (const lucid::plan::Entry& entry : plan->entries)
    if (entry.described == step && !entry.transfers) return entry.step->algorithm();
  return "";
}

extern "C" double lucid_plan_largest_share(const lucid_plan* plan, int32_t step, int32_t threads) {
  double share = 0;
  for (const lucid::plan::Entry& entry : plan->entries)
    if (entry.described == step) share = std::max(share, entry.step->largest_share(std::max(threads, 1)));
  return share;
}

extern "C" int64_t lucid_plan_weight_bytes(const lucid_plan* plan) {
  int64_t bytes = 0;
  for (const lucid::plan::Entry& entry : plan->entries) bytes += entry.step->weight_bytes();
  return bytes;
}

extern "C" int64_t lucid_plan_arena_bytes(const lucid_plan* plan) { return plan->arena_bytes; }
