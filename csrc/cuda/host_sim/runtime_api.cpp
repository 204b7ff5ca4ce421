#include "cuda/host_sim/runtime_api.h"

#include <cstdio>
#include <cstring>

#include "cuda/host_sim/memory.h"
#include "cuda/host_sim/record.h"
#include "cuda/host_sim/settings.h"
#include "cuda/host_sim/streams.h"

using namespace host_sim;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define NAME(name) \
  case name: return #name;
    NAME(cudaSuccess)
    NAME(cudaErrorInvalidValue)
    NAME(cudaErrorMemoryAllocation)
    NAME(cudaErrorInvalidConfiguration)
    NAME(cudaErrorNoDevice)
    NAME(cudaErrorInvalidDevice)
    NAME(cudaErrorInvalidResourceHandle)
    NAME(cudaErrorNotReady)
    NAME(cudaErrorLaunchFailure)
    NAME(cudaErrorStreamCaptureUnsupported)
    NAME(cudaErrorStreamCaptureInvalidated)
    NAME(cudaErrorStreamCaptureIsolation)
    NAME(cudaErrorStreamCaptureImplicit)
#undef NAME
    default: return "unrecognized error code";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorNoDevice) return "no CUDA-capable device is detected";
  if (error == cudaErrorMemoryAllocation) return "out of memory";
  return error == last_error() && !last_text().empty() ? last_text().c_str() : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error();
  if (device_error() == cudaSuccess) last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error(); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(settings().devices);
  return *count == 0 ? failed(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || static_cast<uint64_t>(device) >= settings().devices) return failed(cudaErrorInvalidDevice);
  current_device() = device;
  return device_error();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || static_cast<uint64_t>(device) >= settings().devices) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "simulator on the CPU");
  properties->totalGlobalMem = settings().memory;
  properties->sharedMemPerBlock = settings().shared_default;
  properties->sharedMemPerBlockOptin = settings().shared_most;
  cudaDeviceGetAttribute(&properties->multiProcessorCount, cudaDevAttrMultiProcessorCount, device);
  cudaDeviceGetAttribute(&properties->major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&properties->minor, cudaDevAttrComputeCapabilityMinor, device);
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || static_cast<uint64_t>(device) >= settings().devices) return failed(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = static_cast<int>(multiprocessors()); break;
    case cudaDevAttrComputeCapabilityMajor: *value = static_cast<int>(capability() / 10); break;
    case cudaDevAttrComputeCapabilityMinor: *value = static_cast<int>(capability() % 10); break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(settings().shared_most); break;
    default: *value = 0;  // it has no clock and no bus
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return guarded([] {
    if (const cudaError_t error = refuse_while_capturing(true)) return error;
    run_everything(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = nullptr;
  return guarded([&] {
    if (bytes == 0) return cudaSuccess;
    if (settings().devices == 0) return failed(cudaErrorNoDevice);
    if (const cudaError_t error = refuse_while_capturing(false)) return error;
    *memory = device_memory().allocate(current_device(), bytes);
    return *memory == nullptr ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  return guarded([&] {
    if (const cudaError_t error = refuse_while_capturing(false)) return error;
    const int device = device_memory().device_of(memory);
    if (device >= 0) run_everything(device);
    return device_memory().release(memory) ? cudaSuccess : failed(cudaErrorInvalidValue, "no allocation is freed");
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return guarded([&] {
    *total = settings().memory;
    *free = *total - device_memory().bytes_in_use(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  const std::lock_guard lock(mutex());
  const int device = device_memory().device_of(memory);
  *attributes = {device >= 0 ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, device >= 0 ? device : -2,
                 const_cast<void*>(device >= 0 ? memory : nullptr), nullptr};
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return guarded([&] {
    *stream = create_stream(flags != cudaStreamNonBlocking);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return failed(cudaErrorInvalidResourceHandle);
  return guarded([&] {
    destroy_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return guarded([&] {
    if (stream != nullptr && stream->capture != nullptr) {
      stream->capture->broken = true;
      return failed(cudaErrorStreamCaptureUnsupported, "a stream that is captured cannot be waited for");
    }
    run_before(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (stream_of(stream)->capture != nullptr) {
    stream->capture->broken = true;
    return failed(cudaErrorStreamCaptureIsolation, "a stream that is captured cannot wait for what is outside");
  }
  return submit(stream, [mark = event->mark, other = event->stream] { run_to(mark, other); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return device_error();
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream_of(stream)->capture != nullptr) {
    stream->capture->broken = true;
    return failed(cudaErrorStreamCaptureUnsupported, "an event of a stream that is captured");
  }
  event->mark = std::make_shared<Mark>();
  event->stream = stream_of(stream);
  return submit(stream, [mark = event->mark] {
    count_event();
    mark->reached = true;
    mark->when = std::chrono::steady_clock::now();
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return guarded([&] {
    run_to(event->mark, event->stream);
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return guarded([&] {
    if (begin->mark == nullptr || end->mark == nullptr) return failed(cudaErrorInvalidResourceHandle);
    if (!begin->mark->reached || !end->mark->reached) return failed(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(end->mark->when - begin->mark->when).count();
    return cudaSuccess;
  });
}
