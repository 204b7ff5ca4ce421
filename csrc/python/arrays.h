// Between NumPy arrays and lucid_tensor.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "lucid.h"
#include "python/gil.h"

namespace lucid::python {

namespace py = pybind11;

using Pair = std::array<int64_t, 2>;
using Padding = std::array<int64_t, 4>;  // top, left, bottom, right
using Shape = std::vector<int64_t>;

// Between NumPy's dtypes and those of lucid.h; `op` and `name` open the message of the TypeError for what has none
// (object, string, structured, byte-swapped), or for bfloat16 where the package ml_dtypes is missing.
lucid_dtype dtype_of(const char* op, const char* name, const py::dtype& dtype);
py::dtype numpy_dtype(lucid_dtype dtype);

// A NumPy array or a DeviceArray as a lucid_tensor; keeps the array alive. Raises TypeError for what has no dtype of
// lucid.h, and ValueError for strides that are no multiple of the item size.
class TensorArgument {
 public:
  TensorArgument(const char* op, const char* name, const py::object& value);
  TensorArgument(const TensorArgument&) = delete;
  TensorArgument& operator=(const TensorArgument&) = delete;
  lucid_tensor* get() { return &tensor_; }
  const py::object& array() const { return array_; }
  bool writable() const;

 private:
  void view(const char* op, const char* name, const py::array& array);

  py::object array_;
  std::vector<int64_t> shape_, strides_;
  lucid_tensor tensor_;
};

// None as a null pointer.
class OptionalTensorArgument {
 public:
  OptionalTensorArgument(const char* op, const char* name, const py::object& value) {
    if (!value.is_none()) tensor_.emplace(op, name, value);
  }
  lucid_tensor* get() { return tensor_ ? tensor_->get() : nullptr; }

 private:
  std::optional<TensorArgument> tensor_;
};

// A new array in memory from lucid_alloc, of float32 or int64; images (rank 4) are channels-last in memory.
// MemoryError, naming the operator, where there is none.
py::array new_array(const char* op, const lucid_shape& shape);
// As that, on any device: a NumPy array or a DeviceArray.
py::object new_result(const char* op, const lucid_shape& shape, lucid_device device);
// What a call on a device is enqueued on: this thread's current stream.
lucid_context call_context(lucid_device device);

// Between Python's shapes and float32 ones of lucid.h. ValueError for more dimensions than lucid.h has.
lucid_shape shape_from(const Shape& sizes);
Shape sizes_of(const lucid_shape& shape);

// The parts of a list that lucid.h gives as text.
std::vector<std::string> split(const std::string& text, char separator);

inline void copy(const Pair& from, int64_t (&to)[2]) { std::copy(from.begin(), from.end(), to); }

// Of four sides, as far as an int64 holds what the bottom and right have more.
template <class Args>
void copy_padding(const Padding& sides, Args* args) {
  for (int i = 0; i < 2; ++i) {
    args->padding[i] = sides[i];
    if (__builtin_sub_overflow(sides[2 + i], sides[i], &args->extra_padding[i]))
      args->extra_padding[i] = sides[i] < 0 ? INT64_MAX : INT64_MIN;
  }
}

// Raises the exception that a status stands for, with lucid_last_error() as its message.
void check(lucid_status status);

// Calls a function of lucid.h without the GIL, and raises what its status stands for.
template <class Function>
void without_gil(const Function& function) {
  lucid_status status;
  {
    WithoutGil released;
    status = function();
  }
  check(status);
}

// The device of a call, that of its first operand; of a gradient that of dy.
template <class Args>
lucid_device device_of(const Args& args) {
  if constexpr (requires { args.dy; })
    return args.dy->device;
  else if constexpr (requires { args.x; })
    return args.x->device;
  else if constexpr (requires { args.parameter; })
    return args.parameter->device;
  else
    return args.a->device;
}

// The output that an operator has for `args`, new and in the shape that it asks for.
template <class Args>
py::object new_output(const char* op, lucid_status (*output_shape)(const Args*, lucid_shape*), const Args& args) {
  lucid_shape shape;
  check(output_shape(&args, &shape));
  return new_result(op, shape, device_of(args));
}

// Calls an operator.
template <class Args>
void call(lucid_status (*operation)(const Args*), Args args) {
  const lucid_device device = device_of(args);
  lucid_context context;
  if (device.type == LUCID_CUDA) args.context = &(context = call_context(device));
  without_gil([&] { return operation(&args); });
}

// The new output of an operator that has one, `y`.
template <class Args>
py::object run(const char* op, lucid_status (*operation)(const Args*),
               lucid_status (*output_shape)(const Args*, lucid_shape*), Args args) {
  py::object y = new_output(op, output_shape, args);
  TensorArgument y_arg(op, "y", y);
  args.y = y_arg.get();
  call(operation, args);
  return y;
}

}  // namespace lucid::python
