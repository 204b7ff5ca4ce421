// Updates of a parameter in place, on any strides: SGD with momentum, AdamW, and an average that follows a parameter.
//
// Bound by memory: AdamW reads four tensors and writes three of them. Where all are contiguous along the last dimension
// a thread takes 16 bytes of each.
#include "cuda/kernels.h"
#include "cuda/strided.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

// What the kernel asks of an update: which tensors it reads and writes, and what becomes of one element of each.

struct Sgd {
  static constexpr int kCount = 3;
  bool has_buffer, is_first_step, nesterov;
  float lr, momentum, undamped, weight_decay;

  __device__ __forceinline__ bool reads(int tensor) const { return tensor < 2 || (has_buffer && !is_first_step); }
  __device__ __forceinline__ bool writes(int tensor) const { return tensor == 0 || (tensor == 2 && has_buffer); }
  __device__ __forceinline__ void operator()(float& parameter, float gradient, float& buffer) const {
    // A product with 0 would make a NaN of an infinite parameter.
    if (weight_decay != 0.0f) gradient += weight_decay * parameter;
    if (has_buffer) {
      buffer = is_first_step ? gradient : momentum * buffer + undamped * gradient;
      gradient = nesterov ? gradient + momentum * buffer : buffer;
    }
    parameter -= lr * gradient;
  }
};

struct Adamw {
  static constexpr int kCount = 4;
  float beta1, beta2, fresh1, fresh2, kept, step_size, root_scale, eps;

  __device__ __forceinline__ bool reads(int) const { return true; }
  __device__ __forceinline__ bool writes(int tensor) const { return tensor != 1; }
  __device__ __forceinline__ void operator()(float& parameter, float gradient, float& mean, float& square) const {
    mean = beta1 * mean + fresh1 * gradient;
    square = beta2 * square + fresh2 * (gradient * gradient);
    parameter = kept * parameter - step_size * mean / (root_scale * sqrtf(square) + eps);
  }
};

struct Average {
  static constexpr int kCount = 2;
  float fresh;

  __device__ __forceinline__ bool reads(int) const { return true; }
  __device__ __forceinline__ bool writes(int tensor) const { return tensor == 0; }
  __device__ __forceinline__ void operator()(float& average, float parameter) const {
    average += fresh * (parameter - average);
  }
};

template <int kCount>
struct Places {
  void* data[kCount];
};

template <class Update, class Access>
__global__ void __launch_bounds__(kThreads)
    update_units(Update update, Places<Update::kCount> places, StridedLoop<Update::kCount> loop, uint32_t count,
                 Access access) {
  constexpr int kCount = Update::kCount, kWidth = Access::kWidth;
  const uint32_t unit = blockIdx.x * kThreads + threadIdx.x;
  if (unit >= count) return;
  int64_t offsets[kCount];
  loop.locate(unit, offsets);
  float values[kCount][kWidth] = {};
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (update.reads(i)) access.load(places.data[i], offsets[i], values[i]);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    if constexpr (kCount == 2) update(values[0][k], values[1][k]);
    if constexpr (kCount == 3) update(values[0][k], values[1][k], values[2][k]);
    if constexpr (kCount == 4) update(values[0][k], values[1][k], values[2][k], values[3][k]);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (update.writes(i)) access.store(places.data[i], offsets[i], values[i]);
}

template <class Update>
Error run_update(Dtype dtype, const UpdateTensors<Update::kCount>& tensors, Update update, Stream stream) {
  constexpr int kCount = Update::kCount;
  StridedShape<kCount> shape;
  for (int d = 0; d < tensors.dims; ++d) {
    int64_t strides[kCount];
    for (int i = 0; i < kCount; ++i) strides[i] = tensors.stride[i][d];
    shape.add(tensors.size[d], strides);
  }
  if (shape.count() == 0) return cudaSuccess;
  shape.simplify();
  bool wide = shape.runs(width_of(dtype), false);
  for (const void* data : tensors.data) wide = wide && are_aligned({data});
  const auto launch_parts = [&](auto access) {
    constexpr int kWidth = decltype(access)::kWidth;
    return shape.for_each_part(
        [&](const StridedShape<kCount>& part, const int64_t (&offsets)[kCount]) {
          Places<kCount> places;
          for (int i = 0; i < kCount; ++i)
            places.data[i] = static_cast<char*>(tensors.data[i]) + offsets[i] * size_of(dtype);
          const int64_t count = part.count() / kWidth;
          return launch_blocks(update_units<Update, decltype(access)>, blocks_of(count, kThreads), kThreads, 0, stream,
                               update, places, part.units(kWidth), static_cast<uint32_t>(count), access);
        },
        {});
  };
  return with_access(dtype, wide ? 0 : 1, {}, launch_parts);
}

}  // namespace

Error sgd_update(const SgdUpdate& p, Stream stream) {
  const lucid::SgdUpdate& u = p.update;
  return run_update(p.dtype, u.tensors,
                    Sgd{u.has_buffer, u.is_first_step, u.nesterov, u.lr, u.momentum, u.undamped, u.weight_decay},
                    stream);
}

Error adamw_update(const AdamwUpdate& p, Stream stream) {
  const lucid::AdamwUpdate& u = p.update;
  return run_update(p.dtype, u.tensors,
                    Adamw{u.beta1, u.beta2, u.fresh1, u.fresh2, u.kept, u.step_size, u.root_scale, u.eps}, stream);
}

Error average_update(const AverageUpdate& p, Stream stream) {
  return run_update(p.dtype, p.update.tensors, Average{p.update.fresh}, stream);
}

}  // namespace lucid::cuda
