// batch_norm: inference, and the statistics that training needs.
#include <cmath>

#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

// The per-channel factors that the kernel reads, gathered from any strides: mean, scale and bias, c floats each.
void fold_parameters(const lucid_batch_norm_args& a, const VectorView& weight, const VectorView& bias,
                     const VectorView& mean, const VectorView& var, float* folded) {
  const int64_t c = mean.size;
  for (int64_t i = 0; i < c; ++i) {
    const float w = a.weight != nullptr ? weight.data[i * weight.stride] : 1.0f;
    folded[i] = mean.data[i * mean.stride];
    folded[c + i] = w / std::sqrt(static_cast<float>(var.data[i * var.stride] + a.eps));
    folded[2 * c + i] = a.bias != nullptr ? bias.data[i * bias.stride] : 0.0f;
  }
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_batch_norm(const lucid_batch_norm_args* a) {
  using namespace lucid;
  ImageView x, y;
  VectorView weight{}, bias{}, mean, var;
  LUCID_CHECK(view_image("batch_norm", "x", a->x, 2, &x));
  LUCID_CHECK(check_not_empty("batch_norm", "x", *a->x));
  if (a->weight != nullptr) LUCID_CHECK(view_vector("batch_norm", "weight", a->weight, x.c, &weight));
  if (a->bias != nullptr) LUCID_CHECK(view_vector("batch_norm", "bias", a->bias, x.c, &bias));
  LUCID_CHECK(view_vector("batch_norm", "mean", a->mean, x.c, &mean));
  LUCID_CHECK(view_vector("batch_norm", "var", a->var, x.c, &var));
  if (!std::isfinite(a->eps) || a->eps < 0)
    return fail(LUCID_INVALID_ARGUMENT, "batch_norm: eps must be finite and not negative, got %g", a->eps);
  LUCID_CHECK(view_image("batch_norm", "y", a->y, 2, &y));
  LUCID_CHECK(check_shape("batch_norm", "y", *a->y, a->x->shape, a->x->ndim));

  const StagedInput input(x);
  const StagedOutput output(y);
  const Scratch folded(3 * x.c);
  if (input.data() == nullptr || output.data() == nullptr || folded.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "batch_norm: no memory for copies of x %s and y",
                ShapeText(a->x->shape, a->x->ndim).c_str());
  fold_parameters(*a, weight, bias, mean, var, folded.data());
  const BatchNorm p{.x = input.data(),
                    .mean = folded.data(),
                    .scale = folded.data() + x.c,
                    .bias = folded.data() + 2 * x.c,
                    .y = output.data(),
                    .c = x.c,
                    .relu = a->relu != 0};
  parallel_for(x.n * x.h * x.w, grain_of(x.c),
               [&](int64_t begin, int64_t end, int) { kernels().batch_norm(p, begin, end); });
  output.finish();
  return ok();
}

extern "C" lucid_status lucid_batch_norm_statistics(const lucid_batch_norm_statistics_args* a) {
  using namespace lucid;
  constexpr int64_t kPixels = BatchNormStatistics::kPixels, kChannels = BatchNormStatistics::kChannels;
  ImageView x;
  VectorView mean, var;
  LUCID_CHECK(view_image("batch_norm_statistics", "x", a->x, 2, &x));
  LUCID_CHECK(check_not_empty("batch_norm_statistics", "x", *a->x));
  LUCID_CHECK(view_vector("batch_norm_statistics", "mean", a->mean, x.c, &mean));
  LUCID_CHECK(view_vector("batch_norm_statistics", "var", a->var, x.c, &var));

  const int64_t pixels = x.n * x.h * x.w, pixel_blocks = (pixels + kPixels - 1) / kPixels;
  const StagedInput input(x);
  const Scratch moments(3 * pixel_blocks * x.c);
  if (input.data() == nullptr || moments.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "batch_norm_statistics: no memory for a copy of x %s",
                ShapeText(a->x->shape, a->x->ndim).c_str());
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
