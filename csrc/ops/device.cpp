#include "ops/device.h"

#include "core/arguments.h"
#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/plugin.h"

namespace lucid {

lucid_status find_other_device(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                               lucid_device* device) {
  const Operand& first = *operands.begin();
  *device = first.tensor->device;
  for (const Operand& other : operands)
    if (other.tensor != nullptr && (other.tensor->device.type != device->type ||
                                    (device->type != LUCID_CPU && other.tensor->device.id != device->id)))
      return fail(LUCID_INVALID_ARGUMENT, "%s: all tensors must be on one device, got %s on %s and %s on %s", op,
                  first.name, DeviceText(*device).c_str(), other.name, DeviceText(other.tensor->device).c_str());
  if (device->type == LUCID_CPU) return check_no_stream(op, context);
  if (device->type == LUCID_CUDA) return cuda::check_device(op, first.name, device->id);
  return fail(LUCID_UNSUPPORTED, "%s: %s must be on the CPU or on CUDA, got %s", op, first.name,
              DeviceText(*device).c_str());
}

}  // namespace lucid
