// Which device a call is for.
#pragma once

#include <initializer_list>

#include "lucid.h"

namespace lucid {

struct Operand {
  const char* name;
  const lucid_tensor* tensor;  // null for one that is not there
};

// The device that all operands are on, which the library can use. The first is there.
lucid_status find_device(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                         lucid_device* device);

}  // namespace lucid
