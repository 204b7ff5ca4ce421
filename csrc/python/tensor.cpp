// TensorBase holds the array of a Tensor and lends its memory through the buffer protocol, which a class written in
// Python can only do from 3.12 on.
#include "python/device_array.h"
#include "python/module.h"

namespace lucid::python {
namespace {

struct TensorBase {
  py::object data;  // a borrowed buffer keeps it alive
};

TensorBase hold(const py::object& data) {
  if (py::isinstance<py::array>(data) || py::isinstance<DeviceArray>(data)) return {data};
  throw py::type_error("TensorBase: data must be a numpy.ndarray or a DeviceArray, got " +
                       std::string(py::str(py::type::of(data).attr("__name__"))));
}

py::buffer_info lend(const TensorBase& tensor) {
  if (!py::isinstance<py::array>(tensor.data))
    throw py::buffer_error("Tensor: memory of a GPU cannot be lent as a buffer; move the tensor by .cpu()");
  return py::reinterpret_borrow<py::array>(tensor.data).request(false);
}

}  // namespace

void register_tensor(py::module_& module) {
  py::class_<TensorBase>(module, "TensorBase", py::buffer_protocol())
      .def(py::init(&hold), py::arg("data"))
      .def(
          "_hold", [](TensorBase& tensor, const py::object& data) { tensor = hold(data); }, py::arg("data"))
      .def_property_readonly("data", [](const TensorBase& tensor) { return tensor.data; })
      .def_buffer([](TensorBase& tensor) { return lend(tensor); });
}

}  // namespace lucid::python
