// A plan's image is, for each block of channels, a channels-last image of its own; so kernels run on it block by block,
// or row by row.
#pragma once

#include <algorithm>

#include "plan/plan.h"

namespace lucid::plan {

// Calls body(block, first, count) for this thread's share of rows, those of all images of a block numbered through.
template <class Body>
void for_rows(const Value& v, const Team& team, const Body& body) {
  const int64_t rows = v.n * v.h, tasks = v.blocks() * rows;
  for (int64_t i = team.begin(tasks); i < team.end(tasks);) {
    const int64_t first = i % rows, count = std::min(rows - first, team.end(tasks) - i);
    body(i / rows, first, count);
    i += count;
  }
}

inline float* row_of(const OutputView& view, const Value& v, int64_t block, int64_t row) {
  return view.data + block * view.block + row / v.h * view.image + row % v.h * view.row;
}

// One block of channels as an image of its own.
template <class Element>
BlockedView<Element> block_of(const OutputView& view, int64_t block) {
  return {.data = view.data + block * view.block,
          .block = kBlock,
          .image = view.image,
          .row = view.row,
          .pixel = view.pixel};
}

// The same image, to be read.
inline BlockedView<const float> as_input(const OutputView& view) {
  return {.data = view.data, .block = view.block, .image = view.image, .row = view.row, .pixel = view.pixel};
}

}  // namespace lucid::plan
