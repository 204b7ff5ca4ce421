// Runs a plan: on the CPU all steps in one parallel region, a barrier after each. A host's threads may come one after
// another and cannot meet: they get a parallel loop for each step.
#include <algorithm>
#include <optional>

#include "core/arguments.h"
#include "core/host.h"
#include "core/memory.h"
#include "core/status.h"
#include "ops/shapes.h"
#include "plan/cuda_plan.h"
#include "plan/micro_batches.h"
#include "plan/step_times.h"

namespace lucid::plan {
namespace {

lucid_status view_arguments(const lucid_plan& plan, const std::vector<int>& indices, const char* name,
                            lucid_shape (*shape_of)(const Value&), const lucid_tensor* const* tensors,
                            std::vector<ImageView>* views) {
  for (size_t i = 0; i < indices.size(); ++i) {
    const lucid_shape wanted = shape_of(plan.values[indices[i]]);
    LUCID_CHECK(check_tensor("plan", name, tensors[i], wanted.ndim, wanted.ndim, wanted.dtype));
    LUCID_CHECK(check_shape("plan", name, *tensors[i], wanted));
    LUCID_CHECK(check_data("plan", name, tensors[i], plan.device));
    (*views)[i] = view_image(*tensors[i]);
  }
  return ok();
}

int64_t whole_lines(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Bytes of one thread: the most that any step wants.
int64_t scratch_of(const lucid_plan& plan, int team) {
  int64_t bytes = kBlockBytes;
  for (const Entry& entry : plan.entries) bytes = std::max(bytes, entry.step->scratch_bytes(team));
  return whole_lines(bytes);
}

// In an arena of the caller's: behind the activations.
int64_t scratch_offset(const lucid_plan& plan) { return whole_lines(plan.arena_bytes); }

// About how long one thread takes.
Patience work_of(const lucid_plan& plan) {
  constexpr double kMultiplicationsPerMicrosecond = 1e5;  // AVX-512 has 1.2e5, AVX2 0.5e5, the matrix unit 1.6e5
  constexpr double kLongest = 1e6;
  return Patience(static_cast<int64_t>(std::min(plan.multiplications / kMultiplicationsPerMicrosecond, kLongest)));
}

// Memory of one run: the caller's arena, or the host's or the library's own.
class RunMemory {
 public:
  RunMemory(const lucid_plan& plan, std::byte* arena, size_t bytes) : plan_(plan), arena_(arena), bytes_(bytes) {}

  lucid_status take_activations() {
    if (arena_ != nullptr) {
      if (reinterpret_cast<uintptr_t>(arena_) % kAlignment != 0)
        return fail(LUCID_INVALID_ARGUMENT, "plan: the arena must be aligned to %lld bytes, got %p",
                    static_cast<long long>(kAlignment), static_cast<void*>(arena_));
      return bytes_ >= static_cast<size_t>(scratch_offset(plan_)) ? ok() : too_small(0);
    }
    own_activations_.emplace(plan_.arena_bytes);
    if (own_activations_->data() != nullptr) return ok();
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for %lld bytes of activations",
                static_cast<long long>(plan_.arena_bytes));
  }

  // Once the number of threads is known.
  lucid_status take_scratch(int team) {
    each_ = scratch_of(plan_, team);
    if (arena_ != nullptr) {
      scratch_ = arena_ + scratch_offset(plan_);
      return bytes_ >= static_cast<size_t>(scratch_offset(plan_) + each_ * team) ? ok() : too_small(team);
    }
    own_scratch_.emplace(each_ * team);
    scratch_ = own_scratch_->data();
    return scratch_ != nullptr ? ok() : fail(LUCID_OUT_OF_MEMORY, "plan: no memory for scratch");
  }

  std::byte* activations() const { return arena_ != nullptr ? arena_ : own_activations_->data(); }
  std::byte* scratch(const Team& team) const { return scratch_ + team.id() * each_; }

 private:
  lucid_status too_small(int team) const {
    const auto wanted = static_cast<long long>(scratch_offset(plan_) + each_ * team);
    return fail(LUCID_INVALID_ARGUMENT, "plan: the arena must have at least %lld bytes, got %zu", wanted, bytes_);
  }

  const lucid_plan& plan_;
  std::byte* const arena_;
  const size_t bytes_;
  std::optional<Scratch<std::byte>> own_activations_, own_scratch_;
  std::byte* scratch_ = nullptr;
  int64_t each_ = 0;
};

lucid_status run_in_team(const lucid_plan& plan, const Run& run, RunMemory* memory, const StepTimes& times) {
  lucid_status status = LUCID_OK;
  const int threads = num_threads();
  Stopwatch watch(plan, threads, times);
  int came = 0;
  parallel_team(threads, work_of(plan), [&](const Team& team) {
    // Its size is known only now: fewer threads than asked for may have come. The first one is the caller.
    if (team.id() == 0) {
      came = team.size();
      status = memory->take_scratch(came);
    }
    team.barrier();
    if (status != LUCID_OK) return;
    watch.begin(team);
    for_turns(plan, [&](size_t turn, const Entry& entry, int64_t first) {
      entry.step->run(run.micro_batch(first), team, memory->scratch(team));
      watch.arrive(team, turn);
      team.barrier();
      watch.leave(team, turn);
    });
  });
  if (status != LUCID_OK) return status;
  watch.add(came);
  return ok();
}

lucid_status run_on_host(const lucid_plan& plan, const Run& run, RunMemory* memory, const StepTimes& times) {
  const int tasks = num_threads();
  LUCID_CHECK(memory->take_scratch(tasks));
  Stopwatch watch(plan, 1, times);
  const Team caller(0, 1, nullptr, Patience::zero());
  watch.begin(caller);
  for_turns(plan, [&](size_t turn, const Entry& entry, int64_t first) {
    const Run part = run.micro_batch(first);
    parallel_parts(tasks, [&](const Team& team) { entry.step->run(part, team, memory->scratch(team)); });
    watch.arrive(caller, turn);
    watch.leave(caller, turn);
  });
  watch.add(1);
  return ok();
}

lucid_status run_on_cpu(const lucid_plan& plan, const ImageView* inputs, const ImageView* outputs,
                        const StepTimes& times, RunMemory memory) {
  LUCID_CHECK(memory.take_activations());
  const Run run{.arena = memory.activations(), .inputs = inputs, .outputs = outputs};
  const bool on_host = current_host().parallel_for != nullptr;
  return (on_host ? run_on_host : run_in_team)(plan, run, &memory, times);
}

lucid_status run(const lucid_plan& plan, const lucid_tensor* const* inputs, lucid_tensor* const* outputs,
                 const StepTimes& times, const lucid_context* context, std::byte* arena, size_t bytes) {
  LUCID_CHECK(check_context("plan", context));
  const HostScope scope(context);
  try {
    std::vector<ImageView> x(plan.inputs.size()), y(plan.outputs.size());
    LUCID_CHECK(view_arguments(plan, plan.inputs, "input", input_shape, inputs, &x));
    LUCID_CHECK(view_arguments(plan, plan.outputs, "output", output_shape, outputs, &y));
    for (double* each : {times.milliseconds, times.waiting, times.barriers})
      if (each != nullptr) std::fill(each, each + plan.described_steps, 0.0);
    if (plan.cuda != nullptr) return plan.cuda->run(plan, inputs, outputs, times.milliseconds, stream_of(context));
    LUCID_CHECK(check_no_stream("plan", context));
    return run_on_cpu(plan, x.data(), y.data(), times, {plan, arena, bytes});
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for its arguments");
  }
}

// The most that a team needs: fewer threads than asked for may come, and each may need more then.
int64_t most_scratch(const lucid_plan& plan) {
  const int threads = num_threads(), fewest = current_host().parallel_for != nullptr ? threads : 1;
  int64_t most = 0;
  for (int team = fewest; team <= threads; ++team) most = std::max(most, team * scratch_of(plan, team));
  return most;
}

lucid_status arena_size(const lucid_plan& plan, const lucid_context* context, size_t* bytes, size_t* alignment) {
  if (bytes == nullptr || alignment == nullptr)
    return fail(LUCID_INVALID_ARGUMENT, "plan: bytes and alignment must have a place, got NULL");
  LUCID_CHECK(check_context("plan", context));
  if (plan.cuda != nullptr) return fail(LUCID_UNSUPPORTED, "plan: an arena must be for a plan on the CPU, got cuda");
  const HostScope scope(context);
  *bytes = static_cast<size_t>(scratch_offset(plan) + most_scratch(plan));
  *alignment = kAlignment;
  return ok();
}

}  // namespace
}  // namespace lucid::plan

extern "C" lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                       lucid_tensor* const* outputs, double* milliseconds) {
  return lucid::plan::run(*plan, inputs, outputs, {milliseconds}, nullptr, nullptr, 0);
}

extern "C" lucid_status lucid_plan_run_on(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                          lucid_tensor* const* outputs, double* milliseconds,
                                          const lucid_context* context) {
  return lucid::plan::run(*plan, inputs, outputs, {milliseconds}, context, nullptr, 0);
}

extern "C" lucid_status lucid_plan_profile(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                           lucid_tensor* const* outputs, double* milliseconds, double* waiting,
                                           double* barriers, const lucid_context* context) {
  return lucid::plan::run(*plan, inputs, outputs, {milliseconds, waiting, barriers}, context, nullptr, 0);
}

extern "C" lucid_status lucid_plan_run_in(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                          lucid_tensor* const* outputs, double* milliseconds,
                                          const lucid_context* context, void* arena, size_t bytes) {
  using lucid::fail;
  if (arena == nullptr) return fail(LUCID_INVALID_ARGUMENT, "plan: the arena must be memory, got NULL");
  if (plan->cuda != nullptr) return fail(LUCID_UNSUPPORTED, "plan: an arena must be for a plan on the CPU, got cuda");
  return lucid::plan::run(*plan, inputs, outputs, {milliseconds}, context, static_cast<std::byte*>(arena), bytes);
}

extern "C" lucid_status lucid_plan_arena_size(const lucid_plan* plan, const lucid_context* context, size_t* bytes,
                                              size_t* alignment) {
  return lucid::plan::arena_size(*plan, context, bytes, alignment);
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
