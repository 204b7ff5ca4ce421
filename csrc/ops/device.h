// Which device a call is for.
#pragma once

#include <initializer_list>

#include "lucid.h"

namespace lucid {

struct Operand {
  const char* name;
  const lucid_tensor* tensor;  // null for one that is not there
};

// As find_device(), where anything is elsewhere than on the CPU.
lucid_status find_other_device(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                               lucid_device* device);

// The device that all operands are on, which the library can use. The first is there.
inline lucid_status find_device(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                                lucid_device* device) {
  bool on_cpu = context == nullptr;
  for (const Operand& operand : operands)
    on_cpu = on_cpu && (operand.tensor == nullptr || operand.tensor->device.type == LUCID_CPU);
  *device = {LUCID_CPU, 0};
  return on_cpu ? LUCID_OK : find_other_device(op, context, operands, device);
}

}  // namespace lucid
