// Devices, memory, streams and graphs: each function is a call or two of the CUDA runtime.
//
// A call that fails leaves its error behind, which the next launch would report as its own; forget() takes it away.
// Errors after which the device can do nothing more come back by themselves.
#include <cstdio>

#include "cuda/cuda_compat.h"
#include "cuda/device.h"

namespace lucid::cuda {
namespace {

Error forget(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error;
}

cudaStream_t of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t of_event(void* event) { return static_cast<cudaEvent_t>(event); }
cudaGraphExec_t of_graph(void* graph) { return static_cast<cudaGraphExec_t>(graph); }

Error read(cudaDeviceAttr attribute, int32_t device, int32_t* value) {
  int found = 0;
  const Error error = forget(cudaDeviceGetAttribute(&found, attribute, device));
  *value = found;
  return error;
}

}  // namespace

const char* error_text(Error error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

bool is_sticky(Error error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown: return true;
    default: return false;
  }
}

bool is_out_of_memory(Error error) { return error == cudaErrorMemoryAllocation; }

Error device_count(int32_t* count) {
  int found = 0;
  const Error error = forget(cudaGetDeviceCount(&found));
  *count = error == cudaSuccess ? found : 0;
  return error;
}

Error device_properties(int32_t device, DeviceProperties* properties) {
  cudaDeviceProp found;
  if (const Error error = forget(cudaGetDeviceProperties(&found, device))) return error;
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "%s", found.name);
  properties->memory = static_cast<int64_t>(found.totalGlobalMem);
  properties->shared_memory_per_block = static_cast<int64_t>(found.sharedMemPerBlockOptin);
  properties->l2_bytes = found.l2CacheSize;
  properties->major = found.major;
  properties->minor = found.minor;
  properties->multiprocessors = found.multiProcessorCount;
  // Clocks have left cudaDeviceProp.
  if (const Error error = read(cudaDevAttrClockRate, device, &properties->clock_khz)) return error;
  if (const Error error = read(cudaDevAttrMemoryClockRate, device, &properties->memory_clock_khz)) return error;
  return read(cudaDevAttrGlobalMemoryBusWidth, device, &properties->memory_bus_bits);
}

Error get_device(int32_t* device) {
  int found = 0;
  const Error error = forget(cudaGetDevice(&found));
  *device = found;
  return error;
}

Error set_device(int32_t device) { return forget(cudaSetDevice(device)); }

Error synchronize() { return forget(cudaDeviceSynchronize()); }

Error allocate(size_t bytes, void** memory) {
  *memory = nullptr;
  return forget(cudaMalloc(memory, bytes));
}

Error deallocate(void* memory) { return forget(cudaFree(memory)); }

Error memory_info(size_t* free, size_t* total) { return forget(cudaMemGetInfo(free, total)); }

Error copy_to_device(void* device, const void* host, size_t bytes, Stream stream) {
  return forget(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, of(stream)));
}

Error copy_to_host(void* host, const void* device, size_t bytes, Stream stream) {
  // It waits by itself for memory that is pageable, but not where the host can map the device's page tables.
  if (const Error error = forget(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, of(stream))))
    return error;
  return stream_synchronize(stream);
}

Error copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  return forget(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(stream)));
}

Error fill(void* device, int byte, size_t bytes, Stream stream) {
  return forget(cudaMemsetAsync(device, byte, bytes, of(stream)));
}

Error device_of(const void* memory, int32_t* device) {
  cudaPointerAttributes found;
  const Error error = forget(cudaPointerGetAttributes(&found, memory));
  const bool on_device = found.type == cudaMemoryTypeDevice || found.type == cudaMemoryTypeManaged;
  *device = error == cudaSuccess && on_device ? found.device : -1;
  return error;
}

// A stream does not wait for the default stream: one that did could not be captured while another thread uses that one.
Error stream_create(Stream* stream) {
  cudaStream_t created = nullptr;
  const Error error = forget(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
  *stream = created;
  return error;
}

Error stream_destroy(Stream stream) { return forget(cudaStreamDestroy(of(stream))); }

Error stream_synchronize(Stream stream) { return forget(cudaStreamSynchronize(of(stream))); }

Error stream_wait(Stream stream, Stream other) {
  cudaEvent_t event = nullptr;
  if (const Error error = forget(cudaEventCreateWithFlags(&event, cudaEventDisableTiming))) return error;
  Error error = forget(cudaEventRecord(event, of(other)));
  if (error == cudaSuccess) error = forget(cudaStreamWaitEvent(of(stream), event, 0));
  const Error destroyed = forget(cudaEventDestroy(event));  // it lives on until the streams are past it
  return error != cudaSuccess ? error : destroyed;
}

Error event_create(void** event) {
  cudaEvent_t created = nullptr;
  const Error error = forget(cudaEventCreateWithFlags(&created, cudaEventDefault));
  *event = created;
  return error;
}

Error event_destroy(void* event) { return forget(cudaEventDestroy(of_event(event))); }

Error event_record(void* event, Stream stream) { return forget(cudaEventRecord(of_event(event), of(stream))); }

Error event_milliseconds(void* begin, void* end, float* milliseconds) {
  if (const Error error = forget(cudaEventSynchronize(of_event(end)))) return error;
  return forget(cudaEventElapsedTime(milliseconds, of_event(begin), of_event(end)));
}

// Of this thread only: others may go on to allocate memory.
Error capture_begin(Stream stream) {
  return forget(cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeThreadLocal));
}

Error capture_end(Stream stream, void** graph) {
  *graph = nullptr;
  cudaGraph_t captured = nullptr;
  if (const Error error = forget(cudaStreamEndCapture(of(stream), &captured))) {
    if (captured != nullptr) forget(cudaGraphDestroy(captured));
    return error;
  }
  cudaGraphExec_t executable = nullptr;
  const Error error = forget(cudaGraphInstantiate(&executable, captured, 0));
  forget(cudaGraphDestroy(captured));
  if (error == cudaSuccess) *graph = executable;
  return error;
}

Error graph_launch(void* graph, Stream stream) { return forget(cudaGraphLaunch(of_graph(graph), of(stream))); }

Error graph_destroy(void* graph) { return forget(cudaGraphExecDestroy(of_graph(graph))); }

}  // namespace lucid::cuda
