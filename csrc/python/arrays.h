// Between NumPy arrays and lucid_tensor.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "lucid.h"

namespace lucid::python {

namespace py = pybind11;

using Pair = std::array<int64_t, 2>;

// A NumPy array as a lucid_tensor; keeps the array alive. Raises TypeError for what has no DLPack dtype (object,
// string, structured, byte-swapped) and ValueError for strides that are no multiple of the item size.
class TensorArgument {
 public:
  TensorArgument(const char* op, const char* name, const py::object& value);
  TensorArgument(const TensorArgument&) = delete;
  TensorArgument& operator=(const TensorArgument&) = delete;
  lucid_tensor* get() { return &tensor_; }
  const py::array& array() const { return array_; }

 private:
  py::array array_;
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

// A new float32 array in memory from lucid_alloc; images (rank 4) are channels-last in memory. MemoryError, naming the
// operator, where there is none.
py::array new_array(const char* op, const std::vector<int64_t>& shape);

// The parts of a list that lucid.h gives as text.
std::vector<std::string> split(const std::string& text, char separator);

// Raises the exception that a status stands for, with lucid_last_error() as its message.
void check(lucid_status status);

// Calls an operator without the GIL.
template <class Args>
void call(lucid_status (*operation)(const Args*), const Args& args) {
  lucid_status status;
  {
    py::gil_scoped_release release;
    status = operation(&args);
  }
  check(status);
}

}  // namespace lucid::python
