// The table of the plugin: every function of backend.h, and the one symbol that it exports.
#include <cstdio>

#include "cuda/cuda_compat.h"
#include "cuda/device.h"
#include "cuda/kernels.h"

#ifndef LUCID_VERSION  // which CMake says
#define LUCID_VERSION "unversioned"
#endif

namespace lucid::cuda {

namespace {

const char* version() {
  static const struct Text {
    char text[64];
    Text() {
#ifdef LUCID_CUDA_HOST
      std::snprintf(text, sizeof(text), "%s, simulation", LUCID_VERSION);
#else
      std::snprintf(text, sizeof(text), "%s, CUDA %d.%d", LUCID_VERSION, CUDART_VERSION / 1000,
                    CUDART_VERSION / 10 % 100);
#endif
    }
  } version;
  return version.text;
}

Backend make_table() {
  Backend table{};
  table.abi = kBackendAbi;
#ifdef LUCID_CUDA_HOST
  table.simulation = 1;
#endif
  table.version = version();
#define SET(name) table.name = name
  SET(error_text), SET(is_sticky), SET(is_out_of_memory);
  SET(device_count), SET(device_properties), SET(get_device), SET(set_device), SET(synchronize);
  SET(allocate), SET(deallocate), SET(memory_info);
  SET(copy_to_device), SET(copy_to_host), SET(copy_on_device), SET(fill), SET(device_of);
  SET(stream_create), SET(stream_destroy), SET(stream_synchronize), SET(stream_wait);
  SET(event_create), SET(event_destroy), SET(event_record), SET(event_milliseconds);
  SET(capture_begin), SET(capture_end), SET(graph_launch), SET(graph_destroy);
  SET(conv2d_algorithms), SET(conv2d_packed_bytes);
#define SET_BYTES(name, Arguments) SET(name##_bytes);
  LUCID_CUDA_WORKSPACES(SET_BYTES)
#undef SET_BYTES
#define SET_KERNEL(name, Arguments) SET(name);
  LUCID_CUDA_KERNELS(SET_KERNEL)
#undef SET_KERNEL
#undef SET
  return table;
}

}  // namespace
}  // namespace lucid::cuda

extern "C" [[gnu::visibility("default")]] const lucid::cuda::Backend* lucid_cuda_backend() {
  static const lucid::cuda::Backend table = lucid::cuda::make_table();
  return &table;
}
