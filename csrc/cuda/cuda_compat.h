// The only header of CUDA that kernels include: the CUDA runtime under nvcc, the simulator under a C++ compiler with
// LUCID_CUDA_HOST. Kernels declare shared memory and start kernels by what is defined here, and by nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#ifdef LUCID_CUDA_HOST
#include "cuda/host_sim/host_sim.h"
// A variable of the block in shared memory: LUCID_SHARED(float, tile, [4][34]).
#define LUCID_SHARED(T, name, dims) \
  static const char lucid_key_##name = 0; \
  using lucid_type_##name = T dims; \
  lucid_type_##name& name = ::host_sim::shared_variable<lucid_type_##name>(&lucid_key_##name)
// What the launch asked for.
#define LUCID_DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(::host_sim::machine.shared)
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>
#include <mma.h>
// 32 bytes, as tensor cores want them.
#define LUCID_SHARED(T, name, dims) __shared__ __align__(32) T name dims
#define LUCID_DYN_SHARED(T, name) \
  extern __shared__ __align__(128) unsigned char lucid_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(lucid_dynamic_shared)
#endif

namespace lucid::cuda {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared = 0;
  cudaStream_t stream = nullptr;
#ifdef LUCID_CUDA_HOST
  const char* file = __builtin_FILE();  // where it is made, to be named if the kernel fails
  int line = __builtin_LINE();
#endif
};

// The only place where a kernel is started; there is no <<<>>>.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const LaunchConfig& config, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  std::tuple<Parameters...> values{static_cast<Parameters>(std::forward<Arguments>(arguments))...};
#ifdef LUCID_CUDA_HOST
  return host_sim::launch({reinterpret_cast<const void*>(kernel), config.grid, config.block, config.shared,
                           config.stream, config.file, config.line},
                          kernel, std::move(values));
#else
  return std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), config.grid, config.block, pointers,
                                config.shared, config.stream);
      },
      values);
#endif
}

}  // namespace lucid::cuda
