// DeviceArray: an array in the memory of a CUDA device, as _core lends it to Python.
#pragma once

#include <atomic>
#include <memory>

#include "python/arrays.h"

namespace lucid::python {

// The stream that this thread's calls on a device are enqueued on; null is the default stream.
void* current_stream(int32_t device);
// Expires when that stream is destroyed; null for the default stream.
std::weak_ptr<const void> watch_current_stream(int32_t device);

// Memory that arrays share, and that goes back when the last of them is gone.
class DeviceMemory {
 public:
  // Of the library; MemoryError where there is none.
  DeviceMemory(size_t bytes, int32_t device);
  // Of another library, which wants it back by `give_back(owner)`, when the streams that used it are done with it.
  DeviceMemory(void* data, int32_t device, bool read_only, void* owner, void (*give_back)(void*));
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();

  void* data() const { return data_; }
  int32_t device() const { return device_; }
  // The default stream once the one that it was made on is gone, which was done before.
  void* stream() const { return stream_alive_.expired() ? nullptr : stream_; }
  bool read_only() const { return read_only_; }
  // A call on the stream `used` uses the memory, which must not be taken again before that is done.
  void use(void* used) const;

 private:
  void* data_ = nullptr;
  int32_t device_;
  void* stream_;
  std::weak_ptr<const void> stream_alive_;
  mutable std::atomic<bool> used_elsewhere_ = false;  // another library's, on other streams
  bool read_only_ = false;
  void* owner_ = nullptr;
  void (*give_back_)(void*) = nullptr;
};

// Shape and strides never change; the elements may.
class DeviceArray {
 public:
  DeviceArray(std::shared_ptr<const DeviceMemory> memory, void* data, lucid_dtype dtype, Shape shape, Shape strides)
      : memory_(std::move(memory)),
        data_(data),
        dtype_(dtype),
        shape_(std::move(shape)),
        strides_(std::move(strides)) {}

  // As a lucid_tensor that points into this object, used on the current stream from now on.
  lucid_tensor tensor() const;
  const DeviceMemory& memory() const { return *memory_; }
  const std::shared_ptr<const DeviceMemory>& shared_memory() const { return memory_; }
  void* data() const { return data_; }
  lucid_dtype dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }  // in elements
  int64_t size() const;
  int64_t itemsize() const { return dtype_.bits / 8; }
  lucid_device device() const { return {LUCID_CUDA, memory_->device()}; }

  DeviceArray as_strided(const Shape& shape, const Shape& strides, int64_t offset) const;  // in bytes
  DeviceArray converted(lucid_dtype dtype, const std::string& order) const;
  void assign(const DeviceArray& source) const;
  py::array to_host() const;

 private:
  std::shared_ptr<const DeviceMemory> memory_;
  void* data_;
  lucid_dtype dtype_;
  Shape shape_, strides_;
};

// The dimensions in their own order.
std::vector<size_t> row_major(size_t dims);
// Strides of dense elements, of which dimension order[0] is the outermost.
Shape dense_strides(const Shape& shape, const std::vector<size_t>& order);
// The order of the dimensions in memory, from the outermost, by the strides, where elements have no gaps; else none.
std::optional<std::vector<size_t>> dense_order(const Shape& shape, const Shape& strides);

DeviceArray new_device_array(lucid_dtype dtype, const Shape& shape, const Shape& strides, int32_t device);
// In the host's order of memory, if it has no gaps.
py::object device_array(const py::array& host, int32_t device);
// `value` is a DeviceArray.
py::array to_host(const py::object& value);

// DLPack (https://dmlc.github.io/dlpack), of version 0 or 1.
DeviceArray device_from_dlpack(const py::capsule& capsule);
py::capsule to_dlpack(const DeviceArray& array, const std::optional<int64_t>& stream,
                      const std::optional<std::pair<int64_t, int64_t>>& max_version,
                      const std::optional<std::pair<int64_t, int64_t>>& device, const std::optional<bool>& copy);

// __cuda_array_interface__ of an array, and an array from that of `owner`, which it keeps alive. One without elements,
// which has no address, is on `device`.
py::dict array_interface(const DeviceArray& array);
DeviceArray device_from_array_interface(const py::object& owner, int32_t device);

}  // namespace lucid::python
