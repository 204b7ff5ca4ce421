// Plan: lucid_plan for Python.
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <tuple>

#include "python/arrays.h"
#include "python/device_array.h"
#include "python/module.h"

namespace lucid::python {
namespace {

// For each input mean and std, or None.
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Scales = std::vector<std::optional<std::pair<Floats, Floats>>>;

// One step of a description, and what keeps its names, numbers and arrays alive.
class StepArgument {
 public:
  StepArgument(std::string kind, std::vector<int32_t> inputs, int32_t output, const py::dict& attributes)
      : kind_(std::move(kind)), inputs_(std::move(inputs)) {
    for (const auto& [name, value] : attributes) add_attribute(py::cast<std::string>(name), value);
    for (size_t i = 0; i < names_.size(); ++i) attributes_[i].name = names_[i].c_str();
    step_ = {.kind = kind_.c_str(),
             .inputs = inputs_.data(),
             .input_count = static_cast<int32_t>(inputs_.size()),
             .output = output,
             .attributes = attributes_.data(),
             .attribute_count = static_cast<int32_t>(attributes_.size()),
             .weight = nullptr,
             .bias = nullptr};
  }
  StepArgument(const StepArgument&) = delete;
  StepArgument& operator=(const StepArgument&) = delete;

  void set_weight(const std::string& name, const lucid_tensor* tensor) {
    if (name == "weight")
      step_.weight = tensor;
    else if (name == "bias")
      step_.bias = tensor;
    else
      throw py::value_error(kind_ + ": weights must be named weight or bias, got " + name);
  }
  const std::string& kind() const { return kind_; }
  const lucid_plan_step& get() const { return step_; }

 private:
  // Ints and bools are one value, tuples as many as they hold.
  void add_attribute(const std::string& name, const py::handle& value) {
    lucid_attribute attribute{};
    const bool several = py::isinstance<py::tuple>(value);
    const auto values = several ? py::cast<std::vector<py::object>>(value)
                                : std::vector<py::object>{py::reinterpret_borrow<py::object>(value)};
    for (const py::object& part : values)
      if (!PyLong_Check(part.ptr()) || values.size() > std::size(attribute.values))
        throw py::value_error(kind_ + ": " + name + " must be a bool, an int or a tuple of 2 or 4 ints, got " +
                              std::string(py::repr(value)));
    attribute.count = static_cast<int32_t>(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      int overflow = 0;
      attribute.values[i] = PyLong_AsLongLongAndOverflow(values[i].ptr(), &overflow);
      if (overflow != 0)
        throw py::value_error(kind_ + ": " + name + " must fit into 64 bits, got " + std::string(py::repr(value)));
    }
    names_.push_back(name);
    attributes_.push_back(attribute);
  }

  std::string kind_;
  std::vector<int32_t> inputs_;
  std::vector<std::string> names_;
  std::vector<lucid_attribute> attributes_;
  lucid_plan_step step_;
};

// The steps of a description, and the arrays that keep their weights alive.
class Steps {
 public:
  explicit Steps(const std::vector<py::dict>& described) {
    for (const py::dict& step : described) {
      steps_.push_back(std::make_unique<StepArgument>(
          py::cast<std::string>(step["kind"]), py::cast<std::vector<int32_t>>(step["inputs"]),
          py::cast<int32_t>(step["output"]), py::cast<py::dict>(step["attributes"])));
      StepArgument& made = *steps_.back();
      for (const auto& [key, array] : py::cast<py::dict>(step["weights"])) {
        const auto name = py::cast<std::string>(key);
        tensors_.push_back(std::make_unique<TensorArgument>(made.kind().c_str(), name.c_str(),
                                                            py::reinterpret_borrow<py::object>(array)));
        made.set_weight(name, tensors_.back()->get());
      }
      described_.push_back(made.get());
    }
  }
  const std::vector<lucid_plan_step>& get() const { return described_; }

 private:
  std::vector<std::unique_ptr<StepArgument>> steps_;
  std::vector<std::unique_ptr<TensorArgument>> tensors_;
  std::vector<lucid_plan_step> described_;
};

// The pixels that lucid_plan_args points to, and what keeps them alive.
class PixelsArgument {
 public:
  explicit PixelsArgument(const Scales& inputs) : scales_(inputs) {
    for (const auto& scale : scales_)
      pixels_.push_back(scale ? lucid_pixels{scale->first.data(), scale->second.data()} : lucid_pixels{});
  }
  const lucid_pixels* get() const { return pixels_.empty() ? nullptr : pixels_.data(); }

 private:
  Scales scales_;
  std::vector<lucid_pixels> pixels_;
};

// Attributes and weights of a step, by the names that its kind gives them.
py::dict step_kinds() {
  static constexpr const char* kTypes[] = {"int", "bool", "pair", "padding"};
  py::dict kinds;
  for (int32_t i = 0; const lucid_step_kind* kind = lucid_step_kind_at(i); ++i) {
    py::dict attributes;
    for (int32_t j = 0; j < kind->attribute_count; ++j)
      attributes[kind->attributes[j].name] = kTypes[kind->attributes[j].type];
    py::list weights, optional;
    const auto sort = [&](const char* name, int32_t presence) {
      if (presence == LUCID_REQUIRED) weights.append(name);
      if (presence == LUCID_OPTIONAL) optional.append(name);
    };
    sort("weight", kind->weight);
    sort("bias", kind->bias);
    py::dict described;
    described["attributes"] = attributes;
    described["inputs"] = py::make_tuple(kind->fewest_inputs, kind->most_inputs);
    described["weights"] = py::tuple(weights);
    described["optional"] = py::tuple(optional);
    kinds[kind->name] = described;
  }
  return kinds;
}

py::tuple step_output_shape(const std::string& kind, const std::vector<Shape>& inputs, const py::dict& attributes,
                            const std::map<std::string, Shape>& weights) {
  StepArgument step(kind, std::vector<int32_t>(inputs.size()), -1, attributes);
  std::vector<lucid_shape> shapes;
  for (const Shape& sizes : inputs) shapes.push_back(shape_from(sizes));
  std::map<std::string, lucid_tensor> tensors;
  for (const auto& [name, sizes] : weights) {
    tensors[name] = {.data = nullptr,
                     .device = {LUCID_CPU, 0},
                     .ndim = static_cast<int32_t>(sizes.size()),
                     .dtype = {LUCID_FLOAT, 32, 1},
                     .shape = sizes.data(),
                     .strides = nullptr,
                     .byte_offset = 0};
    step.set_weight(name, &tensors[name]);
  }
  lucid_shape y;
  check(lucid_step_output_shape(&step.get(), shapes.data(), &y));
  return py::tuple(py::cast(sizes_of(y)));
}

lucid_dtype dtype_named(const std::string& name) {
  if (name == "float32") return {LUCID_FLOAT, 32, 1};
  if (name == "float16") return {LUCID_FLOAT, 16, 1};
  if (name == "bfloat16") return {LUCID_BFLOAT, 16, 1};
  throw py::value_error("plan: dtype must be float32, float16 or bfloat16, got " + name);
}

class Plan {
 public:
  // `device` is the index of one of CUDA, or none for the CPU; `threads` are those of a call, 0 for all there are.
  Plan(const std::vector<Shape>& values, const std::vector<int32_t>& inputs, const std::vector<int32_t>& outputs,
       const std::vector<py::dict>& steps, bool winograd, std::optional<int32_t> device, const std::string& dtype,
       bool tf32, const Scales& pixels, int64_t threads)
      : device_(device ? lucid_device{LUCID_CUDA, *device} : lucid_device{LUCID_CPU, 0}),
        step_count_(static_cast<int32_t>(steps.size())),
        input_count_(inputs.size()) {
    std::vector<lucid_shape> described;
    for (const Shape& sizes : values) described.push_back(shape_from(sizes));
    const Steps made(steps);
    const PixelsArgument scales(pixels);
    lucid_context context{};
    context.size = sizeof context;
    context.threads = threads;
    const lucid_plan_args args{.size = sizeof args,
                               .values = described.data(),
                               .steps = made.get().data(),
                               .inputs = inputs.data(),
                               .outputs = outputs.data(),
                               .value_count = static_cast<int32_t>(described.size()),
                               .step_count = step_count_,
                               .input_count = static_cast<int32_t>(inputs.size()),
                               .output_count = static_cast<int32_t>(outputs.size()),
                               .winograd = winograd,
                               .context = &context,
                               .device = device_,
                               .dtype = dtype_named(dtype),
                               .tf32 = tf32,
                               .pixels = scales.get()};
    lucid_plan* plan = nullptr;
    lucid_status status;
    {
      WithoutGil released;
      status = lucid_plan_create(&args, &plan);
    }
    check(status);
    plan_.reset(plan);
    for (const int32_t output : outputs) output_shapes_.push_back(described[static_cast<size_t>(output)]);
  }

  // On at most `threads` threads of the CPU; 0 for as many as there are.
  std::vector<py::object> run(const std::vector<py::object>& inputs, int64_t threads) const {
    return run_with(inputs, threads, {});
  }

  // Of each step its time, how long a thread waits behind it, and how much of that is the barrier's; in milliseconds.
  std::vector<std::tuple<double, double, double>> profile(const std::vector<py::object>& inputs,
                                                          int64_t threads) const {
    const auto steps = static_cast<size_t>(step_count_);
    std::vector<double> milliseconds(steps), waiting(steps), barriers(steps);
    run_with(inputs, threads, {milliseconds.data(), waiting.data(), barriers.data()});
    std::vector<std::tuple<double, double, double>> times;
    for (size_t i = 0; i < steps; ++i) times.emplace_back(milliseconds[i], waiting[i], barriers[i]);
    return times;
  }

  std::vector<std::string> algorithms() const {
    std::vector<std::string> names;
    for (int32_t i = 0; i < step_count_; ++i) names.emplace_back(lucid_plan_algorithm(plan_.get(), i));
    return names;
  }

  std::vector<double> largest_shares(int32_t threads) const {
    std::vector<double> shares;
    for (int32_t i = 0; i < step_count_; ++i) shares.push_back(lucid_plan_largest_share(plan_.get(), i, threads));
    return shares;
  }

  std::map<std::string, int64_t> memory() const {
    return {{"weights", lucid_plan_weight_bytes(plan_.get())}, {"arena", lucid_plan_arena_bytes(plan_.get())}};
  }

 private:
  struct Destroy {
    void operator()(lucid_plan* plan) const { lucid_plan_destroy(plan); }
  };

  // Places for the times of steps, or nulls.
  struct Times {
    double *milliseconds = nullptr, *waiting = nullptr, *barriers = nullptr;
  };

  // The results of a plan on CUDA are NumPy arrays if all inputs are.
  std::vector<py::object> run_with(std::vector<py::object> inputs, int64_t threads, const Times& times) const {
    if (inputs.size() != input_count_)
      throw py::value_error("plan: takes " + std::to_string(input_count_) + " inputs, got " +
                            std::to_string(inputs.size()));
    const bool on_cuda = device_.type == LUCID_CUDA;
    bool copies_back = on_cuda && times.milliseconds == nullptr;
    for (py::object& input : inputs) {
      if (!on_cuda) break;
      if (py::isinstance<py::array>(input))
        input = device_array(py::reinterpret_borrow<py::array>(input), device_.id);
      else
        copies_back = false;
    }
    std::vector<std::unique_ptr<TensorArgument>> arguments;
    std::vector<lucid_tensor*> tensors;
    std::vector<py::object> outputs;
    const auto add = [&](const char* name, const py::object& array) {
      arguments.push_back(std::make_unique<TensorArgument>("plan", name, array));
      tensors.push_back(arguments.back()->get());
    };
    for (const py::object& input : inputs) add("input", input);
    for (const lucid_shape& shape : output_shapes_) {
      outputs.push_back(new_result("plan", shape, device_));
      add("output", outputs.back());
    }
    lucid_context context = call_context(device_);
    context.threads = threads;
    lucid_status status;
    {
      WithoutGil released;
      lucid_tensor* const* given = tensors.data();
      status = lucid_plan_profile(plan_.get(), given, given + inputs.size(), times.milliseconds, times.waiting,
                                  times.barriers, &context);
    }
    check(status);
    if (copies_back)
      for (py::object& output : outputs) output = to_host(output);
    return outputs;
  }

  lucid_device device_;
  std::unique_ptr<lucid_plan, Destroy> plan_;
  int32_t step_count_;
  size_t input_count_;
  std::vector<lucid_shape> output_shapes_;
};

}  // namespace

void register_plan(py::module_& module) {
  module.def("step_kinds", step_kinds);
  module.def("step_output_shape", step_output_shape, py::arg("kind"), py::arg("inputs"), py::arg("attributes"),
             py::arg("weights"));
  py::class_<Plan>(module, "Plan")
      .def(py::init<const std::vector<Shape>&, const std::vector<int32_t>&, const std::vector<int32_t>&,
                    const std::vector<py::dict>&, bool, std::optional<int32_t>, const std::string&, bool, const Scales&,
                    int64_t>(),
           py::arg("shapes"), py::arg("inputs"), py::arg("outputs"), py::arg("steps"), py::arg("winograd") = true,
           py::arg("device") = py::none(), py::arg("dtype") = "float32", py::arg("tf32") = false,
           py::arg("pixels") = py::tuple(), py::arg("threads") = 0)
      .def("run", &Plan::run, py::arg("inputs"), py::arg("threads") = 0)
      .def("profile", &Plan::profile, py::arg("inputs"), py::arg("threads") = 0)
      .def("algorithms", &Plan::algorithms)
      .def("largest_shares", &Plan::largest_shares, py::arg("threads"))
      .def("memory", &Plan::memory);
}

}  // namespace lucid::python
