// A plan: values in one arena, and the steps that compute them.
#pragma once

#include <memory>
#include <vector>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/tensor_view.h"
#include "cpu/kernels.h"

namespace lucid::plan {

constexpr int64_t kBlock = 16;  // channels that lie together in the images of a plan

// An image [c / 16][n][top + h + bottom][left + w + right][16] whose margins are zeros, or rows [n][c].
struct Value {
  bool image = false;
  int64_t n = 0, c = 0, h = 1, w = 1;
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int input = -1;              // its index among the plan's inputs, or -1
  bool stays_outside = false;  // an input that convolutions read from the caller's memory

  // Lifetime, in entries of the plan; a value that overwrites another's memory shares its place.
  int first = -1, last = -1;
  int place_of = -1;
  int64_t offset = 0;  // floats from the start of the arena

  int64_t blocks() const { return (c + kBlock - 1) / kBlock; }
  int64_t row_floats() const { return (left + w + right) * kBlock; }
  int64_t image_floats() const { return (top + h + bottom) * row_floats(); }
  int64_t plane_floats() const;
  int64_t floats() const { return image ? blocks() * plane_floats() : n * c; }
  bool has_margin() const { return top + left + bottom + right > 0; }
  bool same_layout(const Value& o) const;

  float* rows(float* arena) const { return arena + offset; }
  // Of pixel (0, 0) inside the margins.
  OutputView view(float* arena) const {
    return {arena + offset + top * row_floats() + left * kBlock, plane_floats(), image_floats(), row_floats(), kBlock};
  }
};

// One call of a plan.
struct Run {
  float* arena;
  const ImageView *inputs, *outputs;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual const char* algorithm() const = 0;
  virtual int64_t scratch_floats(int team) const { return static_cast<void>(team), 0; }  // of one thread
  virtual int64_t weight_floats() const { return 0; }
  virtual void pack_weights(float* packed) { static_cast<void>(packed); }  // once, while the caller's are there
  // The part of its multiplications that the busiest of a team computes; 0 if it has none.
  virtual double largest_share(int team) const { return static_cast<void>(team), 0.0; }
  // This thread's part. A barrier follows.
  virtual void run(const Run& run, const Team& team, float* scratch) const = 0;
};

struct Entry {
  std::unique_ptr<Step> step;
  int described;  // the step of the description that it belongs to
};

// A line of the arena between two values keeps their neighbours' stores from meeting, and skews their pages.
void assign_offsets(std::vector<Value>& values, int64_t* arena_floats);

// Writes zeros into the margins of an image, this thread's share of them.
void clear_margins(const Value& value, float* arena, const Team& team);

}  // namespace lucid::plan

struct lucid_plan {
  std::vector<lucid::plan::Value> values;
  std::vector<lucid::plan::Entry> entries;
  // Of all steps: together they lie on huge pages, where a layer's own half megabyte would not.
  std::unique_ptr<lucid::Scratch> weights;
  std::vector<int> inputs, outputs;
  int described_steps = 0;
  int64_t arena_floats = 0;
};
