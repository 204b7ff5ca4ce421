// __cuda_array_interface__ (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html), of version 2 or 3:
// what Numba's arrays have, which have no DLPack.
#include <pybind11/stl.h>

#include <algorithm>

#include "python/device_array.h"

namespace lucid::python {
namespace {

constexpr const char* kOp = "from_dlpack";  // whose callers may give either

py::object member(const py::dict& interface, const char* name) {
  return interface.contains(name) ? py::object(interface[name]) : py::none();
}

// In elements; dense where there are none.
Shape strides_of(const py::object& bytes, const Shape& shape, int64_t itemsize) {
  if (bytes.is_none()) return dense_strides(shape, row_major(shape.size()));
  Shape strides = py::cast<Shape>(bytes);
  if (strides.size() != shape.size()) throw py::buffer_error("from_dlpack: strides must be as many as sizes");
  for (size_t d = 0; d < strides.size(); ++d) {
    if (strides[d] % itemsize != 0 && shape[d] > 1)
      throw py::buffer_error("from_dlpack: strides must be multiples of the item size " + std::to_string(itemsize));
    strides[d] /= itemsize;
  }
  return strides;
}

// The current stream comes behind the one that the elements are written on: 1 and 2 are the default streams, and
// without a number they are there.
void wait_for_producer(const py::object& number, int32_t device) {
  if (number.is_none()) return;
  const auto stream = py::cast<uintptr_t>(number);
  if (stream == 0) throw py::buffer_error("from_dlpack: the stream of __cuda_array_interface__ must not be 0");
  void* const producer = stream == 1 ? nullptr : reinterpret_cast<void*>(stream);
  check(lucid_cuda_stream_wait(device, current_stream(device), producer));
}

}  // namespace

py::dict array_interface(const DeviceArray& array) {
  py::object dtype;
  try {
    dtype = numpy_dtype(array.dtype());
  } catch (const py::type_error&) {
    throw py::attribute_error("__cuda_array_interface__: NumPy has no name for the dtype");
  }
  if (array.dtype().code == LUCID_BFLOAT)
    throw py::attribute_error("__cuda_array_interface__: NumPy has no name for bfloat16; use DLPack");
  Shape strides = array.strides();
  for (int64_t& stride : strides) stride *= array.itemsize();
  void* const stream = current_stream(array.memory().device());
  check(lucid_cuda_stream_wait(array.memory().device(), stream, array.memory().stream()));
  py::dict interface;
  interface["shape"] = py::tuple(py::cast(array.shape()));
  interface["typestr"] = dtype.attr("str");
  interface["data"] =
      py::make_tuple(array.size() == 0 ? 0 : reinterpret_cast<uintptr_t>(array.data()), array.memory().read_only());
  interface["strides"] = py::tuple(py::cast(strides));
  interface["version"] = 3;
  interface["stream"] = stream == nullptr ? 1 : reinterpret_cast<uintptr_t>(stream);
  return interface;
}

DeviceArray device_from_array_interface(const py::object& owner, int32_t device) {
  const py::dict interface = owner.attr("__cuda_array_interface__");
  if (!member(interface, "mask").is_none())
    throw py::buffer_error("from_dlpack: an array with a mask cannot be taken over");
  const Shape shape = py::cast<Shape>(interface["shape"]);
  if (shape.size() > 8) throw py::buffer_error("from_dlpack: the array must have at most 8 dimensions");
  const lucid_dtype dtype = dtype_of(kOp, "array", py::dtype::from_args(interface["typestr"]));
  const Shape strides = strides_of(member(interface, "strides"), shape, dtype.bits / 8);
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return new_device_array(dtype, shape, strides, device);
  const auto [address, read_only] = py::cast<std::pair<uintptr_t, bool>>(interface["data"]);
  void* const data = reinterpret_cast<void*>(address);
  check(lucid_cuda_device_of(data, &device));
  if (device < 0) throw py::buffer_error("from_dlpack: the array must be in the memory of a CUDA device");
  wait_for_producer(member(interface, "stream"), device);
  const auto give_back = [](void* object) { Py_DECREF(static_cast<PyObject*>(object)); };
  auto memory = std::make_shared<const DeviceMemory>(data, device, read_only, owner.inc_ref().ptr(), give_back);
  return {std::move(memory), data, dtype, shape, strides};
}

}  // namespace lucid::python
