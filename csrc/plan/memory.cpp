// Where values lie: which stay in the caller's memory, their halos, and their places in the arena: by lifetimes,
// largest first, each at the lowest offset that is free while it lives.
#include <algorithm>
#include <cstring>

#include "core/status.h"
#include "ops/shapes.h"
#include "plan/micro_batches.h"

namespace lucid::plan {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 62;  // of the arena

int64_t whole_lines(int64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

// On the CPU, a line between two values keeps their neighbours' stores from meeting, and skews their pages. On CUDA
// every value begins where the memory of a device does, which vectors of any width may be loaded from.
int64_t place_bytes(const Value& value) {
  constexpr int64_t kAligned = 256;
  if (value.on_cuda) return (value.bytes() + kAligned - 1) / kAligned * kAligned;
  return whole_lines(value.bytes()) + kBlockBytes;
}

// An image may stay outside if all that reads it can read it there.
void keep_inputs_outside(lucid_plan& plan) {
  for (const int i : plan.inputs) plan.values[i].stays_outside = plan.values[i].image;
  for (const int i : plan.outputs) plan.values[i].stays_outside = false;
  for (const Entry& entry : plan.entries)
    for (size_t i = 0; i < entry.inputs.size(); ++i)
      if (i > 0 || !entry.step->reads_outside()) plan.values[entry.inputs[i]].stays_outside = false;
}

// An image of few channels is narrow if all that reads it can read it so.
void make_inputs_narrow(lucid_plan& plan) {
  for (const int i : plan.inputs) {
    Value& v = plan.values[i];
    bool narrow = v.image && v.is_bfloat16() && v.c <= kNarrowBlock &&
                  std::count(plan.outputs.begin(), plan.outputs.end(), i) == 0;
    for (const Entry& entry : plan.entries)
      for (size_t input = 0; input < entry.inputs.size(); ++input)
        if (entry.inputs[input] == i) narrow = narrow && input == 0 && entry.step->may_read_narrow();
    if (!narrow) continue;
    v.layout.block = kNarrowBlock;
    for (const Entry& entry : plan.entries)
      if (entry.inputs[0] == i) entry.step->read_narrow();
  }
}

void set_halos(lucid_plan& plan) {
  for (const Entry& entry : plan.entries) {
    Value& x = plan.values[entry.inputs[0]];
    if (!x.image || x.stays_outside) continue;
    const Halo read = entry.step->halo();
    Halo& halo = x.layout.halo;
    halo = {.top = std::max(halo.top, read.top),
            .left = std::max(halo.left, read.left),
            .bottom = std::max(halo.bottom, read.bottom),
            .right = std::max(halo.right, read.right)};
  }
}

lucid_status check_sizes_with_halos(const lucid_plan& plan) {
  for (const Value& v : plan.values) {
    const Halo& halo = v.layout.halo;
    const int64_t sizes[4] = {v.batch, v.blocks() * v.layout.block, halo.top + v.h + halo.bottom,
                              halo.left + v.w + halo.right};
    if (!elements_fit(sizes, 4))
      return fail(LUCID_INVALID_ARGUMENT, "plan: a value with its padding must have at most 2^58 elements, got %s",
                  ShapeText(sizes, 4).c_str());
  }
  return ok();
}

// A pooling reads what the convolution before it has summed up already, if that can: 1 % of ResNeSt-50.
void share_row_sums(lucid_plan& plan) {
  const std::vector<EntryRun> ranges = runs_of_entries(plan);
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    Entry& pool = plan.entries[i];
    if (!pool.step->asks_for_row_sums()) continue;
    for (size_t j = 0; j < i; ++j) {
      Entry& producer = plan.entries[j];
      const int64_t rows = producer.output == pool.inputs[0] ? producer.step->summed_rows() : 0;
      if (rows == 0 || ranges[j].begin != ranges[i].begin) continue;
      if (producer.row_sums < 0) {
        Value sums;
        sums.n = sums.batch = rows, sums.c = plan.values[producer.output].c;
        producer.row_sums = static_cast<int>(plan.values.size());
        plan.values.push_back(sums);
        producer.step->set_row_sums(plan.values.back());
      }
      pool.row_sums = producer.row_sums;
      pool.step->set_row_sums(plan.values[pool.row_sums]);
    }
  }
}

void find_lifetimes(lucid_plan& plan) {
  for (int entry = 0; entry < static_cast<int>(plan.entries.size()); ++entry) {
    const Entry& e = plan.entries[entry];
    const auto use = [&](int i) {
      if (i < 0) return;
      Value& v = plan.values[i];
      v.first = v.first < 0 ? entry : v.first;
      v.last = entry;
    };
    for (const int input : e.inputs) use(input);
    use(e.output);
    use(e.row_sums);
  }
}

// A convolution may write over a residual that nothing reads later: each element is read just before it is written, by
// the same thread. Half of a ResNet's traffic then stays in one buffer.
void share_places(lucid_plan& plan) {
  for (int entry = 0; entry < static_cast<int>(plan.entries.size()); ++entry) {
    const Entry& e = plan.entries[entry];
    const int overwritten = e.transfers ? -1 : e.overwritten();
    if (overwritten < 0 || e.inputs[overwritten] == e.inputs[0]) continue;
    Value &residual = plan.values[e.inputs[overwritten]], &y = plan.values[e.output];
    if (residual.last == entry && residual.same_layout(y))
      y.place_of = residual.place_of >= 0 ? residual.place_of : e.inputs[overwritten];
  }
  const std::vector<EntryRun> ranges = runs_of_entries(plan);
  for (Value& value : plan.values)
    if (value.whole) {  // every micro-batch uses its part
      value.first = ranges[value.first].begin;
      value.last = ranges[value.last].end - 1;
    }
  for (Value& value : plan.values)
    if (value.place_of >= 0) {
      Value& place = plan.values[value.place_of];  // set before the values that share it
      place.first = std::min(place.first, value.first);
      place.last = std::max(place.last, value.last);
    }
}

lucid_status assign_offsets(lucid_plan& plan) {
  std::deque<Value>& values = plan.values;
  std::vector<int> order, placed;
  for (int i = 0; i < static_cast<int>(values.size()); ++i)
    if (values[i].place_of < 0 && values[i].first >= 0 && (values[i].pixels || !values[i].stays_outside))
      order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a].bytes() > values[b].bytes(); });
  for (const int i : order) {
    Value& value = values[i];
    const int64_t size = place_bytes(value);
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const int j : placed)
      if (values[j].first <= value.last && value.first <= values[j].last)
        taken.emplace_back(values[j].offset, values[j].offset + place_bytes(values[j]));
    std::sort(taken.begin(), taken.end());
    int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset + size <= begin) break;
      offset = std::max(offset, end);
    }
    if (offset > kMostBytes - size)
      return fail(LUCID_OUT_OF_MEMORY, "plan: activations must have at most 2^62 bytes, got more");
    value.offset = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + size);
    placed.push_back(i);
  }
  for (Value& value : values)
    if (value.place_of >= 0) value.offset = values[value.place_of].offset;
  return ok();
}

}  // namespace

// Channel blocks are an odd number of cache lines apart: at multiples of 4 KB (56 x 56 pixels) all blocks of a pixel
// would fall into one set of L1.
int64_t Value::plane_bytes() const { return (whole_lines(kept() * image_bytes()) / kBlockBytes | 1) * kBlockBytes; }

ImageView Value::outside(const Run& run) const {
  if (!pixels) return micro_batch_of(run.inputs[input], run);
  const int64_t size = c * h * w;
  float* const planes = reinterpret_cast<float*>(run.arena + offset) + (whole ? run.first * size : 0);
  return {planes, n, c, h, w, size, h * w, w, 1};
}

bool Value::same_layout(const Value& o) const {
  return image == o.image && kept() == o.kept() && c == o.c && h == o.h && w == o.w && layout.block == o.layout.block &&
         layout.halo == o.layout.halo;
}

lucid_status lay_out(lucid_plan& plan) {
  keep_inputs_outside(plan);
  make_inputs_narrow(plan);
  update_aliases(plan);
  set_halos(plan);
  update_aliases(plan);
  LUCID_CHECK(check_sizes_with_halos(plan));
  share_row_sums(plan);
  return ok();
}

lucid_status assign_places(lucid_plan& plan) {
  find_whole_values(plan);
  find_lifetimes(plan);
  share_places(plan);
  LUCID_CHECK(assign_offsets(plan));
  update_aliases(plan);
  return ok();
}

void clear_halo(const Value& v, const Run& run, const Team& team) {
  const Halo& halo = v.layout.halo;
  if (halo.empty()) return;
  const auto clear = [](std::byte* from, std::byte* to) {  // some cache lines: faster here than by a call
    for (; to - from >= kBlockBytes; from += kBlockBytes) std::memset(from, 0, kBlockBytes);
    std::memset(from, 0, static_cast<size_t>(to - from));
  };
  const int64_t images = v.blocks() * v.n, row = v.row_bytes(), pixel = v.pixel_bytes();
  const int64_t first = halo.top * row + halo.left * pixel, gap = (halo.left + halo.right) * pixel;
  for (int64_t i = team.begin(images); i < team.end(images); ++i) {
    std::byte* const image = v.images(run) + i / v.n * v.plane_bytes() + i % v.n * v.image_bytes();
    clear(image, image + first);
    std::byte* behind = image + first + v.w * pixel;  // a row, before the next one
    for (int64_t y = 1; y < v.h; ++y, behind += row) clear(behind, behind + gap);
    clear(behind, image + v.image_bytes());
  }
}

void clear_unused_channels(const Value& v, const Run& run, const Team& team) {
  const int64_t used = v.c % v.layout.block * v.layout.element_bytes(), rows = v.n * v.h;
  if (!v.is_bfloat16() || used == 0) return;
  const Run last_block{.arena = run.arena + (v.blocks() - 1) * v.plane_bytes() + used, .first = run.first};
  const auto view = v.view<Bfloat16>(last_block);
  for (int64_t i = team.begin(rows); i < team.end(rows); ++i)
    for (int64_t w = 0; w < v.w; ++w)
      std::memset(view.at(0, i / v.h, i % v.h, w), 0, static_cast<size_t>(v.pixel_bytes() - used));
}

}  // namespace lucid::plan
