// split_attention_backward: the weights of every image again, then dx with the sums behind dlogits, then dlogits.
#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

constexpr const char* kOp = "split_attention_backward";

lucid_status check_split_attention_backward(const lucid_split_attention_backward_args& a, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(kOp, "x", a.x, 4, 4));
  LUCID_CHECK(check_sizes(kOp, "x", *a.x));
  const int64_t* x = a.x->shape;
  LUCID_CHECK(check_splits(kOp, x[1], a.radix, a.cardinality));
  LUCID_CHECK(check_tensor(kOp, "logits", a.logits, 2, 2, a.x->dtype));
  LUCID_CHECK(check_shape(kOp, "logits", *a.logits, {x[0], x[1]}));
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 4, 4, a.x->dtype));
  LUCID_CHECK(check_shape(kOp, "dy", *a.dy, {x[0], x[1] / a.radix, x[2], x[3]}));
  *dx = shape_of(*a.x);
  return ok();
}

lucid_status run_on_cuda(const lucid_split_attention_backward_args& a) {
  const cuda::Call call(kOp, a.x->device.id, stream_of(a.context));
  cuda::Input x, logits, dy;
  cuda::Output dx, dlogits;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(logits.stage(call, *a.logits, cuda::Order::kRowMajor));
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kChannelsLast));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kChannelsLast));
  LUCID_CHECK(dlogits.stage(call, *a.dlogits, cuda::Order::kRowMajor));
  cuda::SplitAttentionBackward p{.dtype = cuda::dtype_of(a.x->dtype),
                                 .n = a.x->shape[0],
                                 .pixels = a.x->shape[2] * a.x->shape[3],
                                 .radix = a.radix,
                                 .c = a.dy->shape[1],
                                 .cardinality = a.cardinality,
                                 .x = x.data(),
                                 .logits = logits.data(),
                                 .dy = dy.data(),
                                 .dx = dx.data(),
                                 .dlogits = dlogits.data(),
                                 .workspace = nullptr};
  LUCID_CHECK(workspace.allocate(call, call->split_attention_backward_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->split_attention_backward(p, call.stream())));
  LUCID_CHECK(dx.finish(call));
  return dlogits.finish(call);
}

// The softmax of the logits, or their sigmoid.
void find_weights(const lucid_split_attention_backward_args& a, const float* logits, float* weights) {
  const int64_t c = a.dy->shape[1];
  const SplitAttention p{.x = {},
                         .logits = logits,
                         .weights = weights,
                         .y = {},
                         .h = a.x->shape[2],
                         .w = a.x->shape[3],
                         .radix = a.radix,
                         .c = c,
                         .cardinality = a.cardinality,
                         .first = 0,
                         .last = c};
  // An exponential and a division take as long as moving some 30 floats.
  parallel_for(a.x->shape[0] * c, grain_of(30 * p.radix),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention_weights(p, begin, end); });
}

lucid_status run_on_cpu(const lucid_split_attention_backward_args& a) {
  const ImageView x = view_image(*a.x);
  const int64_t pixels = x.h * x.w, blocks = (pixels - 1) / SplitAttentionBackward::kPixels + 1;
  const StagedInput input(x), logits(view_image(*a.logits)), gradient(view_image(*a.dy));
  const StagedOutput dx(view_image(*a.dx)), dlogits(view_image(*a.dlogits));
  const Scratch<float> weights(x.n * x.c), sums(x.n * blocks * x.c);
  for (const float* memory : {input.data(), logits.data(), gradient.data(), const_cast<const float*>(dx.data()),
                              const_cast<const float*>(dlogits.data()), const_cast<const float*>(weights.data()),
                              const_cast<const float*>(sums.data())})
    if (memory == nullptr)
      return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s, dy and dx", kOp,
                  ShapeText(a.x->shape, 4).c_str());
  find_weights(a, logits.data(), weights.data());
  const SplitAttentionBackward p{.dy = gradient.data(),
                                 .x = input.data(),
                                 .weights = weights.data(),
                                 .dx = dx.data(),
                                 .dlogits = dlogits.data(),
                                 .sums = sums.data(),
                                 .pixels = pixels,
                                 .radix = a.radix,
                                 .c = a.dy->shape[1],
                                 .cardinality = a.cardinality};
  parallel_for(x.n * blocks, grain_of(2 * x.c * SplitAttentionBackward::kPixels),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention_backward(p, begin, end); });
  parallel_for(x.n * p.c, grain_of(2 * blocks * p.radix),
               [&](int64_t begin, int64_t end, int) { kernels().split_attention_backward_logits(p, begin, end); });
  dx.finish();
  dlogits.finish();
  return ok();
}

lucid_status run_split_attention_backward(const lucid_split_attention_backward_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_split_attention_backward(a, &shape));
  LUCID_CHECK(find_device(
      kOp, a.context, {{"x", a.x}, {"logits", a.logits}, {"dy", a.dy}, {"dx", a.dx}, {"dlogits", a.dlogits}}, &device));
  LUCID_CHECK(check_data(kOp, "x", a.x, device));
  LUCID_CHECK(check_data(kOp, "logits", a.logits, device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  LUCID_CHECK(check_output(kOp, "dlogits", a.dlogits, shape_of(*a.logits), device));
  if (is_empty(shape)) return ok();
  return device.type == LUCID_CUDA ? run_on_cuda(a) : run_on_cpu(a);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_split_attention_backward(const lucid_split_attention_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_split_attention_backward);
}

extern "C" lucid_status lucid_split_attention_backward_output_shape(const lucid_split_attention_backward_args* args,
                                                                    lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_split_attention_backward, dx);
}
