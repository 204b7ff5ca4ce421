// batch_norm_backward: the sums of the gradient over blocks, their combination, then dx.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/checks.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

constexpr const char* kOp = "batch_norm_backward";

lucid_status check_batch_norm_backward(const lucid_batch_norm_backward_args& a, lucid_shape* dx) {
  LUCID_CHECK(check_tensor(kOp, "x", a.x, 2, 4));
  LUCID_CHECK(check_sizes(kOp, "x", *a.x));
  *dx = shape_of(*a.x);
  for (const auto& [name, tensor] : {std::pair{"dy", a.dy}, std::pair{"y", a.y}}) {
    if (tensor == nullptr && tensor == a.y) continue;
    LUCID_CHECK(check_tensor(kOp, name, tensor, 2, 4, a.x->dtype));
    LUCID_CHECK(check_shape(kOp, name, *tensor, *dx));
  }
  const int64_t c = a.x->shape[1];
  if (a.weight != nullptr) LUCID_CHECK(check_vector(kOp, "weight", a.weight, c, a.x->dtype));
  LUCID_CHECK(check_vector(kOp, "mean", a.mean, c, a.x->dtype));
  LUCID_CHECK(check_vector(kOp, "var", a.var, c, a.x->dtype));
  if (!std::isfinite(a.eps) || a.eps < 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: eps must be finite and not negative, got %g", kOp, a.eps);
  return ok();
}

int64_t pixels_of(const lucid_tensor& x) {
  int64_t pixels = x.shape[0];
  for (int d = 2; d < x.ndim; ++d) pixels *= x.shape[d];
  return pixels;
}

lucid_status run_on_cuda(const lucid_batch_norm_backward_args& a) {
  const cuda::Call call(kOp, a.x->device.id, stream_of(a.context));
  cuda::Input x, dy, y, mean, var, weight;
  cuda::Output dx, dweight, dbias, dresidual;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kChannelsLast));
  if (a.y != nullptr) LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kChannelsLast));
  LUCID_CHECK(mean.stage_vector(call, a.mean));
  LUCID_CHECK(var.stage_vector(call, a.var));
  LUCID_CHECK(weight.stage_vector(call, a.weight));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kChannelsLast));
  LUCID_CHECK(dweight.stage(call, *a.dweight, cuda::Order::kRowMajor));
  LUCID_CHECK(dbias.stage(call, *a.dbias, cuda::Order::kRowMajor));
  if (a.dresidual != nullptr) LUCID_CHECK(dresidual.stage(call, *a.dresidual, cuda::Order::kChannelsLast));
  cuda::BatchNormBackward p{.dtype = cuda::dtype_of(a.x->dtype),
                            .pixels = pixels_of(*a.x),
                            .c = a.x->shape[1],
                            .x = x.data(),
                            .dy = dy.data(),
                            .y = y.data(),
                            .mean = mean.floats(),
                            .var = var.floats(),
                            .weight = weight.floats(),
                            .eps = a.eps,
                            .training = a.training != 0,
                            .dx = dx.data(),
                            .dweight = dweight.floats(),
                            .dbias = dbias.floats(),
                            .dresidual = a.dresidual != nullptr ? dresidual.data() : nullptr,
                            .workspace = nullptr};
  LUCID_CHECK(workspace.allocate(call, call->batch_norm_backward_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->batch_norm_backward(p, call.stream())));
  LUCID_CHECK(dx.finish(call));
  LUCID_CHECK(dweight.finish(call));
  LUCID_CHECK(dbias.finish(call));
  return a.dresidual != nullptr ? dresidual.finish(call) : ok();
}

// Of an empty batch both sums are 0.
lucid_status clear_sums(const lucid_batch_norm_backward_args& a, lucid_device device) {
  if (device.type == LUCID_CUDA) {
    const cuda::Call call(kOp, a.x->device.id, stream_of(a.context));
    LUCID_CHECK(call.begin());
    for (const lucid_tensor* sums : {a.dweight, a.dbias}) {
      cuda::Output output;
      LUCID_CHECK(output.stage(call, *sums, cuda::Order::kRowMajor));
      const size_t bytes = static_cast<size_t>(sums->shape[0]) * sizeof(float);
      LUCID_CHECK(call.check(call->fill(output.data(), 0, bytes, call.stream())));
      LUCID_CHECK(output.finish(call));
    }
    return ok();
  }
  for (const lucid_tensor* sums : {a.dweight, a.dbias})
    for (int64_t i = 0; i < sums->shape[0]; ++i) data_of(*sums)[i * stride_of(*sums, 0)] = 0.0f;
  return ok();
}

// mean, 1 / sqrt(var + eps) and that times the weight, c floats each, gathered from any strides.
void fold_parameters(const lucid_batch_norm_backward_args& a, float* folded) {
  const VectorView weight = view_vector(a.weight), mean = view_vector(a.mean), var = view_vector(a.var);
  const int64_t c = mean.size;
  for (int64_t i = 0; i < c; ++i) {
    const float deviation = std::sqrt(static_cast<float>(var.data[i * var.stride] + a.eps));
    folded[i] = mean.data[i * mean.stride];
    folded[c + i] = 1.0f / deviation;
    folded[2 * c + i] = (a.weight != nullptr ? weight.data[i * weight.stride] : 1.0f) / deviation;
  }
}

void run_kernels(BatchNormBackward p) {
  parallel_for(p.pixel_blocks * p.channel_blocks, grain_of(2 * p.kPixels * std::min(p.kChannels, p.c)),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm_backward_sums(p, begin, end); });
  parallel_for(p.c, grain_of(2 * p.pixel_blocks),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm_backward_combine(p, begin, end); });
  if (p.dresidual != nullptr) p.dy = p.dresidual, p.y = nullptr;
  parallel_for(p.pixels, grain_of(2 * p.c),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm_backward(p, begin, end); });
}

lucid_status run_on_cpu(const lucid_batch_norm_backward_args& a) {
  constexpr int64_t kPixels = BatchNormBackward::kPixels, kChannels = BatchNormBackward::kChannels;
  const ImageView x = view_image(*a.x);
  const VectorView dweight = view_vector(a.dweight), dbias = view_vector(a.dbias);
  const int64_t pixels = x.n * x.h * x.w, pixel_blocks = (pixels - 1) / kPixels + 1;
  const StagedInput input(x), gradient(view_image(*a.dy)), result(view_image(a.y != nullptr ? *a.y : *a.x));
  const StagedOutput output(view_image(*a.dx)), residual(view_image(a.dresidual != nullptr ? *a.dresidual : *a.dx));
  const Scratch<float> folded(5 * x.c), sums(2 * pixel_blocks * x.c);
  if (input.data() == nullptr || gradient.data() == nullptr || result.data() == nullptr || output.data() == nullptr ||
      residual.data() == nullptr || folded.data() == nullptr || sums.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s, dy, y, dx and dresidual", kOp,
                ShapeText(a.x->shape, a.x->ndim).c_str());
  fold_parameters(a, folded.data());
  run_kernels({.dy = gradient.data(),
               .x = input.data(),
               .y = a.y != nullptr ? result.data() : nullptr,
               .mean = folded.data(),
               .inverse = folded.data() + x.c,
               .scale = folded.data() + 2 * x.c,
               .dresidual = a.dresidual != nullptr ? residual.data() : nullptr,
               .dx = output.data(),
               .pixels = pixels,
               .c = x.c,
               .pixel_blocks = pixel_blocks,
               .channel_blocks = (x.c - 1) / kChannels + 1,
               .sums = sums.data(),
               .gradient = folded.data() + 3 * x.c,
               .deviation = folded.data() + 4 * x.c,
               .dweight = dweight.data,
               .dbias = dbias.data,
               .dweight_stride = dweight.stride,
               .dbias_stride = dbias.stride,
               .training = a.training != 0});
  output.finish();
  if (a.dresidual != nullptr) residual.finish();
  return ok();
}

lucid_status run_batch_norm_backward(const lucid_batch_norm_backward_args& a) {
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_batch_norm_backward(a, &shape));
  LUCID_CHECK(find_device(kOp, a.context,
                          {{"x", a.x},
                           {"dy", a.dy},
                           {"y", a.y},
                           {"weight", a.weight},
                           {"mean", a.mean},
                           {"var", a.var},
                           {"dx", a.dx},
                           {"dweight", a.dweight},
                           {"dbias", a.dbias},
                           {"dresidual", a.dresidual}},
                          &device));
  for (const auto& [name, tensor] : {std::pair{"x", a.x}, std::pair{"dy", a.dy}, std::pair{"y", a.y},
                                     std::pair{"weight", a.weight}, std::pair{"mean", a.mean}, std::pair{"var", a.var}})
    LUCID_CHECK(check_data(kOp, name, tensor, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  LUCID_CHECK(check_output(kOp, "dweight", a.dweight, make_shape({shape.sizes[1]}), device));
  LUCID_CHECK(check_output(kOp, "dbias", a.dbias, make_shape({shape.sizes[1]}), device));
  if (a.dresidual != nullptr) LUCID_CHECK(check_output(kOp, "dresidual", a.dresidual, shape, device));
  if (is_empty(shape)) return clear_sums(a, device);
  return device.type == LUCID_CUDA ? run_on_cuda(a) : run_on_cpu(a);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_batch_norm_backward(const lucid_batch_norm_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_batch_norm_backward);
}

extern "C" lucid_status lucid_batch_norm_backward_output_shape(const lucid_batch_norm_backward_args* args,
                                                               lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_batch_norm_backward, dx);
}
