// pool2d (max and average) and global_avg_pool2d.
#include "ops/pool2d.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

using Long = long long;  // what %lld prints

lucid_status check_window(const char* op, const lucid_pool2d_args& a) {
  const auto smallest = [](const int64_t* pair) { return std::min(pair[0], pair[1]); };
  if (smallest(a.kernel) < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: kernel_size must be positive, got %s", op, ShapeText(a.kernel, 2).c_str());
  if (smallest(a.stride) < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: stride must be positive, got %s", op, ShapeText(a.stride, 2).c_str());
  if (smallest(a.dilation) < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: dilation must be positive, got %s", op, ShapeText(a.dilation, 2).c_str());
  if (a.kind == LUCID_POOL_AVERAGE && (a.dilation[0] != 1 || a.dilation[1] != 1))
    return fail(LUCID_INVALID_ARGUMENT, "%s: dilation must be 1, got %s", op, ShapeText(a.dilation, 2).c_str());
  if (smallest(a.padding) < 0 || a.padding[0] > a.kernel[0] / 2 || a.padding[1] > a.kernel[1] / 2)
    return fail(LUCID_INVALID_ARGUMENT, "%s: padding must be between 0 and half of kernel_size %s, got %s", op,
                ShapeText(a.kernel, 2).c_str(), ShapeText(a.padding, 2).c_str());
  return ok();
}

// The number of windows along one axis, by PyTorch's rule; 0 where not one fits, false on overflow.
bool count_windows(PoolAxis* a, bool ceil_mode) {
  int64_t reach, padded;
  if (__builtin_mul_overflow(a->dilation, a->kernel - 1, &reach) ||
      __builtin_add_overflow(a->size, 2 * a->padding, &padded))  // padding is at most half of an int64, the kernel
    return false;
  const int64_t span = padded - reach - 1;
  // Rounded up, a window of 5 on 4 pixels may still begin, if the next would begin past it.
  if (span < 0 && !(ceil_mode && -span < a->stride)) {
    a->out = 0;
    return true;
  }
  a->out = span < 0 ? 1 : span / a->stride + 1;
  if (!ceil_mode || span < 0 || span % a->stride == 0) return true;
  // One more, which hangs over the edge, unless it would begin in the right padding.
  int64_t start;
  if (!__builtin_mul_overflow(a->out, a->stride, &start) && start < a->size + a->padding) ++a->out;
  return true;
}

lucid_status describe(const lucid_pool2d_args& a, ImageView* x, Pool2d* p) {
  if (a.kind != LUCID_POOL_MAX && a.kind != LUCID_POOL_AVERAGE)
    return fail(LUCID_INVALID_ARGUMENT, "pool2d: kind must be LUCID_POOL_MAX or LUCID_POOL_AVERAGE, got %d", a.kind);
  const char* op = a.kind == LUCID_POOL_MAX ? "max_pool2d" : "avg_pool2d";
  LUCID_CHECK(view_image(op, "x", a.x, 4, x));
  LUCID_CHECK(check_not_empty(op, "x", *a.x));
  LUCID_CHECK(check_window(op, a));
  const auto axis = [&](int i, int64_t size) {
    // One tap has nothing to be apart from, however far it is told to be.
    return PoolAxis{size, 0, a.kernel[i], a.stride[i], a.padding[i], a.kernel[i] == 1 ? 1 : a.dilation[i]};
  };
  *p = {.x = {},
        .y = {},
        .c = x->c,
        .h = axis(0, x->h),
        .w = axis(1, x->w),
        .max = a.kind == LUCID_POOL_MAX,
        .count_include_pad = a.count_include_pad != 0};
  int64_t floats;
  if (!count_windows(&p->h, a.ceil_mode != 0) || !count_windows(&p->w, a.ceil_mode != 0) ||
      __builtin_mul_overflow(p->h.out, p->w.out, &floats) || __builtin_mul_overflow(floats, x->n * x->c, &floats) ||
      floats > INT64_MAX / static_cast<int64_t>(sizeof(float)))
    return fail(LUCID_INVALID_ARGUMENT, "%s: the size of y overflows with kernel_size %s and dilation %s", op,
                ShapeText(a.kernel, 2).c_str(), ShapeText(a.dilation, 2).c_str());
  if (floats == 0)
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: the window must fit into the padded image, got image (%lld, %lld), kernel_size %s, padding %s, "
                "dilation %s",
                op, Long{x->h}, Long{x->w}, ShapeText(a.kernel, 2).c_str(), ShapeText(a.padding, 2).c_str(),
                ShapeText(a.dilation, 2).c_str());
  return ok();
}

}  // namespace

lucid_status describe_pool2d(const lucid_pool2d_args& args, Pool2d* pool) {
  ImageView x;
  return describe(args, &x, pool);
}

}  // namespace lucid

extern "C" lucid_status lucid_pool2d_output_shape(const lucid_pool2d_args* args, int64_t shape[4]) {
  using namespace lucid;
  ImageView x;
  Pool2d p;
  LUCID_CHECK(describe(*args, &x, &p));
  const int64_t sizes[4] = {x.n, x.c, p.h.out, p.w.out};
  std::copy(sizes, sizes + 4, shape);
  return ok();
}

extern "C" lucid_status lucid_pool2d(const lucid_pool2d_args* args) {
  using namespace lucid;
  ImageView x, y;
  Pool2d p;
  LUCID_CHECK(describe(*args, &x, &p));
  const char* op = p.max ? "max_pool2d" : "avg_pool2d";
  LUCID_CHECK(view_image(op, "y", args->y, 4, &y));
  LUCID_CHECK(check_shape(op, "y", *args->y, {x.n, x.c, p.h.out, p.w.out}));

  const StagedInput input(x);
  const StagedOutput output(y);
  if (input.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s and y", op,
                ShapeText(args->x->shape, 4).c_str());
  p.x = {input.data(), x.h * x.w * x.c, x.w * x.c, x.c};
  p.y = {output.data(), y.h * y.w * y.c, y.w * y.c, y.c};
  const int64_t rows_read = std::min(p.h.kernel, x.h);
  parallel_for(x.n * p.h.out, grain_of(rows_read * x.w * x.c),
               [&](int64_t begin, int64_t end, int) { kernels().pool2d(p, begin, end); });
  output.finish();
  return ok();
}

extern "C" lucid_status lucid_global_avg_pool2d(const lucid_global_avg_pool2d_args* a) {
  using namespace lucid;
  constexpr const char* op = "global_avg_pool2d";
  constexpr int64_t kChannels = GlobalAvgPool2d::kChannels;
  ImageView x, y;
  LUCID_CHECK(view_image(op, "x", a->x, 4, &x));
  LUCID_CHECK(check_not_empty(op, "x", *a->x));
  if (a->radix < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: radix must be positive, got %lld", op, Long{a->radix});
  if (x.c % a->radix != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: radix (%lld) must divide the channels of x (%lld)", op, Long{a->radix},
                Long{x.c});
  const int64_t c = x.c / a->radix;
  LUCID_CHECK(view_image(op, "y", a->y, 2, &y));
  LUCID_CHECK(check_shape(op, "y", *a->y, {x.n, c}));

  const StagedInput input(x);
  const StagedOutput output(y);
  if (input.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x %s and y", op, ShapeText(a->x->shape, 4).c_str());
  const GlobalAvgPool2d p{.x = {input.data(), x.h * x.w * x.c, x.w * x.c, x.c},
                          .x_radix = c,
                          .y = output.data(),
                          .y_image = c,
                          .h = x.h,
                          .w = x.w,
                          .radix = a->radix,
                          .c = c,
                          .channel_blocks = (c + kChannels - 1) / kChannels};
  parallel_for(x.n * p.channel_blocks, grain_of(x.h * x.w * p.radix * std::min(kChannels, c)),
               [&](int64_t begin, int64_t end, int) { kernels().global_avg_pool2d(p, begin, end); });
  output.finish();
  return ok();
}
