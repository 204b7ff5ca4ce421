// One function an update: arrays in, which are changed in place.
#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

// Refuses the array of a tensor that is to be changed and must not be.
void require_writable(const char* op, const char* name, const TensorArgument& tensor) {
  if (!tensor.writable())
    throw py::value_error(std::string(op) + ": " + name + " must be writable, got a read-only array");
}

void sgd_update(const py::object& parameter, const py::object& gradient, const py::object& momentum_buffer, double lr,
                double momentum, double dampening, double weight_decay, bool nesterov, bool is_first_step) {
  constexpr const char* op = "sgd_update";
  TensorArgument parameter_arg(op, "parameter", parameter), gradient_arg(op, "gradient", gradient);
  std::optional<TensorArgument> buffer_arg;
  require_writable(op, "parameter", parameter_arg);
  if (!momentum_buffer.is_none()) {
    buffer_arg.emplace(op, "momentum_buffer", momentum_buffer);
    require_writable(op, "momentum_buffer", *buffer_arg);
  }
  lucid_sgd_update_args args{};
  args.size = sizeof args;
  args.parameter = parameter_arg.get();
  args.gradient = gradient_arg.get();
  args.momentum_buffer = buffer_arg ? buffer_arg->get() : nullptr;
  args.lr = lr;
  args.momentum = momentum;
  args.dampening = dampening;
  args.weight_decay = weight_decay;
  args.nesterov = nesterov;
  args.is_first_step = is_first_step;
  call(lucid_sgd_update, args);
}

void adamw_update(const py::object& parameter, const py::object& gradient, const py::object& exp_avg,
                  const py::object& exp_avg_sq, double lr, double beta1, double beta2, double eps, double weight_decay,
                  int64_t step) {
  constexpr const char* op = "adamw_update";
  TensorArgument parameter_arg(op, "parameter", parameter), gradient_arg(op, "gradient", gradient);
  TensorArgument mean_arg(op, "exp_avg", exp_avg), square_arg(op, "exp_avg_sq", exp_avg_sq);
  require_writable(op, "parameter", parameter_arg);
  require_writable(op, "exp_avg", mean_arg);
  require_writable(op, "exp_avg_sq", square_arg);
  lucid_adamw_update_args args{};
  args.size = sizeof args;
  args.parameter = parameter_arg.get();
  args.gradient = gradient_arg.get();
  args.exp_avg = mean_arg.get();
  args.exp_avg_sq = square_arg.get();
  args.lr = lr;
  args.beta1 = beta1;
  args.beta2 = beta2;
  args.eps = eps;
  args.weight_decay = weight_decay;
  args.step = step;
  call(lucid_adamw_update, args);
}

void average_update(const py::object& average, const py::object& parameter, double decay) {
  constexpr const char* op = "average_update";
  TensorArgument average_arg(op, "average", average), parameter_arg(op, "parameter", parameter);
  require_writable(op, "average", average_arg);
  lucid_average_update_args args{};
  args.size = sizeof args;
  args.average = average_arg.get();
  args.parameter = parameter_arg.get();
  args.decay = decay;
  call(lucid_average_update, args);
}

}  // namespace

void register_updates(py::module_& module) {
  module.def("sgd_update", sgd_update, py::arg("parameter"), py::arg("gradient"), py::arg("momentum_buffer"),
             py::arg("lr"), py::arg("momentum"), py::arg("dampening"), py::arg("weight_decay"), py::arg("nesterov"),
             py::arg("is_first_step"));
  module.def("adamw_update", adamw_update, py::arg("parameter"), py::arg("gradient"), py::arg("exp_avg"),
             py::arg("exp_avg_sq"), py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"),
             py::arg("weight_decay"), py::arg("step"));
  module.def("average_update", average_update, py::arg("average"), py::arg("parameter"), py::arg("decay"));
}

}  // namespace lucid::python
