// The functions of lucid.h that are no operators: memory, copies, streams and events of a CUDA device.
#include <cstring>
#include <initializer_list>

#include "core/shape_text.h"
#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/memory.h"
#include "cuda/staging.h"
#include "cuda/strides.h"

namespace lucid::cuda {
namespace {

constexpr const char* kOp = "cuda";

// What `body(call)` answers, of a call on a device that is there.
template <class Body>
lucid_status on_device(const char* op, const char* name, int32_t device, Stream stream, const Body& body) {
  LUCID_CHECK(check_device(op, name, device));
  const Call call(op, device, stream);
  LUCID_CHECK(call.begin());
  return body(call);
}

template <class Body>
lucid_status on_device(int32_t device, const Body& body) {
  return on_device(kOp, nullptr, device, nullptr, [&](const Call& call) { return call.check(body(*backend())); });
}

lucid_status copy(void* to, const void* from, size_t bytes, Stream stream) {
  if (bytes == 0) return ok();
  if (to == nullptr || from == nullptr)
    return fail(LUCID_INVALID_ARGUMENT, "cuda: a copy must have pointers, got NULL");
  LUCID_CHECK(check_device(kOp, nullptr, 0));
  int32_t to_device = 0, from_device = 0;
  LUCID_CHECK(report(kOp, backend()->device_of(to, &to_device)));
  LUCID_CHECK(report(kOp, backend()->device_of(from, &from_device)));
  if (to_device < 0 && from_device < 0) {
    std::memmove(to, from, bytes);
    return ok();
  }
  return on_device(from_device >= 0 ? from_device : to_device, [&](const Backend& table) {
    if (to_device < 0) return table.copy_to_host(to, from, bytes, stream);
    if (from_device < 0) return table.copy_to_device(to, from, bytes, stream);
    return table.copy_on_device(to, from, bytes, stream);
  });
}

// A tensor of any dtype on a device that is there.
lucid_status check_operand(const char* op, const char* name, const lucid_tensor* t) {
  if (t == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be a tensor, got NULL", op, name);
  LUCID_CHECK(check_tensor(op, name, t, 0, kMaxDims, t->dtype));
  if (t->device.type != LUCID_CUDA) return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be on a CUDA device", op, name);
  return check_data(op, name, t, t->device);
}

// x can be broadcast to the shape of y, on the same device.
lucid_status check_broadcast(const char* op, const char* name, const lucid_tensor& x, const lucid_tensor& y) {
  if (x.device.id != y.device.id)
    return fail(LUCID_INVALID_ARGUMENT, "%s: all tensors must be on one device, got %s on cuda:%d and y on cuda:%d", op,
                name, x.device.id, y.device.id);
  bool fits = x.ndim <= y.ndim;
  for (int d = 0; fits && d < x.ndim; ++d) fits = x.shape[d] == 1 || x.shape[d] == y.shape[y.ndim - x.ndim + d];
  if (fits) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must have a shape that broadcasts to %s, got %s", op, name,
              ShapeText(y.shape, y.ndim).c_str(), ShapeText(x.shape, x.ndim).c_str());
}

bool is_empty(const lucid_tensor& t) {
  for (int d = 0; d < t.ndim; ++d)
    if (t.shape[d] == 0) return true;
  return false;
}

lucid_status run_convert(const lucid_tensor* x, const lucid_tensor* y, Stream stream) {
  constexpr const char* op = "convert";
  LUCID_CHECK(check_operand(op, "x", x));
  LUCID_CHECK(check_operand(op, "y", y));
  LUCID_CHECK(check_broadcast(op, "x", *x, *y));
  if (is_empty(*y)) return ok();
  return on_device(op, "x", x->device.id, stream, [&](const Call& call) { return convert(call, *x, *y); });
}

constexpr const char* kFunctions[] = {"add", "subtract", "multiply", "divide", "maximum", "minimum"};
static_assert(static_cast<int>(ElementwiseFunction::kMinimum) == LUCID_CUDA_MINIMUM);

lucid_status run_elementwise(int32_t function, const lucid_tensor* a, const lucid_tensor* b, const lucid_tensor* y,
                             bool relu, Stream stream) {
  if (function < 0 || function > LUCID_CUDA_MINIMUM)
    return fail(LUCID_INVALID_ARGUMENT, "cuda: the function must be from 0 to %d, got %d", LUCID_CUDA_MINIMUM,
                function);
  const char* op = kFunctions[function];
  LUCID_CHECK(check_operand(op, "y", y));
  LUCID_CHECK(check_tensor(op, "y", y, 0, kMaxDims));
  for (const auto& [name, operand] : {std::pair{"a", a}, std::pair{"b", b}}) {
    LUCID_CHECK(check_operand(op, name, operand));
    LUCID_CHECK(check_tensor(op, name, operand, 0, kMaxDims, y->dtype));
    LUCID_CHECK(check_broadcast(op, name, *operand, *y));
  }
  if (is_empty(*y)) return ok();
  return on_device(op, "y", y->device.id, stream, [&](const Call& call) {
    return elementwise(call, static_cast<ElementwiseFunction>(function), *a, *b, *y, relu);
  });
}

}  // namespace
}  // namespace lucid::cuda

using lucid::cuda::Backend;
using lucid::cuda::on_device;

extern "C" lucid_status lucid_cuda_device_properties(int32_t device, lucid_cuda_properties* properties) {
  *properties = {};
  return on_device(device, [&](const Backend& table) {
    lucid::cuda::DeviceProperties p{};
    const lucid::cuda::Error error = table.device_properties(device, &p);
    static_assert(sizeof p.name == sizeof properties->name);
    std::memcpy(properties->name, p.name, sizeof p.name);
    properties->memory = p.memory;
    properties->shared_memory_per_block = p.shared_memory_per_block;
    properties->l2_bytes = p.l2_bytes;
    properties->major = p.major;
    properties->minor = p.minor;
    properties->multiprocessors = p.multiprocessors;
    properties->clock_khz = p.clock_khz;
    properties->memory_clock_khz = p.memory_clock_khz;
    properties->memory_bus_bits = p.memory_bus_bits;
    properties->simulation = table.simulation;
    return error;
  });
}

extern "C" lucid_status lucid_cuda_alloc(int32_t device, size_t bytes, void* stream, void** memory) {
  *memory = nullptr;
  LUCID_CHECK(lucid::cuda::check_device("cuda", nullptr, device));
  return lucid::cuda::allocate("cuda", device, bytes, stream, memory);
}

extern "C" void lucid_cuda_use(void* memory, void* stream) { lucid::cuda::note_use(memory, stream); }

extern "C" void lucid_cuda_free(void* memory) { lucid::cuda::deallocate(memory); }

extern "C" lucid_status lucid_cuda_memory(int32_t device, int64_t* allocated, int64_t* reserved) {
  LUCID_CHECK(lucid::cuda::check_device("cuda", nullptr, device));
  lucid::cuda::memory_counters(device, allocated, reserved);
  return lucid::ok();
}

extern "C" void lucid_cuda_release_memory(void) { lucid::cuda::release_memory(); }

extern "C" lucid_status lucid_cuda_device_of(const void* memory, int32_t* device) {
  *device = -1;
  LUCID_CHECK(lucid::cuda::check_device("cuda", nullptr, 0));
  return lucid::cuda::report("cuda", lucid::cuda::backend()->device_of(memory, device));
}

extern "C" lucid_status lucid_cuda_copy(void* to, const void* from, size_t bytes, void* stream) {
  return lucid::cuda::copy(to, from, bytes, stream);
}

extern "C" lucid_status lucid_cuda_convert(const lucid_tensor* x, const lucid_tensor* y, void* stream) {
  return lucid::cuda::run_convert(x, y, stream);
}

extern "C" lucid_status lucid_cuda_elementwise(int32_t function, const lucid_tensor* a, const lucid_tensor* b,
                                               const lucid_tensor* y, int32_t relu, void* stream) {
  return lucid::cuda::run_elementwise(function, a, b, y, relu != 0, stream);
}

extern "C" lucid_status lucid_cuda_synchronize(int32_t device) {
  return on_device(device, [](const Backend&) { return lucid::cuda::synchronize(); });
}

extern "C" lucid_status lucid_cuda_stream_create(int32_t device, void** stream) {
  *stream = nullptr;
  return on_device(device, [&](const Backend& table) { return table.stream_create(stream); });
}

extern "C" lucid_status lucid_cuda_stream_destroy(int32_t device, void* stream) {
  if (stream == nullptr) return lucid::ok();
  return on_device(device, [&](const Backend& table) {
    const lucid::cuda::Error error = table.stream_synchronize(stream);
    lucid::cuda::forget_stream(stream);
    return error != 0 ? error : table.stream_destroy(stream);
  });
}

extern "C" lucid_status lucid_cuda_stream_synchronize(int32_t device, void* stream) {
  return on_device(device, [&](const Backend& table) { return table.stream_synchronize(stream); });
}

extern "C" lucid_status lucid_cuda_stream_wait(int32_t device, void* stream, void* other) {
  if (stream == other) return lucid::ok();
  return on_device(device, [&](const Backend& table) { return table.stream_wait(stream, other); });
}

extern "C" lucid_status lucid_cuda_event_create(int32_t device, void** event) {
  *event = nullptr;
  return on_device(device, [&](const Backend& table) { return table.event_create(event); });
}

extern "C" lucid_status lucid_cuda_event_destroy(int32_t device, void* event) {
  return on_device(device, [&](const Backend& table) { return table.event_destroy(event); });
}

extern "C" lucid_status lucid_cuda_event_record(int32_t device, void* event, void* stream) {
  return on_device(device, [&](const Backend& table) { return table.event_record(event, stream); });
}

extern "C" lucid_status lucid_cuda_event_milliseconds(int32_t device, void* begin, void* end, float* milliseconds) {
  return on_device(device, [&](const Backend& table) { return table.event_milliseconds(begin, end, milliseconds); });
}
