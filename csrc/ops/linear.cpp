// linear: y = x * weight^T + bias, in groups.
#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_linear(const lucid_linear_args& a, lucid_shape* y) {
  LUCID_CHECK(check_tensor("linear", "x", a.x, 2, 2));
  LUCID_CHECK(check_sizes("linear", "x", *a.x));
  LUCID_CHECK(check_tensor("linear", "weight", a.weight, 2, 2, a.x->dtype));
  LUCID_CHECK(check_not_empty("linear", "weight", *a.weight));
  const long long in = a.x->shape[1], out = a.weight->shape[0], columns = a.weight->shape[1], groups = a.groups;
  if (groups < 1) return fail(LUCID_INVALID_ARGUMENT, "linear: groups must be positive, got %lld", groups);
  if (in % groups != 0 || out % groups != 0)
    return fail(LUCID_INVALID_ARGUMENT,
                "linear: groups (%lld) must divide the columns of x and the rows of weight, got %lld and %lld", groups,
                in, out);
  if (columns != in / groups)
    return fail(LUCID_INVALID_ARGUMENT, "linear: weight must have %s, %lld, got %lld",
                groups == 1 ? "as many columns as x" : "as many columns as a group of x", in / groups, columns);
  if (a.bias != nullptr) LUCID_CHECK(check_vector("linear", "bias", a.bias, out, a.x->dtype));
  *y = make_shape({a.x->shape[0], out}, a.x->dtype);
  if (!elements_fit(y->sizes, 2))
    return fail(LUCID_INVALID_ARGUMENT, "linear: y must have at most 2^58 elements, got %s",
                ShapeText(y->sizes, 2).c_str());
  return ok();
}

namespace {

lucid_status run_on_cuda(const lucid_linear_args& a) {
  const cuda::Call call("linear", a.x->device.id, stream_of(a.context));
  cuda::Input x, weight, bias;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kRowMajor));
  LUCID_CHECK(weight.stage(call, *a.weight, cuda::Order::kRowMajor));
  LUCID_CHECK(bias.stage_vector(call, a.bias));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kRowMajor));
  const cuda::Linear p{.dtype = cuda::dtype_of(a.x->dtype),
                       .rows = a.x->shape[0],
                       .in = a.weight->shape[1],
                       .outputs = a.weight->shape[0] / a.groups,
                       .groups = a.groups,
                       .x = x.data(),
                       .weight = weight.data(),
                       .bias = bias.floats(),
                       .relu = false,
                       .y = y.data()};
  LUCID_CHECK(call.check(call->linear(p, call.stream())));
  return y.finish(call);
}

lucid_status run_linear(const lucid_linear_args& a) {
  constexpr const char* op = "linear";
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_linear(a, &shape));
  LUCID_CHECK(find_device(op, a.context, {{"x", a.x}, {"weight", a.weight}, {"bias", a.bias}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data(op, "x", a.x, device));
  LUCID_CHECK(check_data(op, "weight", a.weight, device));
  LUCID_CHECK(check_data(op, "bias", a.bias, device));
  LUCID_CHECK(check_output(op, "y", a.y, shape, device));
  if (is_empty(shape)) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a);
  const ImageView x = view_image(*a.x), weight = view_image(*a.weight);
  const VectorView bias = view_vector(a.bias);
  const StagedInput input(x), weights(weight);
  const StagedOutput output(view_image(*a.y));
  if (input.data() == nullptr || weights.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "linear: no memory for copies of x %s, weight %s and y",
                ShapeText(a.x->shape, 2).c_str(), ShapeText(a.weight->shape, 2).c_str());
  const Linear p = {.x = input.data(),
                    .weight = weights.data(),
                    .bias = bias.data,
                    .bias_stride = bias.stride,
                    .y = output.data(),
                    .rows = x.n,
                    .in = weight.c,
                    .outputs = weight.n / a.groups,
                    .groups = a.groups,
                    .relu = false};
  parallel_for(p.tasks(), grain_of(p.in * (Linear::kOutputs + std::min(Linear::kRows, p.rows))),
               [&](int64_t begin, int64_t end, int) { kernels().linear(p, begin, end); });
  output.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_linear(const lucid_linear_args* args) {
  return lucid::with_arguments("linear", args, lucid::run_linear);
}

extern "C" lucid_status lucid_linear_output_shape(const lucid_linear_args* args, lucid_shape* y) {
  return lucid::output_shape("linear", args, lucid::check_linear, y);
}
