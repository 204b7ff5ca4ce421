// DLPack (https://dmlc.github.io/dlpack) for arrays on CUDA. Its DLTensor is a lucid_tensor.
#include "python/device_array.h"

namespace lucid::python {
namespace {

constexpr const char *kPlain = "dltensor", *kVersioned = "dltensor_versioned";
constexpr int32_t kCuda = 2, kCudaManaged = 13;  // devices
constexpr uint64_t kReadOnly = 1, kCopied = 2;   // flags

struct Plain {
  lucid_tensor tensor;
  void* context;
  void (*deleter)(Plain*);
};

struct Versioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(Versioned*);
  uint64_t flags;
  lucid_tensor tensor;
};

template <class Managed>
void give_back(void* managed) {
  auto* given = static_cast<Managed*>(managed);
  if (given->deleter != nullptr) given->deleter(given);
}

// Takes the capsule over: from here on the array gives the memory back.
template <class Managed>
DeviceArray taken(const py::capsule& capsule, const char* name, const char* used_name, bool read_only) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  const lucid_tensor& t = managed->tensor;
  if (t.device.type != kCuda && t.device.type != kCudaManaged)
    throw py::buffer_error("from_dlpack: the array must be on a CUDA device, got device type " +
                           std::to_string(t.device.type));
  if (t.dtype.lanes != 1 || t.dtype.bits % 8 != 0 || t.dtype.bits == 0 || t.ndim < 0 || t.ndim > 8)
    throw py::buffer_error("from_dlpack: the array must have plain elements and at most 8 dimensions");
  int32_t devices = 0;
  check(lucid_cuda_device_count(&devices));
  if (t.device.id < 0 || t.device.id >= devices)
    throw py::buffer_error("from_dlpack: there is no cuda:" + std::to_string(t.device.id));
  Shape shape(t.shape, t.shape + t.ndim), strides;
  if (t.strides != nullptr) {
    strides.assign(t.strides, t.strides + t.ndim);
  } else {
    strides.resize(shape.size());
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0; stride *= shape[d]) strides[d] = stride;
  }
  PyCapsule_SetName(capsule.ptr(), used_name);
  void* data = static_cast<char*>(t.data) + t.byte_offset;
  auto memory = std::make_shared<const DeviceMemory>(data, t.device.id, read_only, managed, give_back<Managed>);
  return {std::move(memory), data, t.dtype, std::move(shape), std::move(strides)};
}

// What an exported capsule keeps: the memory, and the numbers that the tensor points to.
template <class Managed>
struct Exported {
  DeviceArray array;
  Managed managed;
};

template <class Managed>
py::capsule exported(const DeviceArray& array, const char* name, Managed managed) {
  auto* kept = new Exported<Managed>{array, managed};
  kept->managed.tensor = kept->array.tensor();
  kept->managed.context = kept;
  kept->managed.deleter = [](Managed* given) { delete static_cast<Exported<Managed>*>(given->context); };
  const auto destructor = [](PyObject* capsule) {  // of a capsule that nobody took over
    const char* own = PyCapsule_GetName(capsule);
    if (std::string(own) != kPlain && std::string(own) != kVersioned) return;
    auto* given = static_cast<Managed*>(PyCapsule_GetPointer(capsule, own));
    given->deleter(given);
  };
  return py::reinterpret_steal<py::capsule>(PyCapsule_New(&kept->managed, name, destructor));
}

// The consumer's stream, by the numbers of the Python array API; it waits for what the array's streams were given.
void let_consumer_wait(const DeviceArray& array, int64_t number) {
  if (number == -1) return;
  if (number == 0 || number < -1)
    throw py::value_error("__dlpack__: stream must be None, -1, 1, 2 or a pointer, got " + std::to_string(number));
  void* consumer = number == 1 ? nullptr : reinterpret_cast<void*>(number);
  const int32_t device = array.memory().device();
  for (void* producer : {array.memory().stream(), current_stream(device)})
    check(lucid_cuda_stream_wait(device, consumer, producer));
  array.memory().use(consumer);
}

}  // namespace

DeviceArray device_from_dlpack(const py::capsule& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), kPlain)) return taken<Plain>(capsule, kPlain, "used_dltensor", false);
  if (!PyCapsule_IsValid(capsule.ptr(), kVersioned))
    throw py::value_error("from_dlpack: the capsule must be one of DLPack that nobody has taken yet");
  const auto* managed = static_cast<const Versioned*>(PyCapsule_GetPointer(capsule.ptr(), kVersioned));
  if (managed->major != 1)
    throw py::buffer_error("from_dlpack: DLPack's version must be 1, got " + std::to_string(managed->major));
  const bool read_only = (managed->flags & kReadOnly) != 0;
  return taken<Versioned>(capsule, kVersioned, "used_dltensor_versioned", read_only);
}

py::capsule to_dlpack(const DeviceArray& array, const std::optional<int64_t>& stream,
                      const std::optional<std::pair<int64_t, int64_t>>& max_version,
                      const std::optional<std::pair<int64_t, int64_t>>& device, const std::optional<bool>& copy) {
  if (device && *device != std::pair<int64_t, int64_t>(kCuda, array.memory().device()))
    throw py::buffer_error("__dlpack__: the array is on device (2, " + std::to_string(array.memory().device()) +
                           "), got (" + std::to_string(device->first) + ", " + std::to_string(device->second) + ")");
  const DeviceArray given = copy.value_or(false) ? array.converted(array.dtype(), "K") : array;
  let_consumer_wait(given, stream.value_or(1));
  if (max_version && max_version->first >= 1) {
    const uint64_t flags = (given.memory().read_only() ? kReadOnly : 0) | (copy.value_or(false) ? kCopied : 0);
    return exported<Versioned>(
        given, kVersioned,
        {.major = 1, .minor = 0, .context = nullptr, .deleter = nullptr, .flags = flags, .tensor = {}});
  }
  if (given.memory().read_only())
    throw py::buffer_error("__dlpack__: a read-only array needs DLPack 1.0, got a consumer of an older version");
  return exported<Plain>(given, kPlain, {});
}

}  // namespace lucid::python
