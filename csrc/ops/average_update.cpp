// average_update: an exponential moving average takes in a parameter.
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/update.h"

namespace lucid {
namespace {

constexpr const char* kOp = "average_update";

lucid_status run_average_update(const lucid_average_update_args& a) {
  lucid_device device;
  LUCID_CHECK(check_update(kOp, a.context, {{"average", a.average}, {"parameter", a.parameter}}, &device));
  const AverageUpdate update{.tensors = update_tensors<2>({a.average, a.parameter}),
                             .fresh = static_cast<float>(1.0 - a.decay)};
  return run_update(kOp, update, *a.average, a.context, kernels().average_update, &cuda::Backend::average_update);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_average_update(const lucid_average_update_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_average_update);
}
