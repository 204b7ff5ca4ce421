// The one header that kernel sources include.  nvcc: the CUDA runtime.
// Host-sim build (-DLUCID_CUDA_HOST, plain C++): the test shim.
#pragma once
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#if defined(LUCID_CUDA_HOST)
#include "cuda/host_sim/cuda_host.h"
// block-shared array, e.g. LUCID_SHARED(float, tile, [4][34]);
#define LUCID_SHARED(T, name, dims) \
  static const char lucid_key_##name = 0; \
  using lucid_type_##name = T dims; \
  lucid_type_##name& name = ::cuhost::shared_var<lucid_type_##name>(&lucid_key_##name)
#define LUCID_DYN_SHARED(T, name) T* name = static_cast<T*>(::cuhost::dyn_shared())
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>
#include <mma.h>
#define LUCID_SHARED(T, name, dims) __shared__ __align__(16) T name dims
#define LUCID_DYN_SHARED(T, name) \
  extern __shared__ __align__(16) unsigned char lucid_dyn_shared[]; \
  T* name = reinterpret_cast<T*>(lucid_dyn_shared)
#endif

namespace lucid::cuda {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared = 0;
  cudaStream_t stream = nullptr;
};

// The only place a kernel is started, in both builds; no <<<>>> anywhere.
template <class... K, class... A>
cudaError_t launch(void (*kernel)(K...), const LaunchConfig& c, A&&... a) {
  static_assert(sizeof...(K) == sizeof...(A), "argument count");
  std::tuple<K...> args{static_cast<K>(std::forward<A>(a))...};
#if defined(LUCID_CUDA_HOST)
  size_t n = size_t(c.block.x) * c.block.y * c.block.z;
  size_t cap = host_sim::settings().shared_default;
  auto it = cuhost::func_smem().find(reinterpret_cast<const void*>(kernel));
  if (it != cuhost::func_smem().end()) cap = std::max(cap, it->second);
  if (!n || n > 1024 || c.block.z > 64 || !c.grid.x || !c.grid.y || !c.grid.z || c.grid.x > 2147483647u ||
      c.grid.y > 65535 || c.grid.z > 65535 || c.shared > cap)
    return cuhost_set(cudaErrorInvalidConfiguration, "invalid launch configuration");
  auto r = cuhost_guard([&] {
    int i = 0;
    std::apply([&](auto&... x) { (cuhost::check_arg(x, i++), ...); }, args);
  });
  if (r) return r;
  return cuhost_guard([&] {
    cuhost::submit(c.stream, [=]() mutable { cuhost::run_grid("kernel", kernel, c.grid, c.block, c.shared, args); });
  });
#else
  return std::apply(
      [&](auto&... x) {
        void* p[] = {static_cast<void*>(const_cast<std::remove_const_t<std::remove_reference_t<decltype(x)> >*>(&x))...,
                     nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), c.grid, c.block, p, c.shared, c.stream);
      },
      args);
#endif
}

}  // namespace lucid::cuda
