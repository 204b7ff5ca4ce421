// Wrong kernels and calls, each of which the simulator must catch: `mistakes NAME` must not end with 0, but for
// `mistakes good_sync`. `mistakes --list` names them.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/cuda_compat.h"
#include "cuda/host_sim/settings.h"
#include "cuda/warp_matrix.h"

namespace {

using lucid::cuda::launch;
using lucid::cuda::LaunchConfig;

constexpr int kThreads = 64, kOutputs = 128;
constexpr int kCaught = 3;

__device__ float ramp() { return static_cast<float>(threadIdx.x); }

__global__ void good_sync(float* out, const float*) {
  LUCID_SHARED(float, s, [kThreads]);
  s[threadIdx.x] = ramp();
  __syncthreads();
  out[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
}
__global__ void missing_sync(float* out, const float*) {
  LUCID_SHARED(float, s, [kThreads]);
  s[threadIdx.x] = ramp();
  out[threadIdx.x] = s[kThreads - 1 - threadIdx.x];
}
// The second store may come before the first loads.
__global__ void missing_second_sync(float* out, const float*) {
  LUCID_SHARED(float, s, [kThreads]);
  for (int i = 0; i < 2; ++i) {
    s[threadIdx.x] = ramp() + static_cast<float>(100 * i);
    __syncthreads();
    out[i * kThreads + threadIdx.x] = s[kThreads - 1 - threadIdx.x];
  }
}
__global__ void lockstep_assumed(float* out, const float*) {
  LUCID_SHARED(float, s, [kThreads]);
  s[threadIdx.x] = ramp();
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
__global__ void barrier_in_a_branch(float* out, const float*) {
  if (threadIdx.x < 32) __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void two_barriers(float* out, const float*) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void beyond_shared(float* out, const float*) {
  LUCID_SHARED(float, a, [kThreads]);
  LUCID_SHARED(float, b, [kThreads]);
  a[threadIdx.x] = 1;
  b[threadIdx.x] = 2;
  __syncthreads();
  out[threadIdx.x] = a[threadIdx.x + 1] + b[0];
}
__global__ void beyond_dynamic_shared(float* out, const float*) {
  LUCID_DYN_SHARED(float, s);
  s[threadIdx.x + 1] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}
__global__ void beyond_global(float* out, const float*) { out[threadIdx.x + kOutputs - kThreads + 1] = 1; }
__global__ void reads_beyond_global(float* out, const float* x) { out[threadIdx.x] = x[threadIdx.x + 1]; }
__global__ void uninitialised(float* out, const float*) {
  LUCID_SHARED(float, s, [kThreads]);
  if (threadIdx.x < kThreads - 1) s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}
__global__ void shuffle_in_a_branch(float* out, const float*) {
  float value = ramp();
  if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0xffffffffu, value, 1);
  out[threadIdx.x] = value;
}
__global__ void shuffle_of_the_gone(float* out, const float*) {
  if (threadIdx.x >= 50) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, ramp(), 1);
}
__global__ void order_of_a_sum(float* out, const float*) { atomicAdd(out, 1.0f / (1.0f + ramp())); }
__global__ void racy_sum(float* out, const float*) {
  out[0] = out[0] + 1;
  if (threadIdx.x == 0) out[1] = out[0];
}
__global__ void blocks_race(float* out, const float*) {
  if (threadIdx.x == 0) out[0] = static_cast<float>(blockIdx.x);
}
__global__ void copy_without_a_wait(float* out, const float* x) {
  LUCID_SHARED(float, s, [kThreads]);
  __pipeline_memcpy_async(&s[threadIdx.x], x + threadIdx.x, 4);
  __pipeline_commit();
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
  __pipeline_wait_prior(0);
}
__global__ void copy_never_awaited(float* out, const float* x) {
  LUCID_SHARED(float, s, [kThreads]);
  __pipeline_memcpy_async(&s[threadIdx.x], x + threadIdx.x, 4);
  out[threadIdx.x] = 1;
}
__global__ void misaligned_matrix(float* out, const float*) {
  LUCID_SHARED(__half, s, [600]);
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __half, nvcuda::wmma::row_major> a;
  nvcuda::wmma::load_matrix_sync(a, s + 8, 16);
  out[threadIdx.x] = 1;
}
__global__ void misaligned_rows(float* out, const float*) {
  LUCID_SHARED(__half, s, [600]);
  uint32_t rows[4];
  lucid::cuda::load_matrices(rows, s + 8 * (threadIdx.x % 32) + 4);
  out[threadIdx.x] = 1;
}
__global__ void rows_of_global_memory(float* out, const float* x) {
  uint32_t rows[4];
  lucid::cuda::load_matrices(rows, x);
  out[threadIdx.x] = 1;
}
__global__ void product_in_a_branch(float* out, const float*) {
  float sums[4] = {};
  const uint32_t left[4] = {}, right[2] = {};
  if (threadIdx.x % 32 < 16) lucid::cuda::multiply_matrices<__half>(sums, left, right);
  out[threadIdx.x] = sums[0];
}

struct Memory {
  float *out = nullptr, *x = nullptr;
  Memory() {
    cudaMalloc(&out, kOutputs * sizeof(float));
    cudaMalloc(&x, kThreads * sizeof(float));
    const std::vector<float> zeros(kOutputs);
    cudaMemcpy(out, zeros.data(), kOutputs * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemcpy(x, zeros.data(), kThreads * sizeof(float), cudaMemcpyHostToDevice);
  }
};

using Kernel = void(float*, const float*);
struct Mistake {
  const char* name;
  cudaError_t (*run)(const Memory& memory);
};

template <Kernel* kKernel, unsigned kBlocks = 1, unsigned kRows = 1, size_t kShared = 0, unsigned kGridY = 1>
cudaError_t run_kernel(const Memory& memory) {
  const LaunchConfig config{dim3(kBlocks, kGridY), dim3(kThreads, kRows), kShared, nullptr};
  return launch(kKernel, config, memory.out, static_cast<const float*>(memory.x));
}

cudaError_t host_pointer(const Memory& memory) {
  std::vector<float> host(kOutputs);
  const cudaError_t error =
      launch(good_sync, {dim3(1), dim3(kThreads)}, host.data(), static_cast<const float*>(memory.x));
  return error != cudaSuccess ? error : cudaDeviceSynchronize();
}
cudaError_t freed_pointer(const Memory& memory) {
  cudaFree(memory.out);
  return run_kernel<good_sync>(memory);
}
cudaError_t wrong_direction(const Memory& memory) {
  std::vector<float> host(kOutputs);
  return cudaMemcpy(memory.out, host.data(), kOutputs * sizeof(float), cudaMemcpyDeviceToHost);
}
cudaError_t copy_too_long(const Memory& memory) {
  std::vector<float> host(1000);
  return cudaMemcpy(memory.out, host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice);
}
cudaError_t no_wait_for_a_stream(const Memory& memory) {
  float* host = nullptr;
  cudaMallocHost(&host, kOutputs * sizeof(float));
  std::memset(host, 0xff, kOutputs * sizeof(float));
  cudaStream_t stream = nullptr;
  cudaStreamCreate(&stream);
  launch(good_sync, {dim3(1), dim3(kThreads), 0, stream}, memory.out, static_cast<const float*>(memory.x));
  cudaMemcpyAsync(host, memory.out, kOutputs * sizeof(float), cudaMemcpyDeviceToHost, stream);
  return std::isnan(host[0]) ? cudaErrorNotReady : cudaSuccess;
}
// A stream that does not block, beside the default stream, which it does not wait for.
cudaError_t no_wait_between_streams(const Memory& memory) {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  float got[kThreads];
  run_kernel<good_sync>(memory);
  cudaMemcpyAsync(got, memory.out, sizeof got, cudaMemcpyDeviceToHost, stream);
  return got[0] != kThreads - 1 ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t host_reads_device(const Memory& memory) {
  const volatile float* out = memory.out;
  return out[0] == 0.0f ? cudaSuccess : cudaSuccess;
}
cudaError_t allocates_in_a_capture(const Memory& memory) {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  launch(good_sync, {dim3(1), dim3(kThreads), 0, stream}, memory.out, static_cast<const float*>(memory.x));
  float* more = nullptr;
  cudaMalloc(&more, 4);
  cudaGraph_t graph = nullptr;
  return cudaStreamEndCapture(stream, &graph);
}

const Mistake kMistakes[] = {
    {"good_sync", run_kernel<good_sync>},
    {"missing_sync", run_kernel<missing_sync>},
    {"missing_second_sync", run_kernel<missing_second_sync>},
    {"lockstep_assumed", run_kernel<lockstep_assumed>},
    {"barrier_in_a_branch", run_kernel<barrier_in_a_branch>},
    {"two_barriers", run_kernel<two_barriers>},
    {"beyond_shared", run_kernel<beyond_shared>},
    {"beyond_dynamic_shared", run_kernel<beyond_dynamic_shared, 1, 1, kThreads * sizeof(float)>},
    {"beyond_global", run_kernel<beyond_global>},
    {"reads_beyond_global", run_kernel<reads_beyond_global>},
    {"uninitialised", run_kernel<uninitialised>},
    {"shuffle_in_a_branch", run_kernel<shuffle_in_a_branch>},
    {"shuffle_of_the_gone", run_kernel<shuffle_of_the_gone>},
    {"order_of_a_sum", run_kernel<order_of_a_sum>},
    {"racy_sum", run_kernel<racy_sum>},
    {"blocks_race", run_kernel<blocks_race, 8>},
    {"copy_without_a_wait", run_kernel<copy_without_a_wait>},
    {"copy_never_awaited", run_kernel<copy_never_awaited>},
    {"misaligned_matrix", run_kernel<misaligned_matrix>},
    {"misaligned_rows", run_kernel<misaligned_rows>},
    {"rows_of_global_memory", run_kernel<rows_of_global_memory>},
    {"product_in_a_branch", run_kernel<product_in_a_branch>},
    {"too_many_threads", run_kernel<good_sync, 1, 32>},
    {"grid_too_high", run_kernel<good_sync, 1, 1, 0, 70000>},
    {"too_much_shared", run_kernel<good_sync, 1, 1, 100000>},
    {"host_pointer", host_pointer},
    {"freed_pointer", freed_pointer},
    {"wrong_direction", wrong_direction},
    {"copy_too_long", copy_too_long},
    {"no_wait_for_a_stream", no_wait_for_a_stream},
    {"no_wait_between_streams", no_wait_between_streams},
    {"host_reads_device", host_reads_device},
    {"allocates_in_a_capture", allocates_in_a_capture},
};

// What it leaves in the outputs; ends the program if something is caught.
std::vector<float> outputs_of(const Mistake& mistake, uint64_t seed) {
  host_sim::settings().seed = seed;
  const Memory memory;
  cudaError_t error = mistake.run(memory);
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  std::vector<float> out(kOutputs);
  if (error == cudaSuccess)
    error = cudaMemcpy(out.data(), memory.out, kOutputs * sizeof(float), cudaMemcpyDeviceToHost);
  if (error != cudaSuccess) {
    std::printf("caught: %s\n", cudaGetErrorString(error));
    std::exit(kCaught);
  }
  for (const float value : out)
    if (std::isnan(value)) {
      std::printf("caught: memory that nobody wrote reached an output\n");
      std::exit(kCaught);
    }
  return out;
}

int try_out(const Mistake& mistake) {
  const std::vector<float> first = outputs_of(mistake, 0);
  for (uint64_t seed = 1; seed < 5; ++seed)
    if (outputs_of(mistake, seed) != first) {
      std::printf("caught: the result depends on the order of the threads\n");
      return kCaught;
    }
  std::printf("nothing is caught\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  for (const Mistake& mistake : kMistakes) {
    if (argc == 2 && std::strcmp(argv[1], "--list") == 0) std::printf("%s\n", mistake.name);
    if (argc == 2 && std::strcmp(argv[1], mistake.name) == 0) return try_out(mistake);
  }
  return argc == 2 && std::strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
