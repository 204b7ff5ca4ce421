// batch_norm: inference, and the statistics that training needs.
#include <cmath>
#include <utility>

#include "core/parallel.h"
#include "core/status.h"
#include "ops/checks.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {

lucid_status check_batch_norm(const lucid_batch_norm_args& a, lucid_shape* y) {
  constexpr const char* op = "batch_norm";
  LUCID_CHECK(check_tensor(op, "x", a.x, 2, 4));
  LUCID_CHECK(check_sizes(op, "x", *a.x));
  const int64_t c = a.x->shape[1];
  if (a.weight != nullptr) LUCID_CHECK(check_vector(op, "weight", a.weight, c));
  if (a.bias != nullptr) LUCID_CHECK(check_vector(op, "bias", a.bias, c));
  LUCID_CHECK(check_vector(op, "mean", a.mean, c));
  LUCID_CHECK(check_vector(op, "var", a.var, c));
  if (!std::isfinite(a.eps) || a.eps < 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: eps must be finite and not negative, got %g", op, a.eps);
  *y = shape_of(*a.x);
  return ok();
}

namespace {

// The per-channel factors that the kernel reads, gathered from any strides: mean, scale and bias, c floats each.
void fold_parameters(const lucid_batch_norm_args& a, float* folded) {
  const VectorView weight = view_vector(a.weight), bias = view_vector(a.bias);
  const VectorView mean = view_vector(a.mean), var = view_vector(a.var);
  const int64_t c = mean.size;
  for (int64_t i = 0; i < c; ++i) {
    const float w = a.weight != nullptr ? weight.data[i * weight.stride] : 1.0f;
    folded[i] = mean.data[i * mean.stride];
    folded[c + i] = w / std::sqrt(static_cast<float>(var.data[i * var.stride] + a.eps));
    folded[2 * c + i] = a.bias != nullptr ? bias.data[i * bias.stride] : 0.0f;
  }
}

lucid_status run_batch_norm(const lucid_batch_norm_args& a) {
  constexpr const char* op = "batch_norm";
  lucid_shape shape;
  LUCID_CHECK(check_batch_norm(a, &shape));
  for (const auto& [name, tensor] : {std::pair{"x", a.x}, std::pair{"weight", a.weight}, std::pair{"bias", a.bias},
                                     std::pair{"mean", a.mean}, std::pair{"var", a.var}})
    LUCID_CHECK(check_data(op, name, tensor));
  LUCID_CHECK(check_output(op, "y", a.y, shape));
  if (is_empty(shape)) return ok();
  const ImageView x = view_image(*a.x);
  const StagedInput input(x);
  const StagedOutput output(view_image(*a.y));
  const Scratch<float> folded(3 * x.c);
  if (input.data() == nullptr || output.data() == nullptr || folded.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s and y", op,
                ShapeText(a.x->shape, a.x->ndim).c_str());
  fold_parameters(a, folded.data());
  const BatchNorm p{.x = input.data(),
                    .mean = folded.data(),
                    .scale = folded.data() + x.c,
                    .bias = folded.data() + 2 * x.c,
                    .y = output.data(),
                    .c = x.c,
                    .relu = a.relu != 0};
  parallel_for(x.n * x.h * x.w, grain_of(x.c),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm(p, begin, end); });
  output.finish();
  return ok();
}

lucid_status check_batch_norm_statistics(const lucid_batch_norm_statistics_args& a, lucid_shape* mean) {
  LUCID_CHECK(check_tensor("batch_norm_statistics", "x", a.x, 2, 4));
  LUCID_CHECK(check_not_empty("batch_norm_statistics", "x", *a.x));
  *mean = make_shape({a.x->shape[1]});
  return ok();
}

lucid_status run_batch_norm_statistics(const lucid_batch_norm_statistics_args& a) {
  constexpr const char* op = "batch_norm_statistics";
  constexpr int64_t kPixels = BatchNormStatistics::kPixels, kChannels = BatchNormStatistics::kChannels;
  lucid_shape shape;
  LUCID_CHECK(check_batch_norm_statistics(a, &shape));
  LUCID_CHECK(check_data(op, "x", a.x));
  LUCID_CHECK(check_output(op, "mean", a.mean, shape));
  LUCID_CHECK(check_output(op, "var", a.var, shape));
  const ImageView x = view_image(*a.x);
  const VectorView mean = view_vector(a.mean), var = view_vector(a.var);
  const int64_t pixels = x.n * x.h * x.w, pixel_blocks = (pixels + kPixels - 1) / kPixels;
  const StagedInput input(x);
  const Scratch<float> moments(3 * pixel_blocks * x.c);
  if (input.data() == nullptr || moments.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for a copy of x %s", op, ShapeText(a.x->shape, a.x->ndim).c_str());
  const BatchNormStatistics p{.x = input.data(),
                              .pixels = pixels,
                              .c = x.c,
                              .pixel_blocks = pixel_blocks,
                              .channel_blocks = (x.c + kChannels - 1) / kChannels,
                              .moments = moments.data(),
                              .mean = mean.data,
                              .var = var.data,
                              .mean_stride = mean.stride,
                              .var_stride = var.stride};
  parallel_for(pixel_blocks * p.channel_blocks, grain_of(kPixels * kChannels),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm_moments(p, begin, end); });
  parallel_for(p.channel_blocks, grain_of(3 * pixel_blocks * kChannels),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm_combine(p, begin, end); });
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_batch_norm(const lucid_batch_norm_args* args) {
  return lucid::with_arguments("batch_norm", args, lucid::run_batch_norm);
}

extern "C" lucid_status lucid_batch_norm_output_shape(const lucid_batch_norm_args* args, lucid_shape* y) {
  return lucid::output_shape("batch_norm", args, lucid::check_batch_norm, y);
}

extern "C" lucid_status lucid_batch_norm_statistics(const lucid_batch_norm_statistics_args* args) {
  return lucid::with_arguments("batch_norm_statistics", args, lucid::run_batch_norm_statistics);
}

extern "C" lucid_status lucid_batch_norm_statistics_output_shape(const lucid_batch_norm_statistics_args* args,
                                                                 lucid_shape* mean) {
  return lucid::output_shape("batch_norm_statistics", args, lucid::check_batch_norm_statistics, mean);
}
