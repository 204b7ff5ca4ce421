#include "ops/update.h"

namespace lucid {

lucid_status check_update(const char* op, const lucid_context* context, std::initializer_list<Operand> operands,
                          lucid_device* device) {
  const Operand& first = *operands.begin();
  LUCID_CHECK(check_tensor(op, first.name, first.tensor, 0, kMaxDims));
  for (const Operand& operand : operands) {
    LUCID_CHECK(check_tensor(op, operand.name, operand.tensor, 0, kMaxDims, first.tensor->dtype));
    LUCID_CHECK(check_shape(op, operand.name, *operand.tensor, shape_of(*first.tensor)));
  }
  LUCID_CHECK(find_device(op, context, operands, device));
  for (const Operand* operand = operands.begin(); operand != operands.end(); ++operand) {
    LUCID_CHECK(check_data(op, operand->name, operand->tensor, *device));
    for (const Operand* other = operands.begin(); other != operand; ++other)
      LUCID_CHECK(check_in_place(op, operand->name, *operand->tensor, *other->tensor, other->name));
  }
  return ok();
}

}  // namespace lucid
