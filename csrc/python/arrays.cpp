#include "python/arrays.h"

#include <pybind11/stl.h>

#include <sstream>

#include "python/device_array.h"

namespace lucid::python {
namespace {

std::string described(const char* op, const char* name) { return std::string(op) + ": " + name; }

bool is_bfloat16(const py::dtype& dtype) { return dtype.itemsize() == 2 && std::string(py::str(dtype)) == "bfloat16"; }

}  // namespace

lucid_dtype dtype_of(const char* op, const char* name, const py::dtype& dtype) {
  const auto make = [&](lucid_dtype_code code) {
    return lucid_dtype{static_cast<uint8_t>(code), static_cast<uint8_t>(dtype.itemsize() * 8), 1};
  };
  if (dtype.byteorder() == '=' || dtype.byteorder() == '|') switch (dtype.kind()) {
      case 'f': return make(LUCID_FLOAT);
      case 'i': return make(LUCID_INT);
      case 'u': return make(LUCID_UINT);
      case 'c': return make(LUCID_COMPLEX);
      case 'b': return make(LUCID_BOOL);
      default: break;
    }
  if (is_bfloat16(dtype)) return make(LUCID_BFLOAT);
  throw py::type_error(described(op, name) + " must be float32 in native byte order, got dtype " +
                       std::string(py::str(dtype)));
}

py::dtype numpy_dtype(lucid_dtype dtype) {
  if (dtype.code == LUCID_FLOAT && dtype.bits == 32) return py::dtype::of<float>();
  if (dtype.code == LUCID_BFLOAT) {
    try {
      return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_ImportError)) throw;
      throw py::type_error("bfloat16 needs the package ml_dtypes, whose dtype it is in NumPy");
    }
  }
  const char* kinds = "iuf??cb";
  const char kind = dtype.code <= LUCID_BOOL ? kinds[dtype.code] : '?';
  if (kind == '?')
    throw py::type_error("NumPy has no dtype for code " + std::to_string(dtype.code) + " of " +
                         std::to_string(dtype.bits) + " bits");
  return py::dtype(kind + std::to_string(dtype.bits / 8));
}

TensorArgument::TensorArgument(const char* op, const char* name, const py::object& value) : array_(value) {
  if (py::isinstance<py::array>(value))
    view(op, name, py::reinterpret_borrow<py::array>(value));
  else if (py::isinstance<DeviceArray>(value))
    tensor_ = value.cast<const DeviceArray&>().tensor();
  else
    throw py::type_error(described(op, name) + " must be a numpy.ndarray, got " +
                         std::string(py::str(py::type::of(value).attr("__name__"))));
}

bool TensorArgument::writable() const {
  if (tensor_.device.type == LUCID_CPU) return py::reinterpret_borrow<py::array>(array_).writeable();
  return !array_.cast<const DeviceArray&>().memory().read_only();
}

void TensorArgument::view(const char* op, const char* name, const py::array& array) {
  const lucid_dtype dtype = dtype_of(op, name, array.dtype());
  const py::ssize_t itemsize = array.itemsize();
  for (py::ssize_t d = 0; d < array.ndim(); ++d) {
    shape_.push_back(array.shape(d));
    // NumPy leaves any value in the stride of a dimension that is never stepped over.
    const bool stepped = array.shape(d) > 1;
    if (stepped && array.strides(d) % itemsize != 0)
      throw py::value_error(described(op, name) + " has a stride of " + std::to_string(array.strides(d)) +
                            " bytes, which must be a multiple of the item size " + std::to_string(itemsize));
    strides_.push_back(stepped ? array.strides(d) / itemsize : 0);
  }
  tensor_ = {.data = const_cast<void*>(array.data()),
             .device = {LUCID_CPU, 0},
             .ndim = static_cast<int32_t>(array.ndim()),
             .dtype = dtype,
             .shape = shape_.data(),
             .strides = strides_.data(),
             .byte_offset = 0};
}

py::array new_array(const char* op, const lucid_shape& shape) {
  const Shape sizes = sizes_of(shape);
  Shape strides(sizes.size());
  int64_t bytes = shape.dtype.bits / 8;
  bool fits = true;
  const auto lay_out = [&](size_t d) {
    strides[d] = bytes;
    fits = fits && !__builtin_mul_overflow(bytes, sizes[d], &bytes);
  };
  if (sizes.size() == 4)
    for (const size_t d : {1, 3, 2, 0}) lay_out(d);
  else
    for (size_t d = sizes.size(); d-- > 0;) lay_out(d);
  void* memory = fits ? lucid_alloc(static_cast<size_t>(bytes)) : nullptr;
  if (memory == nullptr) {
    const std::string text = py::str(py::tuple(py::cast(sizes)));
    PyErr_SetString(PyExc_MemoryError, (described(op, "no memory for a result of shape ") + text).c_str());
    throw py::error_already_set();
  }
  const py::dtype dtype = shape.dtype.code == LUCID_INT ? py::dtype::of<int64_t>() : py::dtype::of<float>();
  return py::array(dtype, sizes, strides, memory, py::capsule(memory, lucid_free));
}

py::object new_result(const char* op, const lucid_shape& shape, lucid_device device) {
  if (device.type != LUCID_CUDA) return new_array(op, shape);
  const Shape sizes = sizes_of(shape);
  const std::vector<size_t> order = sizes.size() == 4 ? std::vector<size_t>{0, 2, 3, 1} : row_major(sizes.size());
  return py::cast(new_device_array(shape.dtype, sizes, dense_strides(sizes, order), device.id));
}

lucid_context call_context(lucid_device device) {
  lucid_context context{};
  context.size = sizeof context;
  if (device.type == LUCID_CUDA) {
    context.stream = current_stream(device.id);
    context.tf32 = tf32_allowed();
  }
  return context;
}

lucid_shape shape_from(const Shape& sizes) {
  lucid_shape shape{};
  if (sizes.size() > std::size(shape.sizes))
    throw py::value_error("a shape must have at most 8 dimensions, got " + std::to_string(sizes.size()));
  shape.dtype = {LUCID_FLOAT, 32, 1};
  shape.ndim = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), shape.sizes);
  return shape;
}

Shape sizes_of(const lucid_shape& shape) { return {shape.sizes, shape.sizes + shape.ndim}; }

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

void check(lucid_status status) {
  switch (status) {
    case LUCID_OK: return;
    case LUCID_OUT_OF_MEMORY: PyErr_SetString(PyExc_MemoryError, lucid_last_error()); break;
    case LUCID_DEVICE_ERROR: PyErr_SetString(PyExc_RuntimeError, lucid_last_error()); break;
    case LUCID_UNSUPPORTED: PyErr_SetString(PyExc_NotImplementedError, lucid_last_error()); break;
    default: PyErr_SetString(PyExc_ValueError, lucid_last_error()); break;
  }
  throw py::error_already_set();
}

}  // namespace lucid::python
