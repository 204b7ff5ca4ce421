// CUDA for Python: the plugin, devices, memory, streams and events.
#include <pybind11/stl.h>

#include <atomic>
#include <map>

#include "python/device_array.h"
#include "python/module.h"

namespace lucid::python {
namespace {

constexpr const char* kFunctions[] = {"add", "subtract", "multiply", "divide", "maximum", "minimum"};

// A cudaStream_t, null for the default stream of its device. One that is owned is destroyed with the last reference.
struct StreamHandle {
  StreamHandle(int32_t device, void* stream, bool owned) : device(device), stream(stream), owned(owned) {}
  StreamHandle(const StreamHandle&) = delete;
  StreamHandle& operator=(const StreamHandle&) = delete;
  ~StreamHandle() {
    if (owned) lucid_cuda_stream_destroy(device, stream);
  }

  const int32_t device;
  void* const stream;
  const bool owned;
};

// Those of this thread that are not the default.
thread_local std::map<int32_t, std::shared_ptr<StreamHandle>> current;

// In every thread, as PyTorch has it.
std::atomic<bool> tf32 = false;

class Stream {
 public:
  explicit Stream(std::shared_ptr<StreamHandle> handle) : handle_(std::move(handle)) {}
  static Stream create(int32_t device) {
    void* stream = nullptr;
    check(lucid_cuda_stream_create(device, &stream));
    return Stream(std::make_shared<StreamHandle>(device, stream, true));
  }
  static Stream external(int32_t device, uintptr_t stream) {
    return Stream(std::make_shared<StreamHandle>(device, reinterpret_cast<void*>(stream), false));
  }

  void synchronize() const {
    without_gil([&] { return lucid_cuda_stream_synchronize(device(), stream()); });
  }
  void wait(const Stream& other) const { check(lucid_cuda_stream_wait(device(), stream(), other.stream())); }
  int32_t device() const { return handle_->device; }
  void* stream() const { return handle_->stream; }
  const std::shared_ptr<StreamHandle>& handle() const { return handle_; }

 private:
  std::shared_ptr<StreamHandle> handle_;
};

Stream stream_of(int32_t device) {
  const auto found = current.find(device);
  return Stream(found != current.end() ? found->second : std::make_shared<StreamHandle>(device, nullptr, false));
}

void set_stream(const Stream& stream) {
  if (stream.stream() != nullptr)
    current[stream.device()] = stream.handle();
  else
    current.erase(stream.device());
}

class Event {
 public:
  explicit Event(int32_t device) : device_(device) { check(lucid_cuda_event_create(device, &event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { lucid_cuda_event_destroy(device_, event_); }

  void record(const Stream& stream) { check(lucid_cuda_event_record(device_, event_, stream.stream())); }
  // Milliseconds until `end`.
  float elapsed(const Event& end) const {
    float milliseconds = 0;
    without_gil([&] { return lucid_cuda_event_milliseconds(device_, event_, end.event_, &milliseconds); });
    return milliseconds;
  }
  int32_t device() const { return device_; }

 private:
  int32_t device_;
  void* event_ = nullptr;
};

py::dict properties(int32_t device) {
  lucid_cuda_properties p;
  check(lucid_cuda_device_properties(device, &p));
  py::dict named;
  named["name"] = std::string(p.name);
  named["major"] = p.major;
  named["minor"] = p.minor;
  named["total_memory"] = p.memory;
  named["multi_processor_count"] = p.multiprocessors;
  named["shared_memory_per_block"] = p.shared_memory_per_block;
  named["l2_cache_size"] = p.l2_bytes;
  named["clock_rate"] = p.clock_khz;
  named["memory_clock_rate"] = p.memory_clock_khz;
  named["memory_bus_width"] = p.memory_bus_bits;
  return named;
}

py::dict backend() {
  lucid_cuda_properties p;
  check(lucid_cuda_device_properties(0, &p));
  py::dict named;
  named["cuda"] = std::string(lucid_cuda_version());
  named["simulation"] = p.simulation != 0;
  return named;
}

std::pair<int64_t, int64_t> memory(int32_t device) {
  int64_t allocated = 0, reserved = 0;
  check(lucid_cuda_memory(device, &allocated, &reserved));
  return {allocated, reserved};
}

py::object empty(const Shape& shape, const py::object& dtype, int32_t device) {
  const lucid_dtype elements = dtype_of("cuda_empty", "array", py::dtype::from_args(dtype));
  return py::cast(new_device_array(elements, shape, dense_strides(shape, row_major(shape.size())), device));
}

// An operand of arithmetic: an array, or a number in the dtype of the other.
py::object operand(const char* op, const py::object& value, const py::object& other) {
  if (py::isinstance<DeviceArray>(value)) return value;
  if (!py::isinstance<DeviceArray>(other) || !(PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr())))
    throw py::type_error(std::string(op) + ": operands must be DeviceArrays, one of which may be a number, got " +
                         std::string(py::str(py::type::of(value).attr("__name__"))));
  const auto& like = other.cast<const DeviceArray&>();
  const py::module_ numpy = py::module_::import("numpy");
  return device_array(numpy.attr("asarray")(value, numpy_dtype(like.dtype())), like.memory().device());
}

lucid_shape broadcast(const DeviceArray& a, const DeviceArray& b) {
  const Shape &longer = a.shape().size() >= b.shape().size() ? a.shape() : b.shape(),
              &shorter = &longer == &a.shape() ? b.shape() : a.shape();
  lucid_shape shape = shape_from(longer);
  shape.dtype = a.dtype();
  for (size_t d = 0; d < shorter.size(); ++d)
    if (int64_t& size = shape.sizes[longer.size() - shorter.size() + d]; size == 1) size = shorter[d];
  return shape;
}

py::object elementwise(const std::string& name, const py::object& a, const py::object& b, bool relu,
                       const py::object& out) {
  const auto found = std::find(std::begin(kFunctions), std::end(kFunctions), name);
  if (found == std::end(kFunctions)) throw py::value_error("cuda_elementwise: there is no function '" + name + "'");
  const py::object left = operand(name.c_str(), a, b), right = operand(name.c_str(), b, a);
  const auto &x = left.cast<const DeviceArray&>(), &other = right.cast<const DeviceArray&>();
  const py::object result = out.is_none() ? new_result(name.c_str(), broadcast(x, other), x.device()) : out;
  const auto& y = result.cast<const DeviceArray&>();
  if (y.memory().read_only()) throw py::value_error(name + ": the array must be writable, got a read-only one");
  const lucid_tensor left_tensor = x.tensor(), right_tensor = other.tensor(), y_tensor = y.tensor();
  const auto function = static_cast<int32_t>(found - std::begin(kFunctions));
  without_gil([&] {
    return lucid_cuda_elementwise(function, &left_tensor, &right_tensor, &y_tensor, relu,
                                  current_stream(y.memory().device()));
  });
  return result;
}

void register_array(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray", py::dynamic_attr())
      .def_property_readonly("shape", [](const DeviceArray& x) { return py::tuple(py::cast(x.shape())); })
      .def_property_readonly("strides",
                             [](const DeviceArray& x) {
                               Shape bytes = x.strides();
                               for (int64_t& stride : bytes) stride *= x.itemsize();
                               return py::tuple(py::cast(bytes));
                             })
      .def_property_readonly("dtype", [](const DeviceArray& x) { return numpy_dtype(x.dtype()); })
      .def_property_readonly("ndim", [](const DeviceArray& x) { return x.shape().size(); })
      .def_property_readonly("size", &DeviceArray::size)
      .def_property_readonly("nbytes", [](const DeviceArray& x) { return x.size() * x.itemsize(); })
      .def_property_readonly("device_index", [](const DeviceArray& x) { return x.memory().device(); })
      .def_property_readonly("data_ptr", [](const DeviceArray& x) { return reinterpret_cast<uintptr_t>(x.data()); })
      .def_property_readonly("read_only", [](const DeviceArray& x) { return x.memory().read_only(); })
      .def_property_readonly("memory_id", [](const DeviceArray& x) { return reinterpret_cast<uintptr_t>(&x.memory()); })
      .def_property_readonly("__cuda_array_interface__", array_interface)
      .def("__dlpack__", to_dlpack, py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
           py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const DeviceArray& x) { return py::make_tuple(2, x.memory().device()); })
      .def("to_host", &DeviceArray::to_host)
      .def("as_strided", &DeviceArray::as_strided, py::arg("shape"), py::arg("strides"), py::arg("offset") = 0)
      .def(
          "convert",
          [](const DeviceArray& x, const py::object& dtype, const std::string& order) {
            const py::dtype wanted = dtype.is_none() ? numpy_dtype(x.dtype()) : py::dtype::from_args(dtype);
            return x.converted(dtype_of("convert", "dtype", wanted), order);
          },
          py::arg("dtype") = py::none(), py::arg("order") = "K")
      .def("assign", &DeviceArray::assign, py::arg("source"));
}

}  // namespace

void* current_stream(int32_t device) {
  if (current.empty()) return nullptr;
  const auto found = current.find(device);
  return found != current.end() ? found->second->stream : nullptr;
}

bool tf32_allowed() { return tf32; }

std::weak_ptr<const void> watch_current_stream(int32_t device) {
  const auto found = current.find(device);
  return found != current.end() ? std::weak_ptr<const void>(found->second) : std::weak_ptr<const void>();
}

void register_cuda(py::module_& module) {
  register_array(module);
  py::class_<Stream>(module, "CudaStream")
      .def(py::init(&Stream::create), py::arg("device") = 0)
      .def_static("external", &Stream::external, py::arg("device"), py::arg("cuda_stream"))
      .def("synchronize", &Stream::synchronize)
      .def("wait", &Stream::wait, py::arg("other"))
      .def_property_readonly("device_index", &Stream::device)
      .def_property_readonly("cuda_stream", [](const Stream& s) { return reinterpret_cast<uintptr_t>(s.stream()); });
  py::class_<Event>(module, "CudaEvent")
      .def(py::init<int32_t>(), py::arg("device") = 0)
      .def("record", &Event::record, py::arg("stream"))
      .def("elapsed", &Event::elapsed, py::arg("end"))
      .def("synchronize", [](const Event& event) { event.elapsed(event); })
      .def_property_readonly("device_index", &Event::device);
  module.def("cuda_load", [](const std::string& path) { check(lucid_cuda_load(path.c_str())); }, py::arg("path"));
  module.def("cuda_why_not", [] { return std::string(lucid_cuda_why_not()); });
  module.def("cuda_device_count", [] {
    int32_t count = 0;
    check(lucid_cuda_device_count(&count));
    return count;
  });
  module.def("cuda_backend", backend);
  module.def("cuda_properties", properties, py::arg("device"));
  module.def(
      "cuda_synchronize", [](int32_t device) { without_gil([&] { return lucid_cuda_synchronize(device); }); },
      py::arg("device"));
  module.def("cuda_memory", memory, py::arg("device"));
  module.def("cuda_release_memory", lucid_cuda_release_memory);
  module.def("cuda_current_stream", stream_of, py::arg("device"));
  module.def("cuda_set_stream", set_stream, py::arg("stream"));
  module.def("cuda_tf32_allowed", tf32_allowed);
  module.def("cuda_allow_tf32", [](bool allowed) { tf32 = allowed; }, py::arg("allowed"));
  module.def("cuda_empty", empty, py::arg("shape"), py::arg("dtype"), py::arg("device"));
  module.def("device_array", device_array, py::arg("array").noconvert(), py::arg("device"));
  module.def("device_from_array_interface", device_from_array_interface, py::arg("owner"), py::arg("device"));
  module.def("device_from_dlpack", device_from_dlpack, py::arg("capsule"));
  module.def("cuda_elementwise", elementwise, py::arg("function"), py::arg("a"), py::arg("b"), py::arg("relu") = false,
             py::arg("out") = py::none());
}

}  // namespace lucid::python
