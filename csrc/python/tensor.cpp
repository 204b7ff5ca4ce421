// TensorBase holds the array of a Tensor and lends its memory through the buffer protocol, which a class written in
// Python can only do from 3.12 on.
#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

struct TensorBase {
  py::array data;  // fixed for life, so that a borrowed buffer stays valid as long as the tensor
};

}  // namespace

void register_tensor(py::module_& module) {
  py::class_<TensorBase>(module, "TensorBase", py::buffer_protocol())
      .def(py::init([](const py::array& array) { return TensorBase{array}; }), py::arg("data").noconvert())
      .def_property_readonly("data", [](const TensorBase& tensor) { return tensor.data; })
      .def_buffer([](TensorBase& tensor) { return tensor.data.request(false); });
}

}  // namespace lucid::python
