// From a description to a plan: checks everything, makes the steps, and packs their weights.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <new>
#include <string>

#include "core/status.h"
#include "ops/shapes.h"
#include "plan/cuda_plan.h"
#include "plan/micro_batches.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr int kMostItems = 1 << 20;  // values, steps

class Loader {
 public:
  Loader(const lucid_plan_args& args, lucid_plan& plan) : args_(args), plan_(plan) {}

  lucid_status load() {
    LUCID_CHECK(read_values());
    LUCID_CHECK(for_steps([&](int i) { return read_step(i); }));
    for (int i = 0; i < args_.output_count; ++i)
      if (!ready(args_.outputs[i]))
        return fail(LUCID_INVALID_ARGUMENT, "plan: output %d must be a value that a step computes, got %d", i,
                    args_.outputs[i]);
    images_ = plan_.cuda == nullptr && !mixes_images_ ? choose_micro_batches(args_, args_.dtype.bits / 8)
                                                      : std::vector<int64_t>(kinds_.size(), 0);
    LUCID_CHECK(for_steps([&](int i) { return make_step(i); }));
    if (plan_.cuda == nullptr) LUCID_CHECK(lay_out(plan_));
    add_transfers();
    LUCID_CHECK(assign_places(plan_));
    return plan_.cuda != nullptr ? plan_.cuda->upload(plan_) : pack_weights();
  }

 private:
  template <class Body>
  lucid_status for_steps(const Body& body) const {
    for (int i = 0; i < args_.step_count; ++i)
      if (const lucid_status status = body(i); status != LUCID_OK) {
        const std::string reason = lucid_last_error();
        return fail(status, "plan: step %d: %s", i, reason.c_str());
      }
    return ok();
  }

  bool exists(int value) const { return value >= 0 && value < args_.value_count; }
  bool ready(int value) const { return exists(value) && ready_[value]; }

  lucid_status check_counts() const {
    const std::tuple<int, int, const char*> counts[] = {{args_.value_count, 1, "values"},
                                                        {args_.step_count, 0, "steps"},
                                                        {args_.input_count, 1, "inputs"},
                                                        {args_.output_count, 1, "outputs"}};
    for (const auto& [count, least, name] : counts)
      if (count < least || count > kMostItems)
        return fail(LUCID_INVALID_ARGUMENT, "plan: the number of %s must be between %d and %d, got %d", name, least,
                    kMostItems, count);
    return ok();
  }

  lucid_status read_values() {
    LUCID_CHECK(check_counts());
    plan_.values.resize(args_.value_count);
    plan_.batch = args_.values[0].sizes[0];
    ready_.assign(args_.value_count, false);
    for (int i = 0; i < args_.value_count; ++i) {
      const lucid_shape& shape = args_.values[i];
      char name[32];
      std::snprintf(name, sizeof name, "plan: value %d", i);
      LUCID_CHECK(check_value(name, shape));
      Value& v = plan_.values[i];
      v.image = shape.ndim == 4;
      v.batch = shape.sizes[0], v.c = shape.sizes[1];
      if (v.image) v.h = shape.sizes[2], v.w = shape.sizes[3];
      v.on_cuda = plan_.cuda != nullptr;
      v.layout.dtype = v.on_cuda || v.image ? args_.dtype : kFloat32;
      v.layout.block = kBlockBytes / v.layout.element_bytes();
    }
    for (int i = 0; i < args_.input_count; ++i) {
      const int input = args_.inputs[i];
      if (!exists(input) || ready_[input])
        return fail(LUCID_INVALID_ARGUMENT, "plan: input %d must be a value of its own, got %d", i, input);
      ready_[input] = true;
      plan_.values[input].input = i;
    }
    LUCID_CHECK(read_pixels());
    plan_.inputs.assign(args_.inputs, args_.inputs + args_.input_count);
    plan_.outputs.assign(args_.outputs, args_.outputs + args_.output_count);
    plan_.described_steps = args_.step_count;
    return ok();
  }

  lucid_status read_pixels() {
    for (int i = 0; args_.pixels != nullptr && i < args_.input_count; ++i) {
      if (!has_pixels(args_.pixels[i])) continue;
      const int input = args_.inputs[i];
      LUCID_CHECK(check_pixels(i, args_.pixels[i], args_.values[input]));
      if (plan_.cuda != nullptr)
        return fail(LUCID_UNSUPPORTED, "plan: inputs of pixels must be for a plan on the CPU, got input %d on cuda", i);
      plan_.values[input].pixels = true;
    }
    return ok();
  }

  lucid_status read_step(int index) {
    const lucid_plan_step& step = args_.steps[index];
    std::vector<lucid_shape> shapes;
    for (int i = 0; i < step.input_count; ++i) {
      if (!ready(step.inputs[i]))
        return fail(LUCID_INVALID_ARGUMENT, "its inputs must be computed before it, got value %d", step.inputs[i]);
      shapes.push_back(args_.values[step.inputs[i]]);
    }
    if (!exists(step.output) || ready_[step.output])
      return fail(LUCID_INVALID_ARGUMENT, "its output must be a value that nothing else computes, got %d", step.output);
    const StepKind* kind;
    lucid_shape y;
    LUCID_CHECK(check_step(step, shapes.data(), &kind, &y));
    const char* op = kind->described.name;
    LUCID_CHECK(check_shape(op, "its output", *ShapeOnly(args_.values[step.output]).get(), y));
    LUCID_CHECK(check_data(op, "weight", step.weight));
    LUCID_CHECK(check_data(op, "bias", step.bias));
    ready_[step.output] = true;
    const Description description{.step = step, .inputs = shapes.data()};
    mixes_images_ = mixes_images_ || (kind->mixes_images != nullptr && kind->mixes_images(description));
    kinds_.push_back(kind);
    return ok();
  }

  // For the images of a micro-batch.
  lucid_status make_step(int index) {
    const lucid_plan_step& step = args_.steps[index];
    if (is_empty(args_.values[step.output])) return ok();  // there is nothing to compute
    const int64_t images = images_[static_cast<size_t>(index)];
    std::vector<lucid_shape> shapes;
    for (int i = 0; i < step.input_count; ++i) {
      shapes.push_back(args_.values[step.inputs[i]]);
      if (images > 0) shapes.back().sizes[0] = images;
    }
    const Description description{.step = step, .inputs = shapes.data()};
    const StepKind& kind = *kinds_[static_cast<size_t>(index)];
    Operands operands{.inputs = {},
                      .y = value_in_micro_batches_of(images, step.output, plan_),
                      .winograd = args_.winograd != 0,
                      .bfloat16 = args_.dtype.code == LUCID_BFLOAT};
    Entry entry{.step = nullptr,
                .launch = nullptr,
                .described = index,
                .transfers = false,
                .inputs = {step.inputs, step.inputs + step.input_count},
                .output = step.output,
                .images = images};
    for (const int input : entry.inputs) operands.inputs.push_back(&value_in_micro_batches_of(images, input, plan_));
    if (plan_.cuda != nullptr) {
      entry.launch = std::make_unique<Launch>();
      entry.launch->algorithm = kind.described.name;
      LUCID_CHECK(kind.launch(description, operands, entry.launch.get()));
    } else {
      LUCID_CHECK(kind.make(description, operands, &entry.step));
    }
    plan_.entries.push_back(std::move(entry));
    return ok();
  }

  // Transfers take the images of who used a value first.
  const Value& first_use(int value) {
    const Value& v = plan_.values[value];
    return v.n > 0 ? v : value_in_micro_batches_of(0, value, plan_);
  }
  static int64_t images_of(const Value& v) { return v.n < v.batch ? v.n : 0; }

  std::unique_ptr<Step> make_import(const Value& v) const {
    return v.pixels ? import_pixels_step(v.input, args_.pixels[v.input], v) : import_step(v.input, v);
  }

  // Imports come first, exports last; each counts as part of the step beside it.
  void add_transfers() {
    std::vector<Entry> imports;
    for (const int input : plan_.inputs) {
      const Value& v = first_use(input);
      const auto reader = std::find_if(plan_.entries.begin(), plan_.entries.end(), [&](const Entry& entry) {
        return std::count(entry.inputs.begin(), entry.inputs.end(), input) > 0;
      });
      const bool exported = std::count(plan_.outputs.begin(), plan_.outputs.end(), input) > 0;
      if ((v.stays_outside && !v.pixels) || v.batch == 0 || (reader == plan_.entries.end() && !exported)) continue;
      const int described = reader != plan_.entries.end() ? reader->described : 0;
      imports.push_back({.step = v.on_cuda ? nullptr : make_import(v),
                         .launch = v.on_cuda ? import_launch(v.input, v) : nullptr,
                         .described = described,
                         .transfers = true,
                         .inputs = {},
                         .output = input,
                         .images = images_of(v)});
    }
    std::move(plan_.entries.begin(), plan_.entries.end(), std::back_inserter(imports));
    plan_.entries = std::move(imports);
    for (int i = 0; i < args_.output_count; ++i) {
      if (plan_.values[args_.outputs[i]].batch == 0) continue;
      const Value& v = first_use(args_.outputs[i]);
      plan_.entries.push_back({.step = v.on_cuda ? nullptr : export_step(v, i),
                               .launch = v.on_cuda ? export_launch(v, i) : nullptr,
                               .described = std::max(0, args_.step_count - 1),
                               .transfers = true,
                               .inputs = {args_.outputs[i]},
                               .output = -1,
                               .images = images_of(v)});
    }
  }

  lucid_status pack_weights() {
    const auto whole_lines = [](int64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; };
    int64_t bytes = 0;
    for (const Entry& entry : plan_.entries) bytes += whole_lines(entry.step->weight_bytes());
    plan_.weights = std::make_unique<Scratch<std::byte>>(bytes);
    std::byte* packed = plan_.weights->data();
    if (packed == nullptr)
      return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for %lld bytes of weights", static_cast<long long>(bytes));
    Step* before = nullptr;  // the last with weights, whose next this one's are
    for (const Entry& entry : plan_.entries) {
      entry.step->pack_weights(packed);
      packed += whole_lines(entry.step->weight_bytes());
    }
    for (const Entry& entry : plan_.entries) {
      plan_.multiplications += entry.step->multiplications() * static_cast<double>(micro_batches_of(plan_, entry));
      if (entry.step->weight_bytes() == 0) continue;
      if (before != nullptr) before->prefetch(entry.step.get());
      before = entry.step.get();
    }
    return ok();
  }

  const lucid_plan_args& args_;
  lucid_plan& plan_;
  std::vector<bool> ready_;
  std::vector<const StepKind*> kinds_;  // of the steps
  bool mixes_images_ = false;           // whether a step does
  std::vector<int64_t> images_;         // that each step takes in a micro-batch, or 0
};

lucid_status check_cpu(const lucid_plan_args& args) {
  LUCID_CHECK(check_no_stream("plan", args.context));
  if (same_dtype(args.dtype, kFloat32) || same_dtype(args.dtype, kBfloat16)) return ok();
  return fail(LUCID_UNSUPPORTED, "plan: dtype must be float32 or bfloat16 on the CPU, got %s",
              DtypeText(args.dtype).c_str());
}

lucid_status choose_device(lucid_plan_args* args, lucid_plan* plan) {
  if (same_dtype(args->dtype, {})) args->dtype = kFloat32;
  if (args->device.type == 0 || args->device.type == LUCID_CPU) return check_cpu(*args);
  if (args->device.type != LUCID_CUDA)
    return fail(LUCID_UNSUPPORTED, "plan: the device must be the CPU or cuda, got device type %d", args->device.type);
  LUCID_CHECK(CudaPlan::create(*args, &plan->cuda));
  plan->device = args->device;
  return ok();
}

lucid_status create(lucid_plan_args args, lucid_plan** plan) {
  try {
    auto made = std::make_unique<lucid_plan>();
    LUCID_CHECK(choose_device(&args, made.get()));
    LUCID_CHECK(Loader(args, *made).load());
    *plan = made.release();
    return ok();
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for its description");
  }
}

}  // namespace
}  // namespace lucid::plan

namespace lucid {
template <>
constexpr size_t kSizeInVersion2<lucid_plan_args> = offsetof(lucid_plan_args, device);
}  // namespace lucid

extern "C" lucid_status lucid_plan_create(const lucid_plan_args* args, lucid_plan** plan) {
  if (plan == nullptr) return lucid::fail(LUCID_INVALID_ARGUMENT, "plan: the plan must have a place, got NULL");
  *plan = nullptr;
  return lucid::with_arguments("plan", args,
                               [&](const lucid_plan_args& complete) { return lucid::plan::create(complete, plan); });
}

extern "C" void lucid_plan_destroy(lucid_plan* plan) { delete plan; }
