// Devices, memory, streams and graphs, as backend.h describes them: the CUDA runtime behind plain types.
#pragma once

#include "cuda/backend.h"

namespace lucid::cuda {

const char* error_text(Error error);
bool is_sticky(Error error);
bool is_out_of_memory(Error error);

Error device_count(int32_t* count);
Error device_properties(int32_t device, DeviceProperties* properties);
Error get_device(int32_t* device);
Error set_device(int32_t device);
Error synchronize();

Error allocate(size_t bytes, void** memory);
Error deallocate(void* memory);
Error memory_info(size_t* free, size_t* total);
Error copy_to_device(void* device, const void* host, size_t bytes, Stream stream);
Error copy_to_host(void* host, const void* device, size_t bytes, Stream stream);
Error copy_on_device(void* to, const void* from, size_t bytes, Stream stream);
Error fill(void* device, int byte, size_t bytes, Stream stream);
Error device_of(const void* memory, int32_t* device);

Error stream_create(Stream* stream);
Error stream_destroy(Stream stream);
Error stream_synchronize(Stream stream);
Error stream_wait(Stream stream, Stream other);
Error event_create(void** event);
Error event_destroy(void* event);
Error event_record(void* event, Stream stream);
Error event_milliseconds(void* begin, void* end, float* milliseconds);

Error capture_begin(Stream stream);
Error capture_end(Stream stream, void** graph);
Error graph_launch(void* graph, Stream stream);
Error graph_destroy(void* graph);

}  // namespace lucid::cuda
