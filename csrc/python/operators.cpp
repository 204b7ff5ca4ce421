// One function an operator: arrays in, a new array out.
#include <pybind11/stl.h>

#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

py::object conv2d(const py::object& x, const py::object& weight, const py::object& bias, Pair stride, Padding padding,
                  Pair dilation, int64_t groups, const std::optional<std::string>& algorithm, bool winograd) {
  TensorArgument x_arg("conv2d", "x", x), weight_arg("conv2d", "weight", weight);
  OptionalTensorArgument bias_arg("conv2d", "bias", bias);
  lucid_conv2d_args args{};
  args.size = sizeof args;
  args.x = x_arg.get();
  args.weight = weight_arg.get();
  args.bias = bias_arg.get();
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.groups = groups;
  args.algorithm = algorithm ? algorithm->c_str() : nullptr;
  args.winograd = winograd;
  return run("conv2d", lucid_conv2d, lucid_conv2d_output_shape, args);
}

std::vector<std::string> conv2d_algorithms(const py::object& x, const py::object& weight, Pair stride, Padding padding,
                                           Pair dilation, int64_t groups, bool winograd) {
  TensorArgument x_arg("conv2d", "x", x), weight_arg("conv2d", "weight", weight);
  lucid_conv2d_args args{};
  args.size = sizeof args;
  args.x = x_arg.get();
  args.weight = weight_arg.get();
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.groups = groups;
  args.winograd = winograd;
  const lucid_context context = call_context(x_arg.get()->device);
  if (x_arg.get()->device.type == LUCID_CUDA) args.context = &context;
  const char* names = nullptr;
  check(lucid_conv2d_algorithms(&args, &names));
  return split(names, ',');
}

py::object conv2d_backward_input(const py::object& dy, const py::object& weight, int64_t height, int64_t width,
                                 Pair stride, Padding padding, Pair dilation, int64_t groups, bool winograd) {
  constexpr const char* op = "conv2d_backward_input";
  TensorArgument dy_arg(op, "dy", dy), weight_arg(op, "weight", weight);
  lucid_conv2d_backward_input_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  args.weight = weight_arg.get();
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.groups = groups;
  copy(Pair{height, width}, args.input_size);
  args.winograd = winograd;
  const py::object dx = new_output(op, lucid_conv2d_backward_input_output_shape, args);
  TensorArgument dx_arg(op, "dx", dx);
  args.dx = dx_arg.get();
  call(lucid_conv2d_backward_input, args);
  return dx;
}

py::tuple conv2d_backward_weight(const py::object& dy, const py::object& x, Pair kernel_size, Pair stride,
                                 Padding padding, Pair dilation, int64_t groups, bool bias) {
  constexpr const char* op = "conv2d_backward_weight";
  TensorArgument dy_arg(op, "dy", dy), x_arg(op, "x", x);
  lucid_conv2d_backward_weight_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  args.x = x_arg.get();
  copy(kernel_size, args.kernel_size);
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.groups = groups;
  lucid_shape shape;
  check(lucid_conv2d_backward_weight_output_shape(&args, &shape));
  const py::object dweight = new_result(op, shape, device_of(args));
  shape.ndim = 1;
  const py::object dbias = bias ? new_result(op, shape, device_of(args)) : py::none();
  TensorArgument dweight_arg(op, "dweight", dweight);
  OptionalTensorArgument dbias_arg(op, "dbias", dbias);
  args.dweight = dweight_arg.get();
  args.dbias = dbias_arg.get();
  call(lucid_conv2d_backward_weight, args);
  return py::make_tuple(dweight, dbias);
}

lucid_max_pool2d_args max_pool2d_args(TensorArgument& x, Pair kernel_size, Pair stride, Padding padding, Pair dilation,
                                      bool ceil_mode) {
  lucid_max_pool2d_args args{};
  args.size = sizeof args;
  args.x = x.get();
  copy(kernel_size, args.kernel_size);
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.ceil_mode = ceil_mode;
  return args;
}

py::object max_pool2d(const py::object& x, Pair kernel_size, Pair stride, Padding padding, Pair dilation,
                      bool ceil_mode) {
  TensorArgument x_arg("max_pool2d", "x", x);
  const lucid_max_pool2d_args args = max_pool2d_args(x_arg, kernel_size, stride, padding, dilation, ceil_mode);
  return run("max_pool2d", lucid_max_pool2d, lucid_max_pool2d_output_shape, args);
}

py::tuple max_pool2d_with_indices(const py::object& x, Pair kernel_size, Pair stride, Padding padding, Pair dilation,
                                  bool ceil_mode) {
  TensorArgument x_arg("max_pool2d", "x", x);
  lucid_max_pool2d_args args = max_pool2d_args(x_arg, kernel_size, stride, padding, dilation, ceil_mode);
  lucid_shape shape;
  check(lucid_max_pool2d_output_shape(&args, &shape));
  shape.dtype = {LUCID_INT, 64, 1};
  const py::object indices = new_result("max_pool2d", shape, device_of(args));
  TensorArgument indices_arg("max_pool2d", "indices", indices);
  args.indices = indices_arg.get();
  return py::make_tuple(run("max_pool2d", lucid_max_pool2d, lucid_max_pool2d_output_shape, args), indices);
}

py::object avg_pool2d(const py::object& x, Pair kernel_size, Pair stride, Padding padding, bool ceil_mode,
                      bool count_include_pad, int64_t divisor_override) {
  TensorArgument x_arg("avg_pool2d", "x", x);
  lucid_avg_pool2d_args args{};
  args.size = sizeof args;
  args.x = x_arg.get();
  copy(kernel_size, args.kernel_size);
  copy(stride, args.stride);
  copy_padding(padding, &args);
  args.ceil_mode = ceil_mode;
  args.count_include_pad = count_include_pad;
  args.divisor_override = divisor_override;
  return run("avg_pool2d", lucid_avg_pool2d, lucid_avg_pool2d_output_shape, args);
}

py::object adaptive_avg_pool2d(const py::object& x, Pair output_size) {
  TensorArgument x_arg("adaptive_avg_pool2d", "x", x);
  lucid_adaptive_avg_pool2d_args args{};
  args.size = sizeof args;
  args.x = x_arg.get();
  copy(output_size, args.output_size);
  return run("adaptive_avg_pool2d", lucid_adaptive_avg_pool2d, lucid_adaptive_avg_pool2d_output_shape, args);
}

py::object radix_sum_pool(const py::object& x, int64_t radix) {
  TensorArgument x_arg("radix_sum_pool", "x", x);
  const lucid_radix_sum_pool_args args{
      .size = sizeof args, .x = x_arg.get(), .y = nullptr, .radix = radix, .context = nullptr};
  return run("radix_sum_pool", lucid_radix_sum_pool, lucid_radix_sum_pool_output_shape, args);
}

py::object batch_norm(const py::object& x, const py::object& weight, const py::object& bias, const py::object& mean,
                      const py::object& var, double eps, bool relu, const py::object& residual) {
  TensorArgument x_arg("batch_norm", "x", x), mean_arg("batch_norm", "mean", mean), var_arg("batch_norm", "var", var);
  OptionalTensorArgument weight_arg("batch_norm", "weight", weight), bias_arg("batch_norm", "bias", bias);
  OptionalTensorArgument residual_arg("batch_norm", "residual", residual);
  const lucid_batch_norm_args args{.size = sizeof args,
                                   .x = x_arg.get(),
                                   .y = nullptr,
                                   .weight = weight_arg.get(),
                                   .bias = bias_arg.get(),
                                   .mean = mean_arg.get(),
                                   .var = var_arg.get(),
                                   .eps = eps,
                                   .relu = relu,
                                   .context = nullptr,
                                   .residual = residual_arg.get()};
  return run("batch_norm", lucid_batch_norm, lucid_batch_norm_output_shape, args);
}

py::tuple batch_norm_statistics(const py::object& x) {
  constexpr const char* op = "batch_norm_statistics";
  TensorArgument x_arg(op, "x", x);
  lucid_batch_norm_statistics_args args{};
  args.size = sizeof args;
  args.x = x_arg.get();
  const py::object mean = new_output(op, lucid_batch_norm_statistics_output_shape, args);
  const py::object var = new_output(op, lucid_batch_norm_statistics_output_shape, args);
  TensorArgument mean_arg(op, "mean", mean), var_arg(op, "var", var);
  args.mean = mean_arg.get();
  args.var = var_arg.get();
  call(lucid_batch_norm_statistics, args);
  return py::make_tuple(mean, var);
}

py::object split_attention(const py::object& x, const py::object& logits, int64_t radix, int64_t cardinality) {
  TensorArgument x_arg("split_attention", "x", x), logits_arg("split_attention", "logits", logits);
  const lucid_split_attention_args args{.size = sizeof args,
                                        .x = x_arg.get(),
                                        .logits = logits_arg.get(),
                                        .y = nullptr,
                                        .radix = radix,
                                        .cardinality = cardinality,
                                        .context = nullptr};
  return run("split_attention", lucid_split_attention, lucid_split_attention_output_shape, args);
}

py::object linear(const py::object& x, const py::object& weight, const py::object& bias, int64_t groups) {
  TensorArgument x_arg("linear", "x", x), weight_arg("linear", "weight", weight);
  OptionalTensorArgument bias_arg("linear", "bias", bias);
  const lucid_linear_args args{.size = sizeof args,
                               .x = x_arg.get(),
                               .weight = weight_arg.get(),
                               .bias = bias_arg.get(),
                               .y = nullptr,
                               .groups = groups,
                               .context = nullptr};
  return run("linear", lucid_linear, lucid_linear_output_shape, args);
}

py::object relu(const py::object& x, bool inplace) {
  TensorArgument x_arg("relu", "x", x);
  if (inplace && !x_arg.writable())
    throw py::value_error("relu: x must be writable to be changed in place, got a read-only array");
  lucid_relu_args args{.size = sizeof args, .x = x_arg.get(), .y = nullptr, .context = nullptr};
  if (!inplace) return run("relu", lucid_relu, lucid_relu_output_shape, args);
  args.y = x_arg.get();
  call(lucid_relu, args);
  return x_arg.array();
}

py::object sigmoid(const py::object& x) {
  TensorArgument x_arg("sigmoid", "x", x);
  const lucid_sigmoid_args args{.size = sizeof args, .x = x_arg.get(), .y = nullptr, .context = nullptr};
  return run("sigmoid", lucid_sigmoid, lucid_sigmoid_output_shape, args);
}

py::object softmax(const py::object& x, int32_t dim, bool log) {
  TensorArgument x_arg("softmax", "x", x);
  const lucid_softmax_args args{
      .size = sizeof args, .x = x_arg.get(), .y = nullptr, .dim = dim, .log = log, .context = nullptr};
  return run("softmax", lucid_softmax, lucid_softmax_output_shape, args);
}

py::object cross_entropy(const py::object& x, const py::object& target, const py::object& weight, int64_t ignore_index,
                         double label_smoothing, int32_t reduction) {
  constexpr const char* op = "cross_entropy";
  TensorArgument x_arg(op, "x", x), target_arg(op, "target", target);
  OptionalTensorArgument weight_arg(op, "weight", weight);
  const lucid_cross_entropy_args args{.size = sizeof args,
                                      .x = x_arg.get(),
                                      .target = target_arg.get(),
                                      .weight = weight_arg.get(),
                                      .y = nullptr,
                                      .ignore_index = ignore_index,
                                      .label_smoothing = label_smoothing,
                                      .reduction = reduction,
                                      .context = nullptr};
  return run(op, lucid_cross_entropy, lucid_cross_entropy_output_shape, args);
}

py::object add(const py::object& a, const py::object& b) {
  TensorArgument a_arg("add", "a", a), b_arg("add", "b", b);
  const lucid_add_args args{.size = sizeof args, .a = a_arg.get(), .b = b_arg.get(), .y = nullptr, .context = nullptr};
  return run("add", lucid_add, lucid_add_output_shape, args);
}

py::object mul(const py::object& a, const py::object& b) {
  TensorArgument a_arg("mul", "a", a), b_arg("mul", "b", b);
  const lucid_mul_args args{.size = sizeof args, .a = a_arg.get(), .b = b_arg.get(), .y = nullptr, .context = nullptr};
  return run("mul", lucid_mul, lucid_mul_output_shape, args);
}

}  // namespace

void register_operators(py::module_& module) {
  module.def("conv2d", conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
             py::arg("dilation"), py::arg("groups"), py::arg("algorithm") = py::none(), py::arg("winograd") = false);
  module.def("conv2d_algorithms", conv2d_algorithms, py::arg("x"), py::arg("weight"), py::arg("stride"),
             py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("winograd") = false);
  module.def("conv2d_backward_input", conv2d_backward_input, py::arg("dy"), py::arg("weight"), py::arg("height"),
             py::arg("width"), py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
             py::arg("winograd"));
  module.def("conv2d_backward_weight", conv2d_backward_weight, py::arg("dy"), py::arg("x"), py::arg("kernel_size"),
             py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("bias"));
  module.def("max_pool2d", max_pool2d, py::arg("x"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
             py::arg("dilation"), py::arg("ceil_mode"));
  module.def("max_pool2d_with_indices", max_pool2d_with_indices, py::arg("x"), py::arg("kernel_size"),
             py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("ceil_mode"));
  module.def("avg_pool2d", avg_pool2d, py::arg("x"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
             py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override") = 0);
  module.def("adaptive_avg_pool2d", adaptive_avg_pool2d, py::arg("x"), py::arg("output_size"));
  module.def("radix_sum_pool", radix_sum_pool, py::arg("x"), py::arg("radix"));
  module.def("batch_norm", batch_norm, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("mean"),
             py::arg("var"), py::arg("eps"), py::arg("relu") = false, py::arg("residual") = py::none());
  module.def("batch_norm_statistics", batch_norm_statistics, py::arg("x"));
  module.def("split_attention", split_attention, py::arg("x"), py::arg("logits"), py::arg("radix"),
             py::arg("cardinality"));
  module.def("linear", linear, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("groups") = 1);
  module.def("relu", relu, py::arg("x"), py::arg("inplace") = false);
  module.def("sigmoid", sigmoid, py::arg("x"));
  module.def("softmax", softmax, py::arg("x"), py::arg("dim"), py::arg("log") = false);
  module.def("cross_entropy", cross_entropy, py::arg("x"), py::arg("target"), py::arg("weight"),
             py::arg("ignore_index"), py::arg("label_smoothing"), py::arg("reduction"));
  module.def("add", add, py::arg("a"), py::arg("b"));
  module.def("mul", mul, py::arg("a"), py::arg("b"));
}

}  // namespace lucid::python
