// Updates of a parameter in place: SGD with momentum, AdamW, and an average that follows a parameter.
//
// Bound by memory: AdamW reads four tensors and writes three of them. Elements go by blocks in the order of the first
// tensor. Of a tensor in another order, such as the channels-last gradient of a filter, a block is copied, and back if
// it is changed: so all arithmetic is by vectors, and strides do not change a bit.
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kBlock = 512;  // elements; copies of four tensors stay in the first cache

// Whether elements lie in memory as they are numbered.
template <int kCount>
bool is_dense(const UpdateTensors<kCount>& tensors, int tensor) {
  int64_t step = 1;
  for (int d = tensors.dims - 1; d >= 0; --d) {
    if (tensors.stride[tensor][d] != step) return false;
    step *= tensors.size[d];
  }
  return true;
}

// body(element, size) for elements of a tensor in their order, in runs along the last dimension.
template <int kCount, class Body>
void for_each_run(const UpdateTensors<kCount>& tensors, int tensor, int64_t begin, int64_t count, const Body& body) {
  const int last = tensors.dims - 1;
  const int64_t* stride = tensors.stride[tensor];
  int64_t index[UpdateTensors<kCount>::kMaxDims], offset = 0, rest = begin;
  for (int d = last; d >= 0; --d) {
    index[d] = rest % tensors.size[d];
    rest /= tensors.size[d];
    offset += index[d] * stride[d];
  }
  while (true) {
    const int64_t left = tensors.size[last] - index[last], size = left < count ? left : count;
    body(static_cast<float*>(tensors.data[tensor]) + offset, size);
    count -= size;
    if (count == 0) return;
    offset -= index[last] * stride[last];
    index[last] = 0;
    for (int d = last - 1; d >= 0; --d) {
      offset += stride[d];
      if (++index[d] < tensors.size[d]) break;
      offset -= index[d] * stride[d];
      index[d] = 0;
    }
  }
}

// body(lanes, at) for vectors of the elements from `begin` to `end`; at[i] is where those of tensor i are.
template <int kCount, class Body>
void for_each_part(const UpdateTensors<kCount>& tensors, const bool (&changes)[kCount], int64_t begin, int64_t end,
                   const Body& body) {
  bool dense[kCount];
  float copies[kCount][kBlock];
  for (int i = 0; i < kCount; ++i) dense[i] = is_dense(tensors, i);
  for (; begin < end; begin += kBlock) {
    const int64_t count = end - begin < kBlock ? end - begin : kBlock;
    float* block[kCount];
    for (int i = 0; i < kCount; ++i) {
      block[i] = dense[i] ? static_cast<float*>(tensors.data[i]) + begin : copies[i];
      if (dense[i]) continue;
      const int64_t step = tensors.stride[i][tensors.dims - 1];
      float* to = copies[i];
      for_each_run(tensors, i, begin, count, [&](const float* from, int64_t size) {
        for (int64_t k = 0; k < size; ++k) *to++ = from[k * step];
      });
    }
    for_each_vector(count, [&](int64_t k, auto lanes) {
      float* at[kCount];
      for (int i = 0; i < kCount; ++i) at[i] = block[i] + k;
      body(lanes, at);
    });
    for (int i = 0; i < kCount; ++i) {
      if (dense[i] || !changes[i]) continue;
      const int64_t step = tensors.stride[i][tensors.dims - 1];
      const float* from = copies[i];
      for_each_run(tensors, i, begin, count, [&](float* to, int64_t size) {
        for (int64_t k = 0; k < size; ++k) to[k * step] = *from++;
      });
    }
  }
}

}  // namespace

void sgd_update(const SgdUpdate& p, int64_t begin, int64_t end) {
  const F32 lr = F32::broadcast(-p.lr), momentum = F32::broadcast(p.momentum);
  const F32 undamped = F32::broadcast(p.undamped), weight_decay = F32::broadcast(p.weight_decay);
  for_each_part(p.tensors, {true, false, p.has_buffer}, begin, end, [&](auto lanes, float* const(&at)[3]) {
    const F32 parameter = lanes.load(at[0]);
    F32 step = lanes.load(at[1]);
    // A product with 0 would make a NaN of an infinite parameter.
    if (p.weight_decay != 0.0f) step = fma(weight_decay, parameter, step);
    if (p.has_buffer) {
      const F32 buffer = p.is_first_step ? step : fma(undamped, step, momentum * lanes.load(at[2]));
      lanes.store(buffer, at[2]);
      step = p.nesterov ? fma(momentum, buffer, step) : buffer;
    }
    lanes.store(fma(lr, step, parameter), at[0]);
  });
}

void adamw_update(const AdamwUpdate& p, int64_t begin, int64_t end) {
  const F32 beta1 = F32::broadcast(p.beta1), fresh1 = F32::broadcast(p.fresh1);
  const F32 beta2 = F32::broadcast(p.beta2), fresh2 = F32::broadcast(p.fresh2);
  const F32 kept = F32::broadcast(p.kept), step_size = F32::broadcast(p.step_size);
  const F32 root_scale = F32::broadcast(p.root_scale), eps = F32::broadcast(p.eps);
  for_each_part(p.tensors, {true, false, true, true}, begin, end, [&](auto lanes, float* const(&at)[4]) {
    const F32 gradient = lanes.load(at[1]);
    const F32 mean = fma(fresh1, gradient, beta1 * lanes.load(at[2]));
    const F32 square = fma(fresh2, gradient * gradient, beta2 * lanes.load(at[3]));
    lanes.store(mean, at[2]);
    lanes.store(square, at[3]);
    const F32 step = step_size * mean / fma(root_scale, sqrt(square), eps);
    lanes.store(kept * lanes.load(at[0]) - step, at[0]);
  });
}

void average_update(const AverageUpdate& p, int64_t begin, int64_t end) {
  const F32 fresh = F32::broadcast(p.fresh);
  for_each_part(p.tensors, {true, false}, begin, end, [&](auto lanes, float* const(&at)[2]) {
    const F32 average = lanes.load(at[0]);
    lanes.store(fma(fresh, lanes.load(at[1]) - average, average), at[0]);
  });
}

}  // namespace lucid::LUCID_ISA
