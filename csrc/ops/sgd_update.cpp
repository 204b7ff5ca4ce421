// sgd_update: a parameter goes down its gradient, with momentum.
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/update.h"

namespace lucid {
namespace {

constexpr const char* kOp = "sgd_update";

lucid_status run_sgd_update(const lucid_sgd_update_args& a) {
  const Operand parameter{"parameter", a.parameter}, gradient{"gradient", a.gradient};
  const bool has_buffer = a.momentum_buffer != nullptr;
  lucid_device device;
  LUCID_CHECK(has_buffer
                  ? check_update(kOp, a.context, {parameter, gradient, {"momentum_buffer", a.momentum_buffer}}, &device)
                  : check_update(kOp, a.context, {parameter, gradient}, &device));
  if (a.momentum != 0.0 && !has_buffer)
    return fail(LUCID_INVALID_ARGUMENT, "%s: momentum_buffer must be a tensor where momentum is not 0, got NULL", kOp);
  const SgdUpdate update{
      .tensors = update_tensors<3>({a.parameter, a.gradient, has_buffer ? a.momentum_buffer : a.parameter}),
      .has_buffer = has_buffer,
      .is_first_step = a.is_first_step != 0,
      .nesterov = a.nesterov != 0,
      .lr = static_cast<float>(a.lr),
      .momentum = static_cast<float>(a.momentum),
      .undamped = static_cast<float>(1.0 - a.dampening),
      .weight_decay = static_cast<float>(a.weight_decay)};
  return run_update(kOp, update, *a.parameter, a.context, kernels().sgd_update, &cuda::Backend::sgd_update);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_sgd_update(const lucid_sgd_update_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_sgd_update);
}
