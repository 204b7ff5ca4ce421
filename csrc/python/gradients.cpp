// One function a gradient: arrays in, new arrays out.
#include <pybind11/stl.h>

#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

// Calls a gradient that has one output.
template <class Args>
py::object run_backward(const char* op, lucid_status (*operation)(const Args*),
                        lucid_status (*output_shape)(const Args*, lucid_shape*), Args args) {
  const py::object dx = new_output(op, output_shape, args);
  TensorArgument dx_arg(op, "dx", dx);
  args.dx = dx_arg.get();
  call(operation, args);
  return dx;
}

py::tuple batch_norm_backward(const py::object& dy, const py::object& x, const py::object& y, const py::object& weight,
                              const py::object& mean, const py::object& var, double eps, bool training, bool residual) {
  constexpr const char* op = "batch_norm_backward";
  TensorArgument dy_arg(op, "dy", dy), x_arg(op, "x", x), mean_arg(op, "mean", mean), var_arg(op, "var", var);
  OptionalTensorArgument y_arg(op, "y", y), weight_arg(op, "weight", weight);
  lucid_batch_norm_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  args.x = x_arg.get();
  args.y = y_arg.get();
  args.weight = weight_arg.get();
  args.mean = mean_arg.get();
  args.var = var_arg.get();
  args.eps = eps;
  args.training = training;
  lucid_shape shape;
  check(lucid_batch_norm_backward_output_shape(&args, &shape));
  const lucid_shape channels{.dtype = {LUCID_FLOAT, 32, 1}, .ndim = 1, .sizes = {shape.sizes[1]}};
  const lucid_device device = device_of(args);
  const py::object dx = new_result(op, shape, device);
  const py::object dweight = new_result(op, channels, device), dbias = new_result(op, channels, device);
  TensorArgument dx_arg(op, "dx", dx), dweight_arg(op, "dweight", dweight), dbias_arg(op, "dbias", dbias);
  args.dx = dx_arg.get();
  args.dweight = dweight_arg.get();
  args.dbias = dbias_arg.get();
  const py::object dresidual = residual ? new_result(op, shape, device) : py::none();
  OptionalTensorArgument dresidual_arg(op, "dresidual", dresidual);
  args.dresidual = dresidual_arg.get();
  call(lucid_batch_norm_backward, args);
  if (!residual) return py::make_tuple(dx, dweight, dbias);
  return py::make_tuple(dx, dweight, dbias, dresidual);
}

py::object relu_backward(const py::object& dy, const py::object& y) {
  constexpr const char* op = "relu_backward";
  TensorArgument dy_arg(op, "dy", dy), y_arg(op, "y", y);
  const lucid_relu_backward_args args{
      .size = sizeof args, .dy = dy_arg.get(), .y = y_arg.get(), .dx = nullptr, .context = nullptr};
  return run_backward(op, lucid_relu_backward, lucid_relu_backward_output_shape, args);
}

py::object sigmoid_backward(const py::object& dy, const py::object& y) {
  constexpr const char* op = "sigmoid_backward";
  TensorArgument dy_arg(op, "dy", dy), y_arg(op, "y", y);
  const lucid_sigmoid_backward_args args{
      .size = sizeof args, .dy = dy_arg.get(), .y = y_arg.get(), .dx = nullptr, .context = nullptr};
  return run_backward(op, lucid_sigmoid_backward, lucid_sigmoid_backward_output_shape, args);
}

py::object softmax_backward(const py::object& dy, const py::object& y, int32_t dim, bool log) {
  constexpr const char* op = "softmax_backward";
  TensorArgument dy_arg(op, "dy", dy), y_arg(op, "y", y);
  const lucid_softmax_backward_args args{.size = sizeof args,
                                         .dy = dy_arg.get(),
                                         .y = y_arg.get(),
                                         .dx = nullptr,
                                         .dim = dim,
                                         .log = log,
                                         .context = nullptr};
  return run_backward(op, lucid_softmax_backward, lucid_softmax_backward_output_shape, args);
}

py::object cross_entropy_backward(const py::object& dy, const py::object& x, const py::object& target,
                                  const py::object& weight, int64_t ignore_index, double label_smoothing,
                                  int32_t reduction) {
  constexpr const char* op = "cross_entropy_backward";
  TensorArgument dy_arg(op, "dy", dy), x_arg(op, "x", x), target_arg(op, "target", target);
  OptionalTensorArgument weight_arg(op, "weight", weight);
  const lucid_cross_entropy_backward_args args{.size = sizeof args,
                                               .dy = dy_arg.get(),
                                               .x = x_arg.get(),
                                               .target = target_arg.get(),
                                               .weight = weight_arg.get(),
                                               .dx = nullptr,
                                               .ignore_index = ignore_index,
                                               .label_smoothing = label_smoothing,
                                               .reduction = reduction,
                                               .context = nullptr};
  return run_backward(op, lucid_cross_entropy_backward, lucid_cross_entropy_backward_output_shape, args);
}

py::object max_pool2d_backward(const py::object& dy, const py::object& indices, int64_t height, int64_t width,
                               Pair kernel_size, Pair stride, Padding padding, Pair dilation, bool ceil_mode) {
  constexpr const char* op = "max_pool2d_backward";
  TensorArgument dy_arg(op, "dy", dy), indices_arg(op, "indices", indices);
  lucid_max_pool2d_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  args.indices = indices_arg.get();
  copy({height, width}, args.image_size);
  copy(kernel_size, args.kernel_size);
  copy(stride, args.stride);
  copy_padding(padding, &args);
  copy(dilation, args.dilation);
  args.ceil_mode = ceil_mode;
  return run_backward(op, lucid_max_pool2d_backward, lucid_max_pool2d_backward_output_shape, args);
}

py::object avg_pool2d_backward(const py::object& dy, int64_t height, int64_t width, Pair kernel_size, Pair stride,
                               Padding padding, bool ceil_mode, bool count_include_pad, int64_t divisor_override) {
  constexpr const char* op = "avg_pool2d_backward";
  TensorArgument dy_arg(op, "dy", dy);
  lucid_avg_pool2d_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  copy({height, width}, args.image_size);
  copy(kernel_size, args.kernel_size);
  copy(stride, args.stride);
  copy_padding(padding, &args);
  args.ceil_mode = ceil_mode;
  args.count_include_pad = count_include_pad;
  args.divisor_override = divisor_override;
  return run_backward(op, lucid_avg_pool2d_backward, lucid_avg_pool2d_backward_output_shape, args);
}

py::object adaptive_avg_pool2d_backward(const py::object& dy, int64_t height, int64_t width) {
  constexpr const char* op = "adaptive_avg_pool2d_backward";
  TensorArgument dy_arg(op, "dy", dy);
  lucid_adaptive_avg_pool2d_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  copy({height, width}, args.image_size);
  return run_backward(op, lucid_adaptive_avg_pool2d_backward, lucid_adaptive_avg_pool2d_backward_output_shape, args);
}

py::object radix_sum_pool_backward(const py::object& dy, int64_t radix, int64_t height, int64_t width) {
  constexpr const char* op = "radix_sum_pool_backward";
  TensorArgument dy_arg(op, "dy", dy);
  lucid_radix_sum_pool_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  copy({height, width}, args.image_size);
  args.radix = radix;
  return run_backward(op, lucid_radix_sum_pool_backward, lucid_radix_sum_pool_backward_output_shape, args);
}

py::tuple split_attention_backward(const py::object& dy, const py::object& x, const py::object& logits, int64_t radix,
                                   int64_t cardinality) {
  constexpr const char* op = "split_attention_backward";
  TensorArgument dy_arg(op, "dy", dy), x_arg(op, "x", x), logits_arg(op, "logits", logits);
  lucid_split_attention_backward_args args{};
  args.size = sizeof args;
  args.dy = dy_arg.get();
  args.x = x_arg.get();
  args.logits = logits_arg.get();
  args.radix = radix;
  args.cardinality = cardinality;
  lucid_shape shape;
  check(lucid_split_attention_backward_output_shape(&args, &shape));
  lucid_shape logits_shape{.dtype = shape.dtype, .ndim = 2, .sizes = {shape.sizes[0], shape.sizes[1]}};
  const py::object dx = new_result(op, shape, device_of(args)), dlogits = new_result(op, logits_shape, device_of(args));
  TensorArgument dx_arg(op, "dx", dx), dlogits_arg(op, "dlogits", dlogits);
  args.dx = dx_arg.get();
  args.dlogits = dlogits_arg.get();
  call(lucid_split_attention_backward, args);
  return py::make_tuple(dx, dlogits);
}

}  // namespace

void register_gradients(py::module_& module) {
  module.def("batch_norm_backward", batch_norm_backward, py::arg("dy"), py::arg("x"), py::arg("y"), py::arg("weight"),
             py::arg("mean"), py::arg("var"), py::arg("eps"), py::arg("training"), py::arg("residual") = false);
  module.def("relu_backward", relu_backward, py::arg("dy"), py::arg("y"));
  module.def("sigmoid_backward", sigmoid_backward, py::arg("dy"), py::arg("y"));
  module.def("softmax_backward", softmax_backward, py::arg("dy"), py::arg("y"), py::arg("dim"), py::arg("log"));
  module.def("cross_entropy_backward", cross_entropy_backward, py::arg("dy"), py::arg("x"), py::arg("target"),
             py::arg("weight"), py::arg("ignore_index"), py::arg("label_smoothing"), py::arg("reduction"));
  module.def("max_pool2d_backward", max_pool2d_backward, py::arg("dy"), py::arg("indices"), py::arg("height"),
             py::arg("width"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
             py::arg("ceil_mode"));
  module.def("avg_pool2d_backward", avg_pool2d_backward, py::arg("dy"), py::arg("height"), py::arg("width"),
             py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("ceil_mode"),
             py::arg("count_include_pad"), py::arg("divisor_override"));
  module.def("adaptive_avg_pool2d_backward", adaptive_avg_pool2d_backward, py::arg("dy"), py::arg("height"),
             py::arg("width"));
  module.def("radix_sum_pool_backward", radix_sum_pool_backward, py::arg("dy"), py::arg("radix"), py::arg("height"),
             py::arg("width"));
  module.def("split_attention_backward", split_attention_backward, py::arg("dy"), py::arg("x"), py::arg("logits"),
             py::arg("radix"), py::arg("cardinality"));
}

}  // namespace lucid::python
