// adamw_update: a parameter moves by its mean gradient over the root of the mean square, and decays apart.
#include <math.h>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/update.h"

namespace lucid {
namespace {

constexpr const char* kOp = "adamw_update";

lucid_status check_beta(const char* name, double beta) {
  if (beta >= 0.0 && beta < 1.0) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be at least 0 and below 1, got %g", kOp, name, beta);
}

lucid_status run_adamw_update(const lucid_adamw_update_args& a) {
  lucid_device device;
  LUCID_CHECK(check_update(
      kOp, a.context,
      {{"parameter", a.parameter}, {"gradient", a.gradient}, {"exp_avg", a.exp_avg}, {"exp_avg_sq", a.exp_avg_sq}},
      &device));
  LUCID_CHECK(check_beta("beta1", a.beta1));
  LUCID_CHECK(check_beta("beta2", a.beta2));
  if (a.step < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: step must be at least 1, got %lld", kOp, static_cast<long long>(a.step));
  // The means begin at zero: what they lack of the gradients so far.
  const double known1 = 1.0 - pow(a.beta1, static_cast<double>(a.step));
  const double known2 = 1.0 - pow(a.beta2, static_cast<double>(a.step));
  const AdamwUpdate update{.tensors = update_tensors<4>({a.parameter, a.gradient, a.exp_avg, a.exp_avg_sq}),
                           .beta1 = static_cast<float>(a.beta1),
                           .beta2 = static_cast<float>(a.beta2),
                           .fresh1 = static_cast<float>(1.0 - a.beta1),
                           .fresh2 = static_cast<float>(1.0 - a.beta2),
                           .kept = static_cast<float>(1.0 - a.lr * a.weight_decay),
                           .step_size = static_cast<float>(a.lr / known1),
                           .root_scale = static_cast<float>(1.0 / sqrt(known2)),
                           .eps = static_cast<float>(a.eps)};
  return run_update(kOp, update, *a.parameter, a.context, kernels().adamw_update, &cuda::Backend::adamw_update);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_adamw_update(const lucid_adamw_update_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_adamw_update);
}
