// Plan: lucid_plan for Python.
#include <pybind11/stl.h>

#include <memory>

#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

// The steps of a description, and the arrays that keep their weights alive.
class Steps {
 public:
  explicit Steps(const std::vector<py::dict>& described) {
    for (const py::dict& step : described) add(step);
  }
  const std::vector<lucid_plan_step>& get() const { return steps_; }

 private:
  static int32_t kind_of(const std::string& name) {
    static const std::map<std::string, int32_t> kinds{{"conv2d", LUCID_STEP_CONV2D},
                                                      {"max_pool2d", LUCID_STEP_POOL2D},
                                                      {"avg_pool2d", LUCID_STEP_POOL2D},
                                                      {"global_avg_pool2d", LUCID_STEP_GLOBAL_AVG_POOL2D},
                                                      {"linear", LUCID_STEP_LINEAR},
                                                      {"split_attention", LUCID_STEP_SPLIT_ATTENTION},
                                                      {"batch_norm", LUCID_STEP_BATCH_NORM},
                                                      {"add", LUCID_STEP_ADD},
                                                      {"relu", LUCID_STEP_RELU},
                                                      {"sigmoid", LUCID_STEP_SIGMOID},
                                                      {"softmax", LUCID_STEP_SOFTMAX},
                                                      {"flatten", LUCID_STEP_FLATTEN},
                                                      {"unflatten", LUCID_STEP_UNFLATTEN}};
    const auto found = kinds.find(name);
    if (found == kinds.end()) throw py::value_error("plan: unknown kind of step '" + name + "'");
    return found->second;
  }

  const lucid_tensor* tensor(const py::dict& step, const char* key) {
    if (!step.contains(key) || step[key].is_none()) return nullptr;
    tensors_.push_back(std::make_unique<TensorArgument>("plan", key, py::object(step[key])));
    return tensors_.back()->get();
  }

  void add(const py::dict& step) {
    const auto kind = py::cast<std::string>(step["kind"]);
    const auto inputs = py::cast<std::vector<int32_t>>(step["inputs"]);
    if (inputs.empty() || inputs.size() > 2) throw py::value_error("plan: a step has one or two inputs");
    lucid_plan_step s{};
    s.kind = kind_of(kind);
    s.input = inputs[0];
    s.other = inputs.size() == 2 ? inputs[1] : -1;
    s.output = py::cast<int32_t>(step["output"]);
    s.weight = tensor(step, "weight");
    s.bias = tensor(step, "bias");
    const auto pair = [&](const char* key, int64_t otherwise, int64_t* to) {
      const Pair value = step.contains(key) ? py::cast<Pair>(step[key]) : Pair{otherwise, otherwise};
      std::copy(value.begin(), value.end(), to);
    };
    pair("kernel", 1, s.kernel);
    pair("stride", 1, s.stride);
    pair("padding", 0, s.padding);
    pair("dilation", 1, s.dilation);
    const auto integer = [&](const char* key) {
      return step.contains(key) ? py::cast<int64_t>(step[key]) : int64_t{1};
    };
    s.groups = integer("groups");
    s.radix = integer("radix");
    s.cardinality = integer("cardinality");
    const auto flag = [&](const char* key) { return step.contains(key) && py::cast<bool>(step[key]); };
    s.pool_kind = kind == "max_pool2d" ? LUCID_POOL_MAX : LUCID_POOL_AVERAGE;
    s.ceil_mode = flag("ceil_mode");
    s.count_include_pad = flag("count_include_pad");
    s.relu = flag("relu");
    steps_.push_back(s);
  }

  std::vector<lucid_plan_step> steps_;
  std::vector<std::unique_ptr<TensorArgument>> tensors_;
};

class Plan {
 public:
  Plan(const std::vector<std::vector<int64_t>>& values, const std::vector<int32_t>& inputs,
       const std::vector<int32_t>& outputs, const std::vector<py::dict>& steps, bool winograd)
      : step_count_(static_cast<int32_t>(steps.size())) {
    std::vector<lucid_plan_value> described;
    for (const std::vector<int64_t>& shape : values) {
      if (shape.size() != 2 && shape.size() != 4) throw py::value_error("plan: a value must have rank 2 or 4");
      lucid_plan_value value{static_cast<int32_t>(shape.size()), {}};
      std::copy(shape.begin(), shape.end(), value.shape);
      described.push_back(value);
    }
    const Steps made(steps);
    const lucid_plan_args args{.values = described.data(),
                               .steps = made.get().data(),
                               .inputs = inputs.data(),
                               .outputs = outputs.data(),
                               .value_count = static_cast<int32_t>(described.size()),
                               .step_count = step_count_,
                               .input_count = static_cast<int32_t>(inputs.size()),
                               .output_count = static_cast<int32_t>(outputs.size()),
                               .winograd = winograd};
    lucid_plan* plan = nullptr;
    lucid_status status;
    {
      py::gil_scoped_release release;
      status = lucid_plan_create(&args, &plan);
    }
    check(status);
    plan_.reset(plan);
    for (const int32_t input : inputs) input_shapes_.push_back(values[static_cast<size_t>(input)]);
    for (const int32_t output : outputs) output_shapes_.push_back(values[static_cast<size_t>(output)]);
  }

  std::vector<py::array> run(const std::vector<py::object>& inputs) const { return run_with(inputs, nullptr); }

  std::vector<double> profile(const std::vector<py::object>& inputs) const {
    std::vector<double> milliseconds(static_cast<size_t>(step_count_));
    run_with(inputs, milliseconds.data());
    return milliseconds;
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

  std::vector<py::array> run_with(const std::vector<py::object>& inputs, double* milliseconds) const {
    if (inputs.size() != input_shapes_.size())
      throw py::value_error("plan: takes " + std::to_string(input_shapes_.size()) + " inputs, got " +
                            std::to_string(inputs.size()));
    std::vector<std::unique_ptr<TensorArgument>> arguments;
    std::vector<lucid_tensor*> tensors;
    std::vector<py::array> outputs;
    const auto add = [&](const char* name, const py::object& array) {
      arguments.push_back(std::make_unique<TensorArgument>("plan", name, array));
      tensors.push_back(arguments.back()->get());
    };
    for (const py::object& input : inputs) add("input", input);
    for (const std::vector<int64_t>& shape : output_shapes_) {
      outputs.push_back(new_array("plan", shape));
      add("output", outputs.back());
    }
    lucid_status status;
    {
      py::gil_scoped_release release;
      status = lucid_plan_run(plan_.get(), tensors.data(), tensors.data() + inputs.size(), milliseconds);
    }
    check(status);
    return outputs;
  }

  std::unique_ptr<lucid_plan, Destroy> plan_;
  int32_t step_count_;
  std::vector<std::vector<int64_t>> input_shapes_, output_shapes_;
};

}  // namespace

void register_plan(py::module_& module) {
  py::class_<Plan>(module, "Plan")
      .def(py::init<const std::vector<std::vector<int64_t>>&, const std::vector<int32_t>&, const std::vector<int32_t>&,
                    const std::vector<py::dict>&, bool>(),
           py::arg("values"), py::arg("inputs"), py::arg("outputs"), py::arg("steps"), py::arg("winograd") = true)
      .def("run", &Plan::run, py::arg("inputs"))
      .def("profile", &Plan::profile, py::arg("inputs"))
      .def("algorithms", &Plan::algorithms)
      .def("largest_shares", &Plan::largest_shares, py::arg("threads"))
      .def("memory", &Plan::memory);
}

}  // namespace lucid::python
