// Images go through the early steps of a plan a few at a time, so that what one step writes the next one finds in the
// caches: at batch 8 the first stage of a ResNet writes 26 MB a layer, its last 3 MB. A run of steps that take equally
// many images runs once for each of these parts of the batch; a value that steps of two such runs use is in memory
// as a whole, any other only for a micro-batch.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace lucid::plan {

// How many images each step takes in a micro-batch, a divisor of the batch; 0 for all.
std::vector<int64_t> choose_micro_batches(const lucid_plan_args& args, int64_t element_bytes);

// The value as a step sees it that takes so many images.
const Value& value_in_micro_batches_of(int64_t images, int value, lucid_plan& plan);

int64_t micro_batches_of(const lucid_plan& plan, const Entry& entry);

// Of each entry, the entries [begin, end) that run micro-batch by micro-batch with it.
struct EntryRun {
  int begin, end;
};
std::vector<EntryRun> runs_of_entries(const lucid_plan& plan);

// Which values are whole, once all entries are in place.
void find_whole_values(lucid_plan& plan);

// Gives aliases the layout and the place of what they stand for.
void update_aliases(lucid_plan& plan);

// Calls body(turn, entry, first) for each micro-batch of each entry, in the order in which they run: the turns numbered
// through, and the first image of the micro-batch.
template <class Body>
void for_turns(const lucid_plan& plan, const Body& body) {
  const Entry* const all = plan.entries.data() + plan.entries.size();
  size_t turn = 0;
  for (const Entry *begin = plan.entries.data(), *end = begin; begin != all; begin = end) {
    while (end != all && end->images == begin->images) ++end;
    for (int64_t part = 0; part < micro_batches_of(plan, *begin); ++part)
      for (const Entry* entry = begin; entry != end; ++entry) body(turn++, *entry, part * begin->images);
  }
}

}  // namespace lucid::plan
