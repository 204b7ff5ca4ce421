// Where values lie in the arena: by lifetimes, largest first, each at the lowest offset that is free while it lives.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "plan/plan.h"

namespace lucid::plan {
namespace {

constexpr int64_t kLine = 16;  // floats

int64_t whole_lines(int64_t floats) { return (floats + kLine - 1) / kLine * kLine; }

}  // namespace

// Channel blocks are an odd number of cache lines apart: at multiples of 4 KB (56 x 56 pixels) all blocks of a pixel
// would fall into one set of L1.
int64_t Value::plane_floats() const { return (n * image_floats() / kLine | 1) * kLine; }

bool Value::same_layout(const Value& o) const {
  return image == o.image && n == o.n && c == o.c && h == o.h && w == o.w && top == o.top && left == o.left &&
         bottom == o.bottom && right == o.right;
}

void assign_offsets(std::vector<Value>& values, int64_t* arena_floats) {
  for (Value& value : values)
    if (value.place_of >= 0) {
      Value& place = values[value.place_of];  // set before the values that share it
      place.first = std::min(place.first, value.first);
      place.last = std::max(place.last, value.last);
    }
  std::vector<int> order;
  for (int i = 0; i < static_cast<int>(values.size()); ++i)
    if (values[i].place_of < 0 && values[i].first >= 0 && !values[i].stays_outside) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a].floats() > values[b].floats(); });
  std::vector<int> placed;
  *arena_floats = 0;
  for (const int i : order) {
    Value& value = values[i];
    const int64_t size = whole_lines(value.floats()) + kLine;
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const int j : placed)
      if (values[j].first <= value.last && value.first <= values[j].last)
        taken.emplace_back(values[j].offset, values[j].offset + whole_lines(values[j].floats()) + kLine);
    std::sort(taken.begin(), taken.end());
    int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset + size <= begin) break;
      offset = std::max(offset, end);
    }
    value.offset = offset;
    *arena_floats = std::max(*arena_floats, offset + size);
    placed.push_back(i);
  }
  for (Value& value : values)
    if (value.place_of >= 0) value.offset = values[value.place_of].offset;
}

void clear_margins(const Value& v, float* arena, const Team& team) {
  if (!v.has_margin()) return;
  const auto clear = [](float* p, int64_t floats) { std::memset(p, 0, static_cast<size_t>(floats) * sizeof(float)); };
  const int64_t images = v.blocks() * v.n, row = v.row_floats();
  for (int64_t i = team.begin(images); i < team.end(images); ++i) {
    float* image = arena + v.offset + i / v.n * v.plane_floats() + i % v.n * v.image_floats();
    clear(image, v.top * row);
    for (int64_t y = v.top; y < v.top + v.h; ++y) {
      clear(image + y * row, v.left * kBlock);
      clear(image + y * row + (v.left + v.w) * kBlock, v.right * kBlock);
    }
    clear(image + (v.top + v.h) * row, v.bottom * row);
  }
}

}  // namespace lucid::plan
