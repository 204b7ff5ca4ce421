// Updates of a parameter in place: what their operators have in common.
#pragma once

#include <initializer_list>

#include "core/parallel.h"
#include "core/tensor_view.h"
#include "core/update.h"
#include "cuda/plugin.h"
#include "cuda/strides.h"
#include "ops/device.h"
#include "ops/elementwise.h"
#include "ops/shapes.h"

namespace lucid {

// The operands, of which the first is there, have one shape of up to 8 dimensions, one dtype and memory on one device;
// none lies in another in another order.
lucid_status check_update(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                          lucid_device* device);

// The dimensions in the order of the first tensor's memory, those that are one step of another merged with it.
template <int kCount>
UpdateTensors<kCount> update_tensors(const lucid_tensor* const (&tensors)[kCount]) {
  static_assert(UpdateTensors<kCount>::kMaxDims == kMaxDims);
  UpdateTensors<kCount> merged{};
  cuda::StridedOperand operands[kCount - 1];
  for (int i = 0; i < kCount; ++i) {
    merged.data[i] = data_of(*tensors[i]);
    if (i > 0) operands[i - 1] = {tensors[i], merged.stride[i]};
  }
  merged.dims = cuda::merge_strides(*tensors[0], merged.size, merged.stride[0], operands);
  return merged;
}

// Runs a kernel of the CPU, or of the device, on the elements of the first tensor.
template <class Update, class CudaUpdate>
lucid_status run_update(const char* op, const Update& update, const lucid_tensor& first, const lucid_context* context,
                        void (*kernel)(const Update&, int64_t, int64_t),
                        cuda::Error (*cuda::Backend::*cuda_kernel)(const CudaUpdate&, cuda::Stream)) {
  if (is_empty(shape_of(first))) return ok();
  if (first.device.type == LUCID_CUDA) {
    const cuda::Call call(op, first.device.id, stream_of(context));
    LUCID_CHECK(call.begin());
    const CudaUpdate p{.dtype = cuda::dtype_of(first.dtype), .update = update};
    return call.check((call.operator->()->*cuda_kernel)(p, call.stream()));
  }
  int64_t elements = 1;
  for (int d = 0; d < update.tensors.dims; ++d) elements *= update.tensors.size[d];
  constexpr int64_t kMoved = sizeof update.tensors.data / sizeof(void*);
  parallel_for(elements, grain_of(kMoved), [&](int64_t begin, int64_t end, int) { kernel(update, begin, end); });
  return ok();
}

}  // namespace lucid
