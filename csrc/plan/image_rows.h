// A plan's image is, for each block of channels, a channels-last image of its own; so kernels run on it block by block,
// or row by row.
#pragma once

#include <algorithm>
#include <type_traits>

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

// Calls body(Element{}) for the type of the elements of an image.
template <class Body>
void with_element(const Value& image, const Body& body) {
  if (image.is_bfloat16())
    body(Bfloat16{});
  else
    body(float{});
}

// That of two kernels which is for the type.
template <class Element, class Float, class Half>
constexpr auto kernel_for(Float for_float, Half for_bfloat16) {
  if constexpr (std::is_same_v<Element, float>)
    return for_float;
  else
    return for_bfloat16;
}

template <class Element>
Element* row_of(const BlockedView<Element>& view, const Value& v, int64_t block, int64_t row) {
  return view.data + block * view.block + row / v.h * view.image + row % v.h * view.row;
}

// One block of channels as an image of its own.
template <class Element>
BlockedView<Element> block_of(const BlockedView<Element>& view, int64_t block) {
  return {.data = view.data + block * view.block,
          .block = kBlockOf<Element>,
          .image = view.image,
          .row = view.row,
          .pixel = view.pixel};
}

// The same image, to be read.
template <class Element>
BlockedView<const Element> as_input(const BlockedView<Element>& view) {
  return {.data = view.data, .block = view.block, .image = view.image, .row = view.row, .pixel = view.pixel};
}

}  // namespace lucid::plan
