// One function an operator: arrays in, a new array out.
#include <pybind11/stl.h>

#include <array>

#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

py::array conv2d(const py::object& x, const py::object& weight, const py::object& bias, Pair stride, Pair padding,
                 Pair dilation, int64_t groups, const std::optional<std::string>& algorithm) {
  TensorArgument x_arg("conv2d", "x", x), weight_arg("conv2d", "weight", weight);
  OptionalTensorArgument bias_arg("conv2d", "bias", bias);
  lucid_conv2d_args args{.x = x_arg.get(),
                         .weight = weight_arg.get(),
                         .bias = bias_arg.get(),
                         .y = nullptr,
                         .stride = {stride[0], stride[1]},
                         .padding = {padding[0], padding[1]},
                         .dilation = {dilation[0], dilation[1]},
                         .groups = groups,
                         .algorithm = algorithm ? algorithm->c_str() : nullptr};
  std::vector<int64_t> shape(4);
  check(lucid_conv2d_output_shape(&args, shape.data()));
  py::array y = new_array("conv2d", shape);
  TensorArgument y_arg("conv2d", "y", y);
  args.y = y_arg.get();
  call(lucid_conv2d, args);
  return y;
}

std::vector<std::string> conv2d_algorithms(const py::object& x, const py::object& weight, Pair stride, Pair padding,
                                           Pair dilation, int64_t groups) {
  TensorArgument x_arg("conv2d", "x", x), weight_arg("conv2d", "weight", weight);
  const lucid_conv2d_args args{.x = x_arg.get(),
                               .weight = weight_arg.get(),
                               .bias = nullptr,
                               .y = nullptr,
                               .stride = {stride[0], stride[1]},
                               .padding = {padding[0], padding[1]},
                               .dilation = {dilation[0], dilation[1]},
                               .groups = groups,
                               .algorithm = nullptr};
  const char* names = nullptr;
  check(lucid_conv2d_algorithms(&args, &names));
  return split(names, ',');
}

py::array pool2d(const char* op, lucid_pool2d_args args, const py::object& x) {
  TensorArgument x_arg(op, "x", x);
  args.x = x_arg.get();
  std::vector<int64_t> shape(4);
  check(lucid_pool2d_output_shape(&args, shape.data()));
  py::array y = new_array(op, shape);
  TensorArgument y_arg(op, "y", y);
  args.y = y_arg.get();
  call(lucid_pool2d, args);
  return y;
}

py::array max_pool2d(const py::object& x, Pair kernel_size, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
  return pool2d("max_pool2d",
                {.x = nullptr,
                 .y = nullptr,
                 .kind = LUCID_POOL_MAX,
                 .kernel = {kernel_size[0], kernel_size[1]},
                 .stride = {stride[0], stride[1]},
                 .padding = {padding[0], padding[1]},
                 .dilation = {dilation[0], dilation[1]},
                 .ceil_mode = ceil_mode,
                 .count_include_pad = 0},
                x);
}

py::array avg_pool2d(const py::object& x, Pair kernel_size, Pair stride, Pair padding, bool ceil_mode,
                     bool count_include_pad) {
  return pool2d("avg_pool2d",
                {.x = nullptr,
                 .y = nullptr,
                 .kind = LUCID_POOL_AVERAGE,
                 .kernel = {kernel_size[0], kernel_size[1]},
                 .stride = {stride[0], stride[1]},
                 .padding = {padding[0], padding[1]},
                 .dilation = {1, 1},
                 .ceil_mode = ceil_mode,
                 .count_include_pad = count_include_pad},
                x);
}

std::vector<int64_t> shape_of(const TensorArgument& argument) {
  return {argument.array().shape(), argument.array().shape() + argument.array().ndim()};
}

// Sizes of results where lucid.h has no function for it. What is missing or makes no sense counts as 0; the operator
// then says what is wrong with the argument.
int64_t size_of(const TensorArgument& argument, int dim) {
  return dim < argument.array().ndim() ? argument.array().shape(dim) : 0;
}

int64_t quotient(int64_t channels, int64_t radix) { return radix > 0 ? channels / radix : 0; }

py::array global_avg_pool2d(const py::object& x, int64_t radix) {
  TensorArgument x_arg("global_avg_pool2d", "x", x);
  py::array y = new_array("global_avg_pool2d", {size_of(x_arg, 0), quotient(size_of(x_arg, 1), radix)});
  TensorArgument y_arg("global_avg_pool2d", "y", y);
  call(lucid_global_avg_pool2d, lucid_global_avg_pool2d_args{.x = x_arg.get(), .y = y_arg.get(), .radix = radix});
  return y;
}

py::array batch_norm(const py::object& x, const py::object& weight, const py::object& bias, const py::object& mean,
                     const py::object& var, double eps, bool relu) {
  TensorArgument x_arg("batch_norm", "x", x), mean_arg("batch_norm", "mean", mean), var_arg("batch_norm", "var", var);
  OptionalTensorArgument weight_arg("batch_norm", "weight", weight), bias_arg("batch_norm", "bias", bias);
  py::array y = new_array("batch_norm", shape_of(x_arg));
  TensorArgument y_arg("batch_norm", "y", y);
  call(lucid_batch_norm, lucid_batch_norm_args{.x = x_arg.get(),
                                               .y = y_arg.get(),
                                               .weight = weight_arg.get(),
                                               .bias = bias_arg.get(),
                                               .mean = mean_arg.get(),
                                               .var = var_arg.get(),
                                               .eps = eps,
                                               .relu = relu});
  return y;
}

py::tuple batch_norm_statistics(const py::object& x) {
  TensorArgument x_arg("batch_norm_statistics", "x", x);
  py::array mean = new_array("batch_norm_statistics", {size_of(x_arg, 1)}),
            var = new_array("batch_norm_statistics", {size_of(x_arg, 1)});
  TensorArgument mean_arg("batch_norm_statistics", "mean", mean), var_arg("batch_norm_statistics", "var", var);
  call(lucid_batch_norm_statistics,
       lucid_batch_norm_statistics_args{.x = x_arg.get(), .mean = mean_arg.get(), .var = var_arg.get()});
  return py::make_tuple(mean, var);
}

py::array split_attention(const py::object& x, const py::object& logits, int64_t radix, int64_t cardinality) {
  TensorArgument x_arg("split_attention", "x", x), logits_arg("split_attention", "logits", logits);
  py::array y = new_array(
      "split_attention", {size_of(x_arg, 0), quotient(size_of(x_arg, 1), radix), size_of(x_arg, 2), size_of(x_arg, 3)});
  TensorArgument y_arg("split_attention", "y", y);
  call(lucid_split_attention,
       lucid_split_attention_args{
           .x = x_arg.get(), .logits = logits_arg.get(), .y = y_arg.get(), .radix = radix, .cardinality = cardinality});
  return y;
}

py::array linear(const py::object& x, const py::object& weight, const py::object& bias) {
  TensorArgument x_arg("linear", "x", x), weight_arg("linear", "weight", weight);
  OptionalTensorArgument bias_arg("linear", "bias", bias);
  py::array y = new_array("linear", {size_of(x_arg, 0), size_of(weight_arg, 0)});
  TensorArgument y_arg("linear", "y", y);
  call(lucid_linear,
       lucid_linear_args{.x = x_arg.get(), .weight = weight_arg.get(), .bias = bias_arg.get(), .y = y_arg.get()});
  return y;
}

py::array relu(const py::object& x, bool inplace) {
  TensorArgument x_arg("relu", "x", x);
  if (inplace && !x_arg.array().writeable())
    throw py::value_error("relu: x must be writable to be changed in place, got a read-only array");
  py::array y = inplace ? x_arg.array() : new_array("relu", shape_of(x_arg));
  TensorArgument y_arg("relu", "y", y);
  call(lucid_relu, lucid_relu_args{.x = x_arg.get(), .y = y_arg.get()});
  return y;
}

py::array add(const py::object& a, const py::object& b) {
  TensorArgument a_arg("add", "a", a), b_arg("add", "b", b);
  py::array y = new_array("add", shape_of(a_arg));
  TensorArgument y_arg("add", "y", y);
  call(lucid_add, lucid_add_args{.a = a_arg.get(), .b = b_arg.get(), .y = y_arg.get()});
  return y;
}

}  // namespace

void register_operators(py::module_& module) {
  module.def("conv2d", conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
             py::arg("dilation"), py::arg("groups"), py::arg("algorithm") = py::none());
  module.def("conv2d_algorithms", conv2d_algorithms, py::arg("x"), py::arg("weight"), py::arg("stride"),
             py::arg("padding"), py::arg("dilation"), py::arg("groups"));
  module.def("max_pool2d", max_pool2d, py::arg("x"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
             py::arg("dilation"), py::arg("ceil_mode"));
  module.def("avg_pool2d", avg_pool2d, py::arg("x"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
             py::arg("ceil_mode"), py::arg("count_include_pad"));
  module.def("global_avg_pool2d", global_avg_pool2d, py::arg("x"), py::arg("radix") = 1);
  module.def("batch_norm", batch_norm, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("mean"),
             py::arg("var"), py::arg("eps"), py::arg("relu") = false);
  module.def("batch_norm_statistics", batch_norm_statistics, py::arg("x"));
  module.def("split_attention", split_attention, py::arg("x"), py::arg("logits"), py::arg("radix"),
             py::arg("cardinality"));
  module.def("linear", linear, py::arg("x"), py::arg("weight"), py::arg("bias"));
  module.def("relu", relu, py::arg("x"), py::arg("inplace") = false);
  module.def("add", add, py::arg("a"), py::arg("b"));
}

}  // namespace lucid::python
