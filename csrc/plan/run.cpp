// Runs a plan: on the CPU all steps in one parallel region, a barrier after each.
#include <algorithm>
#include <chrono>
#include <memory>

#include "core/memory.h"
#include "core/status.h"
#include "ops/shapes.h"
#include "plan/cuda_plan.h"
#include "plan/plan.h"

namespace lucid::plan {
namespace {

lucid_status view_arguments(const lucid_plan& plan, const std::vector<int>& indices, const char* name,
                            const lucid_tensor* const* tensors, std::vector<ImageView>* views) {
  for (size_t i = 0; i < indices.size(); ++i) {
    const Value& v = plan.values[indices[i]];
    const int64_t shape[4] = {v.n, v.c, v.h, v.w};
    const lucid_shape wanted = make_shape(shape, v.image ? 4 : 2);
    LUCID_CHECK(check_tensor("plan", name, tensors[i], wanted.ndim, wanted.ndim, wanted.dtype));
    LUCID_CHECK(check_shape("plan", name, *tensors[i], wanted));
    LUCID_CHECK(check_data("plan", name, tensors[i], plan.device));
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

lucid_status run_on_cpu(const lucid_plan& plan, const ImageView* inputs, const ImageView* outputs,
                        double* milliseconds) {
  const Scratch<std::byte> arena(plan.arena_bytes);
  if (arena.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for %lld bytes of activations",
                static_cast<long long>(plan.arena_bytes));
  const Run run{arena.data(), inputs, outputs};
  std::unique_ptr<Scratch<std::byte>> scratch;
  int64_t each = 0;
  parallel_team(num_threads(), work_of(plan), [&](const Team& team) {
    // Its size is known only now: fewer threads than asked for may have come.
    if (team.id() == 0) {
      each = scratch_of(plan, team.size());
      scratch.reset(new (std::nothrow) Scratch<std::byte>(each * team.size()));
    }
    team.barrier();
    if (scratch == nullptr || scratch->data() == nullptr) return;
    std::byte* own = scratch->data() + team.id() * each;
    run_steps(plan, run, team, own, milliseconds);
  });
  if (scratch == nullptr || scratch->data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for scratch");
  return ok();
}

}  // namespace
}  // namespace lucid::plan

extern "C" lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                       lucid_tensor* const* outputs, double* milliseconds) {
  return lucid_plan_run_on(plan, inputs, outputs, milliseconds, nullptr);
}

extern "C" lucid_status lucid_plan_run_on(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                          lucid_tensor* const* outputs, double* milliseconds,
                                          const lucid_context* context) {
  using namespace lucid;
  LUCID_CHECK(check_context("plan", context));
  try {
    std::vector<ImageView> x(plan->inputs.size()), y(plan->outputs.size());
    LUCID_CHECK(plan::view_arguments(*plan, plan->inputs, "input", inputs, &x));
    LUCID_CHECK(plan::view_arguments(*plan, plan->outputs, "output", outputs, &y));
    if (milliseconds != nullptr) std::fill(milliseconds, milliseconds + plan->described_steps, 0.0);
    if (plan->cuda != nullptr) return plan->cuda->run(*plan, inputs, outputs, milliseconds, stream_of(context));
    LUCID_CHECK(check_no_stream("plan", context));
    return plan::run_on_cpu(*plan, x.data(), y.data(), milliseconds);
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for its arguments");
  }
}

extern "C" const char* lucid_plan_algorithm(const lucid_plan* plan, int32_t step) {
  for (const lucid::plan::Entry& entry : plan->entries)
    if (entry.described == step && !entry.transfers)
      return entry.launch != nullptr ? entry.launch->algorithm.c_str() : entry.step->algorithm();
  return "";
}

extern "C" double lucid_plan_largest_share(const lucid_plan* plan, int32_t step, int32_t threads) {
  double share = 0;
  for (const lucid::plan::Entry& entry : plan->entries)
    if (entry.described == step && entry.step != nullptr)
      share = std::max(share, entry.step->largest_share(std::max(threads, 1)));
  return share;
}

extern "C" int64_t lucid_plan_weight_bytes(const lucid_plan* plan) {
  if (plan->cuda != nullptr) return plan->cuda->constant_bytes();
  int64_t bytes = 0;
  for (const lucid::plan::Entry& entry : plan->entries) bytes += entry.step->weight_bytes();
  return bytes;
}

extern "C" int64_t lucid_plan_arena_bytes(const lucid_plan* plan) { return plan->arena_bytes; }
