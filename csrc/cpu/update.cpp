// Updates of a parameter in place: SGD with momentum, AdamW, and an average that follows a parameter.
//
// Bound by memory: AdamW reads four tensors and writes three of them. Where all step by one element along the last
// dimension, runs of it go by vectors; else an element is the first lane of one, so that strides do not change a bit.
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// body(lanes, at) for vectors of the elements from `begin` to `end`; at[i] is where those of tensor i are.
template <int kCount, class Body>
void for_each_part(const UpdateTensors<kCount>& tensors, int64_t begin, int64_t end, const Body& body) {
  const int last = tensors.dims - 1;
  bool runs = true;
  for (const auto& stride : tensors.stride) runs = runs && stride[last] == 1;
  while (begin < end) {
    const int64_t size = tensors.size[last], first = begin % size;
    const int64_t count = size - first < end - begin ? size - first : end - begin;
    float* run[kCount];
    for (int i = 0; i < kCount; ++i) {
      int64_t offset = first * tensors.stride[i][last], rest = begin / size;
      for (int d = last - 1; d >= 0; --d) {
        offset += rest % tensors.size[d] * tensors.stride[i][d];
        rest /= tensors.size[d];
      }
      run[i] = static_cast<float*>(tensors.data[i]) + offset;
    }
    const auto part = [&](int64_t element, auto lanes) {
      float* at[kCount];
      for (int i = 0; i < kCount; ++i) at[i] = run[i] + element * tensors.stride[i][last];
      body(lanes, at);
    };
    if (runs)
      for_each_vector(count, part);
    else
      for (int64_t element = 0; element < count; ++element) part(element, Part{1});
    begin += count;
  }
}

}  // namespace

void sgd_update(const SgdUpdate& p, int64_t begin, int64_t end) {
  const F32 lr = F32::broadcast(-p.lr), momentum = F32::broadcast(p.momentum);
  const F32 undamped = F32::broadcast(p.undamped), weight_decay = F32::broadcast(p.weight_decay);
  for_each_part(p.tensors, begin, end, [&](auto lanes, float* const(&at)[3]) {
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
  for_each_part(p.tensors, begin, end, [&](auto lanes, float* const(&at)[4]) {
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
  for_each_part(p.tensors, begin, end, [&](auto lanes, float* const(&at)[2]) {
    const F32 average = lanes.load(at[0]);
    lanes.store(fma(fresh, lanes.load(at[1]) - average, average), at[0]);
  });
}

}  // namespace lucid::LUCID_ISA
