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
  lucid_conv2d_args args{.x = x_arg.get(), .weight = weight_arg.get(), .bias = bias_arg.get(), .y = nullptr,
                         .stride = {stride[0], stride[1]}, .padding = {padding[0], padding[1]},
                         .dilation = {dilation[0], dilation[1]}, .groups = groups,
                         .algorithm = algorithm ? algorithm->c_str() : nullptr};
  std::vector<int64_t> shape(4);
  check(lucid_conv2d_output_shape(&args, shape.data()));
  py::array y = new_array(shape);
  TensorArgument y_arg("conv2d", "y", y);
  args.y = y_arg.get();
  call(lucid_conv2d, args);
  return y;
}

std::vector<std::string> conv2d_algorithms(const py::object& x, const py::object& weight, Pair stride, Pair padding,
                                           Pair dilation, int64_t groups) {
  TensorArgument x_arg("conv2d", "x", x), weight_arg("conv2d", "weight", weight);
  const lucid_conv2d_args args{.x = x_arg.get(), .weight = weight_arg.get(), .bias = nullptr, .y = nullptr,
                               .stride = {stride[0], stride[1]}, .padding = {padding[0], padding[1]},
                               .dilation = {dilation[0], dilation[1]}, .groups = groups, .algorithm = nullptr};
  const char* names = nullptr;
  check(lucid_conv2d_algorithms(&args, &names));
  return split(names, ',');
}

}  // namespace

void register_operators(py::module_& module) {
  module.def("conv2d", conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
             py::arg("dilation"), py::arg("groups"), py::arg("algorithm") = py::none());
  module.def("conv2d_algorithms", conv2d_algorithms, py::arg("x"), py::arg("weight"), py::arg("stride"),
             py::arg("padding"), py::arg("dilation"), py::arg("groups"));
}

}  // namespace lucid::python
