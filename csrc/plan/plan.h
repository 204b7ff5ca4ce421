// A plan: values in one arena, and the steps that compute them.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/tensor_view.h"
#include "cpu/layout.h"
#include "cpu/narrow_block.h"
#include "lucid.h"
#include "plan/launch.h"

namespace lucid::plan {

class CudaPlan;

// A call's micro-batch: the images from `first` on, as many as the step in question takes at a time
// (plan/micro_batches.h).
struct Run {
  std::byte* arena = nullptr;
  const ImageView *inputs = nullptr, *outputs = nullptr;  // of all images
  int64_t first = 0;

  Run micro_batch(int64_t image) const { return {arena, inputs, outputs, image}; }
};

inline ImageView micro_batch_of(ImageView all, const Run& run) {
  all.data += run.first * all.stride_n;
  return all;
}

// An image in the layout of a plan, or rows [n][c], which are float32 on the CPU: n of a micro-batch. In memory are
// those of a micro-batch, or the whole batch, where steps with other micro-batches use it.
struct Value {
  bool image = false;
  bool on_cuda = false;  // images are channels-last without gaps then
  int64_t n = 0, c = 0, h = 1, w = 1;
  int64_t batch = 0;
  bool whole = false;          // whether the batch is in memory
  Layout layout;               // of an image
  int input = -1;              // its index among the plan's inputs, or -1
  bool pixels = false;         // an input that is uint8 at the caller's
  bool stays_outside = false;  // an input that is read from the caller's memory; of pixels, as if it were

  // Lifetime, in entries of the plan; a value that overwrites another's memory shares its place.
  int first = -1, last = -1;
  int place_of = -1;
  int64_t offset = 0;  // bytes from the start of the arena

  int64_t blocks() const { return (c + layout.block - 1) / layout.block; }
  int64_t pixel_bytes() const { return layout.block * layout.element_bytes(); }
  int64_t row_bytes() const { return (layout.halo.left + w + layout.halo.right) * pixel_bytes(); }
  int64_t image_bytes() const { return (layout.halo.top + h + layout.halo.bottom) * row_bytes(); }
  int64_t plane_bytes() const;
  int64_t bytes() const {
    return image && !on_cuda && !stays_outside ? blocks() * plane_bytes() : kept() * h * w * c * layout.element_bytes();
  }
  int64_t kept() const { return whole ? batch : n; }  // images in memory
  bool same_layout(const Value& other) const;
  bool is_bfloat16() const { return layout.dtype.code == LUCID_BFLOAT; }

  float* rows(const Run& run) const {
    return reinterpret_cast<float*>(run.arena + offset) + (whole ? run.first * c : 0);
  }
  // What is read outside, of a micro-batch: in the caller's memory, or, of pixels, as planes in the arena.
  ImageView outside(const Run& run) const;
  // The images of a micro-batch, with their halos.
  std::byte* images(const Run& run) const { return run.arena + offset + (whole ? run.first * image_bytes() : 0); }
  // From pixel (0, 0) inside the halo, by the type of the elements.
  template <class Element>
  BlockedView<Element> view(const Run& run) const {
    constexpr auto kBytes = static_cast<int64_t>(sizeof(Element));
    const int64_t inside = layout.halo.top * row_bytes() + layout.halo.left * pixel_bytes();
    return {.data = reinterpret_cast<Element*>(images(run) + inside),
            .block = plane_bytes() / kBytes,
            .image = image_bytes() / kBytes,
            .row = row_bytes() / kBytes,
            .pixel = layout.block};
  }
};

// Packed weights, to be prefetched.
struct Weights {
  const std::byte* data = nullptr;
  int64_t bytes = 0;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual const char* algorithm() const = 0;
  // This thread's part. A barrier follows.
  virtual void run(const Run& run, const Team& team, std::byte* scratch) const = 0;
  virtual int64_t scratch_bytes([[maybe_unused]] int team) const { return 0; }  // of one thread
  // The part of its multiplications that the busiest of a team computes; 0 if it has none.
  virtual double largest_share([[maybe_unused]] int team) const { return 0.0; }
  virtual double multiplications() const { return 0.0; }

  virtual int64_t weight_bytes() const { return 0; }
  // Once, while the caller's are there, and when all values have their layouts.
  virtual void pack_weights([[maybe_unused]] std::byte* packed) {}
  // Those that a thread reads first, and the step whose first are worth a prefetch under the last of this one.
  virtual Weights first_weights([[maybe_unused]] const Team& team) const { return {}; }
  virtual void prefetch([[maybe_unused]] const Step* next) {}

  // Layouts and places depend on these. For the first input: whether it can be read from the caller's memory, and the
  // zeros around it that are read.
  virtual bool reads_outside() const { return false; }
  virtual Halo halo() const { return {}; }
  // Whether the first input may lie in blocks of kNarrowBlock channels; and that it does.
  virtual bool may_read_narrow() const { return false; }
  virtual void read_narrow() {}
  // The input whose memory the output may take if nothing reads it later, or -1.
  virtual int overwritten() const { return -1; }
  // A convolution may be able to sum its output up row by row, for the pooling that reads it: the rows that it has, or
  // 0. Whoever asks for the sums is told where they are, and so is the convolution.
  virtual int64_t summed_rows() const { return 0; }
  virtual bool asks_for_row_sums() const { return false; }
  virtual void set_row_sums([[maybe_unused]] const Value& sums) {}
};

// A step in its place, with the values that it reads and writes.
struct Entry {
  std::unique_ptr<Step> step;      // of a plan on the CPU
  std::unique_ptr<Launch> launch;  // of one on CUDA
  int described;                   // the step of the description that it belongs to
  bool transfers;                  // from the caller's memory or to it
  std::vector<int> inputs;
  int output;      // -1 for a transfer to the caller
  int64_t images;  // that it takes in a micro-batch
  int row_sums = -1;

  int overwritten() const { return launch != nullptr ? launch->overwritten : step->overwritten(); }
};

// Between the caller's memory and the plan's.
std::unique_ptr<Step> import_step(int input, const Value& y);
std::unique_ptr<Step> import_pixels_step(int input, const lucid_pixels& pixels, const Value& y);
std::unique_ptr<Step> export_step(const Value& x, int output);

// Whether there are pixels for an input, and whether they can be taken.
bool has_pixels(const lucid_pixels& pixels);
lucid_status check_pixels(int input, const lucid_pixels& pixels, const lucid_shape& shape);

// What a caller must give for a value, or gets of it.
lucid_shape input_shape(const Value& value);
lucid_shape output_shape(const Value& value);

// Where values lie: layouts on the CPU first, then, when all entries are there, places. They refuse what is too large
// to address.
lucid_status lay_out(lucid_plan& plan);
lucid_status assign_places(lucid_plan& plan);

// Writes zeros into the halo of a micro-batch's images, this thread's share of them.
void clear_halo(const Value& value, const Run& run, const Team& team);

// Likewise into the channels that the last block lacks, after a step that computes channel by channel. In bfloat16 they
// are multiplied by weights of zero, and must be finite.
void clear_unused_channels(const Value& value, const Run& run, const Team& team);
}  // namespace lucid::plan

struct lucid_plan {
  std::deque<lucid::plan::Value> values;  // steps keep references to them
  std::vector<lucid::plan::Entry> entries;
  // Values as steps see them that take another number of images in a micro-batch: by the value and the number.
  std::map<std::pair<int, int64_t>, int> aliases;
  // Weights of all steps: together they lie on huge pages, where a layer's own half megabyte would not.
  std::unique_ptr<lucid::Scratch<std::byte>> weights;
  lucid_device device = {LUCID_CPU, 0};
  std::unique_ptr<lucid::plan::CudaPlan> cuda;  // or null
  std::vector<int> inputs, outputs;
  std::vector<std::string> input_names, output_names;  // of a plan from a file; else empty
  int described_steps = 0;
  double multiplications = 0;  // of all steps
  int64_t batch = 0;           // of all values, where entries take a part of it in a micro-batch
  int64_t arena_bytes = 0;
};
