// The opened plugin, what its errors mean, and the device that a call works on.
#pragma once

#include <mutex>
#include <optional>

#include "cuda/backend.h"
#include "lucid.h"

namespace lucid::cuda {

// The plugin's table, or null before one is opened. Never another one.
const Backend* backend();

// Held while a graph is captured, and by what waits for a whole device, which CUDA forbids meanwhile. Whoever holds it
// neither allocates nor frees.
std::mutex& device_wide();

// A plugin is open, has the device `id` and has not failed: else LUCID_UNSUPPORTED or LUCID_DEVICE_ERROR with the
// reason. `name` is the tensor that is there, or null.
lucid_status check_device(const char* op, const char* name, int32_t id);

// What an error of the table means to the caller of `op`. One after which the device can do nothing more is kept: it is
// named once with the operator that found it, and check_device() refuses every later call.
lucid_status report(const char* op, Error error);

// Waits for all that the current device has been given.
Error synchronize();

// The elements' dtype of a tensor that an operator has checked; and that of any, where kernels know it.
Dtype dtype_of(lucid_dtype dtype);
std::optional<Dtype> known_dtype(lucid_dtype dtype);

// While it lives, the calling thread works on one device; then on that from before.
class DeviceGuard {
 public:
  explicit DeviceGuard(int32_t device);
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  ~DeviceGuard();
  Error error() const { return error_; }

 private:
  int32_t before_ = 0;
  bool changed_ = false;
  Error error_;
};

// One call of an operator on a device: its table, stream and name. begin() comes first.
class Call {
 public:
  explicit Call(const char* op, int32_t device, Stream stream)
      : op_(op), device_(device), stream_(stream), guard_(device) {}
  lucid_status begin() const { return report(op_, guard_.error()); }
  lucid_status check(Error error) const { return report(op_, error); }

  const Backend* operator->() const { return backend(); }
  const char* op() const { return op_; }
  int32_t device() const { return device_; }
  Stream stream() const { return stream_; }

 private:
  const char* op_;
  int32_t device_;
  Stream stream_;
  DeviceGuard guard_;
};

}  // namespace lucid::cuda
