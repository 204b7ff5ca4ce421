#include "python/device_array.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>

#include "python/module.h"

namespace lucid::python {
namespace {

int64_t count(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// The dimensions from the outermost in memory to the innermost.
std::vector<size_t> named_order(const DeviceArray& array, const std::string& name) {
  std::vector<size_t> order = row_major(array.shape().size());
  if (name == "C") return order;
  if (name == "channels_last") {
    if (order.size() != 4)
      throw py::value_error("convert: channels_last is an order of 4 dimensions, got " + std::to_string(order.size()));
    return {0, 2, 3, 1};
  }
  if (name != "K") throw py::value_error("convert: order must be 'C', 'K' or 'channels_last', got '" + name + "'");
  const Shape& strides = array.strides();
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::abs(strides[a]) > std::abs(strides[b]); });
  return order;
}

// The first and the last byte that elements reach from the first element on.
std::pair<int64_t, int64_t> reach(const Shape& shape, const Shape& strides, int64_t itemsize) {
  int64_t low = 0, high = itemsize;
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t distance = (shape[d] - 1) * strides[d];
    (distance < 0 ? low : high) += distance;
  }
  return {low, high};
}

}  // namespace

DeviceMemory::DeviceMemory(size_t bytes, int32_t device)
    : device_(device), stream_(current_stream(device)), stream_alive_(watch_current_stream(device)) {
  check(lucid_cuda_alloc(device, bytes, stream_, &data_));
}

DeviceMemory::DeviceMemory(void* data, int32_t device, bool read_only, void* owner, void (*give_back)(void*))
    : data_(data),
      device_(device),
      stream_(current_stream(device)),
      stream_alive_(watch_current_stream(device)),
      read_only_(read_only),
      owner_(owner),
      give_back_(give_back) {}

DeviceMemory::~DeviceMemory() {
  if (give_back_ == nullptr) {
    lucid_cuda_free(data_);
    return;
  }
  // The owner orders its own work behind the default stream's, but knows no other of ours.
  if (stream() != nullptr) lucid_cuda_stream_synchronize(device_, stream());
  if (used_elsewhere_) lucid_cuda_synchronize(device_);
  give_back_(owner_);
}

void DeviceMemory::use(void* used) const {
  if (used == stream()) return;
  if (give_back_ == nullptr)
    lucid_cuda_use(data_, used);
  else
    used_elsewhere_ = true;
}

lucid_tensor DeviceArray::tensor() const {
  memory_->use(current_stream(memory_->device()));
  return {.data = data_,
          .device = device(),
          .ndim = static_cast<int32_t>(shape_.size()),
          .dtype = dtype_,
          .shape = shape_.data(),
          .strides = strides_.data(),
          .byte_offset = 0};
}

int64_t DeviceArray::size() const { return count(shape_); }

std::vector<size_t> row_major(size_t dims) {
  std::vector<size_t> order(dims);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

Shape dense_strides(const Shape& shape, const std::vector<size_t>& order) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= shape[order[i]];
  }
  return strides;
}

std::optional<std::vector<size_t>> dense_order(const Shape& shape, const Shape& strides) {
  std::vector<size_t> order = row_major(shape.size());
  if (count(shape) == 0) return order;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return strides[a] > strides[b]; });
  const Shape dense = dense_strides(shape, order);
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1 && strides[d] != dense[d]) return std::nullopt;
  return order;
}

DeviceArray new_device_array(lucid_dtype dtype, const Shape& shape, const Shape& strides, int32_t device) {
  int64_t bytes = dtype.bits / 8;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes))
      throw py::value_error("cuda: sizes must not be negative, and fit into memory");
  auto memory = std::make_shared<const DeviceMemory>(static_cast<size_t>(bytes), device);
  void* data = memory->data();
  return {std::move(memory), data, dtype, shape, strides};
}

DeviceArray DeviceArray::as_strided(const Shape& shape, const Shape& strides, int64_t offset) const {
  if (shape.size() != strides.size() || shape.size() > 8)
    throw py::value_error("as_strided: shape and strides must have one length of at most 8, got " +
                          std::to_string(shape.size()) + " and " + std::to_string(strides.size()));
  Shape elements(strides.size());
  for (size_t d = 0; d < strides.size(); ++d) {
    if (shape[d] < 0) throw py::value_error("as_strided: sizes must not be negative");
    if (strides[d] % itemsize() != 0 && shape[d] > 1)
      throw py::value_error("as_strided: strides must be multiples of the item size " + std::to_string(itemsize()));
    elements[d] = strides[d] / itemsize();
  }
  if (count(shape) > 0) {
    Shape own(strides_);
    for (int64_t& stride : own) stride *= itemsize();
    const auto [low, high] = reach(shape_, own, itemsize());
    const auto [new_low, new_high] = reach(shape, strides, itemsize());
    if (size() == 0 || offset % itemsize() != 0 || offset + new_low < low || offset + new_high > high)
      throw py::value_error("as_strided: the view must lie inside of the array");
  }
  return {memory_, static_cast<char*>(data_) + (count(shape) > 0 ? offset : 0), dtype_, shape, elements};
}

DeviceArray DeviceArray::converted(lucid_dtype dtype, const std::string& order) const {
  const Shape strides = dense_strides(shape_, named_order(*this, order));
  DeviceArray made = new_device_array(dtype, shape_, strides, memory_->device());
  made.assign(*this);
  return made;
}

void DeviceArray::assign(const DeviceArray& source) const {
  if (memory_->read_only()) throw py::value_error("assign: the array must be writable, got a read-only one");
  const lucid_tensor x = source.tensor(), y = tensor();
  without_gil([&] { return lucid_cuda_convert(&x, &y, current_stream(memory_->device())); });
}

py::array DeviceArray::to_host() const {
  const auto order = dense_order(shape_, strides_);
  if (!order) return converted(dtype_, "K").to_host();
  Shape strides = dense_strides(shape_, *order);
  for (int64_t& stride : strides) stride *= itemsize();
  py::array host(numpy_dtype(dtype_), shape_, strides);
  void* to = host.mutable_data();
  const lucid_tensor x = tensor();
  const auto bytes = static_cast<size_t>(size() * itemsize());
  without_gil([&] { return lucid_cuda_copy(to, x.data, bytes, current_stream(memory_->device())); });
  return host;
}

py::object device_array(const py::array& given, int32_t device) {
  const lucid_dtype dtype = dtype_of("device_array", "array", given.dtype());
  const auto describe = [&](const py::array& array, Shape* shape, Shape* strides) {
    shape->assign(array.shape(), array.shape() + array.ndim());
    for (py::ssize_t d = 0; d < array.ndim(); ++d) strides->push_back(array.strides(d) / array.itemsize());
    return dense_order(*shape, *strides);
  };
  py::array host = given;
  Shape shape, strides;
  auto order = describe(host, &shape, &strides);
  if (!order) {
    host = py::array(given.attr("copy")("K"));
    strides.clear();
    order = describe(host, &shape, &strides);
  }
  if (!order) throw py::value_error("device_array: the array cannot be copied without gaps");
  DeviceArray made = new_device_array(dtype, shape, dense_strides(shape, *order), device);
  const auto bytes = static_cast<size_t>(host.nbytes());
  const void* from = host.data();
  without_gil([&] { return lucid_cuda_copy(made.data(), from, bytes, current_stream(device)); });
  return py::cast(std::move(made));
}

py::array to_host(const py::object& value) { return value.cast<const DeviceArray&>().to_host(); }

}  // namespace lucid::python
