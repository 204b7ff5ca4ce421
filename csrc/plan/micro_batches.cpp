#include "plan/micro_batches.h"

#include <algorithm>

#include "core/parallel.h"

namespace lucid::plan {
namespace {

// What the steps of a micro-batch read and write at most, for each thread: about an L2.
constexpr int64_t kMicroBatchBytes = 2 << 20;

int64_t bytes_of_an_image(const lucid_plan_step& step, const lucid_shape* values, int64_t element_bytes) {
  int64_t bytes = 0;
  const auto add = [&](const lucid_shape& shape) {
    int64_t elements = 1;
    for (int d = 1; d < shape.ndim; ++d) elements *= shape.sizes[d];
    bytes += elements * element_bytes;
  };
  for (int i = 0; i < step.input_count; ++i) add(values[step.inputs[i]]);
  add(values[step.output]);
  return bytes;
}

// The batch that all values have, or 0.
int64_t common_batch(const lucid_plan_args& args) {
  const int64_t batch = args.values[0].sizes[0];
  const bool common = std::all_of(args.values, args.values + args.value_count,
                                  [&](const lucid_shape& shape) { return shape.sizes[0] == batch; });
  return common ? batch : 0;
}

// The largest divisor of the batch up to `most`; all where none is near.
int64_t images_of_a_micro_batch(int64_t batch, int64_t most) {
  int64_t images = std::min(most, batch);
  while (batch % images != 0) --images;
  return images == batch || 2 * images < std::min(most, batch) ? 0 : images;
}

}  // namespace

std::vector<int64_t> choose_micro_batches(const lucid_plan_args& args, int64_t element_bytes) {
  std::vector<int64_t> images(static_cast<size_t>(args.step_count), 0);
  const int64_t batch = common_batch(args), bytes = kMicroBatchBytes * num_threads();
  if (batch < 2) return images;
  // A step between larger ones goes with them.
  int64_t most = batch, chosen = 0;
  for (int i = args.step_count - 1; i >= 0; --i) {
    const int64_t each = std::max<int64_t>(1, bytes_of_an_image(args.steps[i], args.values, element_bytes));
    const int64_t fit = std::max<int64_t>(1, bytes / each);
    if (fit < most) {
      most = fit;
      chosen = images_of_a_micro_batch(batch, most);
    }
    images[static_cast<size_t>(i)] = chosen;
  }
  return images;
}

const Value& value_in_micro_batches_of(int64_t images, int value, lucid_plan& plan) {
  Value& v = plan.values[static_cast<size_t>(value)];
  const int64_t n = images > 0 ? images : v.batch;
  if (v.n == 0) v.n = n;  // the first to use it
  if (v.n == n) return v;
  const auto [alias, is_new] = plan.aliases.try_emplace({value, n}, static_cast<int>(plan.values.size()));
  if (is_new) {
    plan.values.push_back(v);
    plan.values.back().n = n;
  }
  return plan.values[static_cast<size_t>(alias->second)];
}

int64_t micro_batches_of(const lucid_plan& plan, const Entry& entry) {
  return entry.images > 0 ? plan.batch / entry.images : 1;
}

std::vector<EntryRun> runs_of_entries(const lucid_plan& plan) {
  const int count = static_cast<int>(plan.entries.size());
  std::vector<EntryRun> ranges;
  for (int begin = 0, end; begin < count; begin = end) {
    const auto images = [&](int entry) { return plan.entries[static_cast<size_t>(entry)].images; };
    for (end = begin + 1; end < count && images(end) == images(begin);) ++end;
    ranges.insert(ranges.end(), static_cast<size_t>(end - begin), {begin, end});
  }
  return ranges;
}

void find_whole_values(lucid_plan& plan) {
  const std::vector<EntryRun> ranges = runs_of_entries(plan);
  std::vector<int> user(plan.values.size(), -1);  // where the micro-batches begin that use a value
  for (size_t entry = 0; entry < plan.entries.size(); ++entry) {
    const auto use = [&](int value) {
      if (value < 0) return;
      int& begin = user[static_cast<size_t>(value)];
      if (begin >= 0 && begin != ranges[entry].begin) plan.values[static_cast<size_t>(value)].whole = true;
      begin = ranges[entry].begin;
    };
    for (const int input : plan.entries[entry].inputs) use(input);
    use(plan.entries[entry].output);
  }
}

void update_aliases(lucid_plan& plan) {
  for (const auto& [seen, alias] : plan.aliases) {
    Value& to = plan.values[static_cast<size_t>(alias)];
    const Value& from = plan.values[static_cast<size_t>(seen.first)];
    to.layout = from.layout;
    to.stays_outside = from.stays_outside;
    to.whole = from.whole;
    to.offset = from.offset;
  }
}

}  // namespace lucid::plan
