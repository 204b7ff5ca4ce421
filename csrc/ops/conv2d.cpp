// conv2d: checks a call, chooses the algorithm, and cuts the output into shares for the threads.
#include "ops/conv2d.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/conv2d_cuda.h"
#include "ops/conv2d_packed.h"
#include "ops/conv2d_weights.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

using Long = long long;  // what %lld prints

Conv2dOptions options_of(const lucid_conv2d_args& args) { return {.winograd = args.winograd != 0}; }

struct Padding {
  int64_t before, after;
};

// out = (in + before + after - dilation * (kernel - 1) - 1) / stride + 1, refused when it overflows or is not positive.
lucid_status output_size(const char* op, const char* axis, int64_t in, int64_t kernel, int64_t stride, Padding padding,
                         int64_t dilation, int64_t* out) {
  if (stride < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: stride must be positive, got %lld", op, Long{stride});
  if (padding.before < 0 || padding.after < 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: padding must not be negative, got %lld", op,
                Long{std::min(padding.before, padding.after)});
  if (dilation < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: dilation must be positive, got %lld", op, Long{dilation});
  int64_t padded, window;
  if (__builtin_add_overflow(padding.before, padding.after, &padded) || __builtin_add_overflow(in, padded, &padded) ||
      __builtin_mul_overflow(kernel - 1, dilation, &window))
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: y must have at most 2^58 elements, got padding %lld + %lld and dilation %lld", op,
                Long{padding.before}, Long{padding.after}, Long{dilation});
  if (window >= padded)
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: the window must fit into the padded input, got %s %lld + %lld + %lld and kernel %lld with "
                "dilation %lld",
                op, axis, Long{in}, Long{padding.before}, Long{padding.after}, Long{kernel}, Long{dilation});
  *out = (padded - window - 1) / stride + 1;
  return ok();
}

lucid_status check_channels(const char* op, const ImageView& x, const ImageView& weight, int64_t groups) {
  if (x.c < 1 || x.h < 1 || x.w < 1)
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: sizes of x must be positive, but for the batch, got (%lld, %lld, %lld, %lld)", op, Long{x.n},
                Long{x.c}, Long{x.h}, Long{x.w});
  if (weight.n < 1 || weight.c < 1 || weight.h < 1 || weight.w < 1)
    return fail(LUCID_INVALID_ARGUMENT, "%s: sizes of weight must be positive, got (%lld, %lld, %lld, %lld)", op,
                Long{weight.n}, Long{weight.c}, Long{weight.h}, Long{weight.w});
  if (groups < 1) return fail(LUCID_INVALID_ARGUMENT, "%s: groups must be positive, got %lld", op, Long{groups});
  if (x.c % groups != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: groups (%lld) must divide in_channels (%lld)", op, Long{groups},
                Long{x.c});
  if (weight.n % groups != 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: groups (%lld) must divide out_channels (%lld)", op, Long{groups},
                Long{weight.n});
  if (weight.c != x.c / groups)
    return fail(LUCID_INVALID_ARGUMENT,
                "%s: weight must have in_channels / groups = %lld / %lld = %lld channels, got %lld", op, Long{x.c},
                Long{groups}, Long{x.c / groups}, Long{weight.c});
  return ok();
}

}  // namespace

lucid_status check_conv2d(const char* op, const lucid_conv2d_args& a, Conv2dShape* shape) {
  LUCID_CHECK(check_tensor(op, "x", a.x, 4, 4));
  LUCID_CHECK(check_tensor(op, "weight", a.weight, 4, 4, a.x->dtype));
  const ImageView x = view_image(*a.x), weight = view_image(*a.weight);
  LUCID_CHECK(check_channels(op, x, weight, a.groups));
  if (a.bias != nullptr) LUCID_CHECK(check_vector(op, "bias", a.bias, weight.n, a.x->dtype));
  const auto [top, left, bottom, right] = padding_sides(a.padding, a.extra_padding);
  const Padding rows{top, bottom}, columns{left, right};
  int64_t out_h, out_w;
  LUCID_CHECK(output_size(op, "height", x.h, weight.h, a.stride[0], rows, a.dilation[0], &out_h));
  LUCID_CHECK(output_size(op, "width", x.w, weight.w, a.stride[1], columns, a.dilation[1], &out_w));
  // An input with its padding spelled out is the largest scratch memory.
  if (!elements_fit({x.n, weight.n, out_h, out_w}) ||
      !elements_fit({2 * x.c, x.h + top + bottom, x.w + left + right, InputView::kBlock}))
    return fail(LUCID_INVALID_ARGUMENT, "%s: y must have at most 2^58 elements, got (%lld, %lld, %lld, %lld)", op,
                Long{x.n}, Long{weight.n}, Long{out_h}, Long{out_w});
  // A stride or dilation that is never stepped may be any number; as 1 it overflows nothing.
  *shape = {.n = x.n,
            .h = x.h,
            .w = x.w,
            .groups = a.groups,
            .in_group = weight.c,
            .out_group = weight.n / a.groups,
            .kernel_h = weight.h,
            .kernel_w = weight.w,
            .out_h = out_h,
            .out_w = out_w,
            .stride_h = out_h > 1 ? a.stride[0] : 1,
            .stride_w = out_w > 1 ? a.stride[1] : 1,
            .padding_top = rows.before,
            .padding_left = columns.before,
            .padding_bottom = rows.after,
            .padding_right = columns.after,
            .dilation_h = weight.h > 1 ? a.dilation[0] : 1,
            .dilation_w = weight.w > 1 ? a.dilation[1] : 1};
  return ok();
}

Conv2d view_conv2d(const lucid_conv2d_args& a, const Conv2dShape& shape) {
  ImageView x = view_image(*a.x), weight = view_image(*a.weight);
  const VectorView bias = view_vector(a.bias);
  // Strides of dimensions of size 1 are never stepped over; these keep the fast paths open.
  if (x.c == 1) x.stride_c = 1;
  if (weight.w == 1) weight.stride_w = 1;
  if (weight.h == 1) weight.stride_h = weight.w;
  if (weight.c == 1) weight.stride_c = weight.h * weight.w;
  const int64_t block = InputView::kBlock * x.stride_c;
  return {
      .shape = shape,
      .operands = {.x = {x.data, x.stride_c, block, x.stride_n, x.stride_h, x.stride_w},
                   .x_has_halo = false,
                   .weight = weight.data,
                   .weight_k = weight.stride_n,
                   .weight_c = weight.stride_c,
                   .weight_h = weight.stride_h,
                   .weight_w = weight.stride_w,
                   .prepared = nullptr,
                   .y = {}},
      .epilogue = {.bias = bias.data, .bias_stride = bias.stride, .residual = {}, .relu = false, .row_sums = nullptr}};
}

lucid_status choose_conv2d(const Conv2dShape& shape, const Conv2dOptions& options, const char* name,
                           const Conv2dAlgorithm** chosen) {
  for (const Conv2dAlgorithm* const* a = kernels().conv2d; *a != nullptr; ++a) {
    if (name != nullptr && std::strcmp((*a)->name, name) != 0) continue;
    if ((*a)->accepts(shape, options)) {
      *chosen = *a;
      return ok();
    }
  }
  return fail(LUCID_INVALID_ARGUMENT, "conv2d: algorithm '%s' does not exist or does not accept this problem on %s",
              name, kernels().isa);
}

// Cutting the rows repeats the reading of the weights in every part, and cutting the panels that of the input; where
// nothing is prepared, their packing too. An element costs about as much as this many FMAs of one lane each: with
// AVX-512 0.5 cycles to pack against 32 FMAs a cycle, 0.1 from another core's cache, and hardly any for prepared
// weights, which are prefetched in order. (1024 -> 512 channels at 14x14 run 7 % faster cut by rows than by panels.)
Conv2dShares::Conv2dShares(const Conv2dShape& s, const Conv2dAlgorithm& algorithm, bool prepared, int64_t threads)
    : panels_(algorithm.panels(s)), rows_(algorithm.rows(s)) {
  const double weight = prepared ? 0.2 : 16, input = prepared ? 4 : 16;
  const double terms = static_cast<double>(s.terms());
  const double weights = weight * static_cast<double>(s.out_channels()) * terms;
  const double inputs = input * static_cast<double>(s.n * s.h * s.w) * static_cast<double>(s.in_channels());
  const double product = s.multiplications();
  double lowest = INFINITY;
  for (int64_t a = 1; a <= std::min(threads, panels_); ++a) {
    const int64_t b = std::min(threads / a, rows_);
    const double panel_share = static_cast<double>((panels_ + a - 1) / a) / static_cast<double>(panels_);
    const double row_share = static_cast<double>((rows_ + b - 1) / b) / static_cast<double>(rows_);
    // Of several groups, a part of the panels reads only its own.
    const double read = row_share * (s.groups > 1 ? std::max(panel_share, 1.0 / static_cast<double>(s.groups)) : 1.0);
    const double cost = product * panel_share * row_share + weights * panel_share + inputs * read;
    if (cost < lowest) lowest = cost, panel_parts_ = a, row_parts_ = b;
  }
}

Conv2dShare Conv2dShares::operator[](int64_t index) const {
  const int64_t i = index % panel_parts_, j = index / panel_parts_;
  return {panels_ * i / panel_parts_,
          panels_ * (i + 1) / panel_parts_,
          rows_ * j / row_parts_,
          rows_ * (j + 1) / row_parts_,
          nullptr,
          0};
}

namespace {

lucid_status compute_packed(const char* op, const Conv2d& p, const Conv2dAlgorithm& algorithm) {
  // A parallel region costs a microsecond, about 50 000 multiplications.
  constexpr double kParallelFrom = 1e5;
  const Conv2dShape& s = p.shape;
  const bool prepared = p.operands.prepared != nullptr;
  const Conv2dShares shares(s, algorithm, prepared, s.multiplications() < kParallelFrom ? 1 : num_threads());
  int64_t each = 0;
  for (int64_t i = 0; i < shares.count(); ++i) each = std::max(each, algorithm.scratch_bytes(p, shares[i]));
  each = (each + kAlignment - 1) / kAlignment * kAlignment;
  const Scratch<char> scratch(each * shares.count());
  if (scratch.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for %lld bytes of scratch", op, Long{each * shares.count()});
  char* const bytes = scratch.data();
  parallel_for(shares.count(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) algorithm.run(p, shares[i], bytes + i * each);
  });
  return ok();
}

}  // namespace

lucid_status compute_conv2d(const char* op, const Conv2d& p, const Conv2dAlgorithm& algorithm) {
  if (algorithm.packs_input) return compute_packed(op, p, algorithm);
  const PackedOperands operands(p, algorithm);
  if (!operands.allocated()) return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for copies of x and the weights", op);
  return compute_packed(op, operands.pack(p, algorithm), algorithm);
}

namespace {

lucid_status check_shape_only(const lucid_conv2d_args& args, lucid_shape* y) {
  Conv2dShape s;
  LUCID_CHECK(check_conv2d("conv2d", args, &s));
  *y = make_shape({s.n, s.out_channels(), s.out_h, s.out_w}, args.x->dtype);
  return ok();
}

// The data that a call reads is there. Of prepared weights only the shapes of the plain ones are asked.
lucid_status find_operands(const lucid_conv2d_args& a, lucid_device* device) {
  if (a.prepared != nullptr) {
    LUCID_CHECK(find_device("conv2d", a.context, {{"x", a.x}, {"y", a.y}}, device));
    return check_data("conv2d", "x", a.x, *device);
  }
  LUCID_CHECK(
      find_device("conv2d", a.context, {{"x", a.x}, {"weight", a.weight}, {"bias", a.bias}, {"y", a.y}}, device));
  LUCID_CHECK(check_data("conv2d", "x", a.x, *device));
  LUCID_CHECK(check_data("conv2d", "weight", a.weight, *device));
  return check_data("conv2d", "bias", a.bias, *device);
}

lucid_status run_conv2d(const lucid_conv2d_args& args) {
  Conv2dShape s;
  lucid_device device;
  const Conv2dAlgorithm* algorithm = nullptr;
  LUCID_CHECK(check_conv2d("conv2d", args, &s));
  LUCID_CHECK(find_operands(args, &device));
  const int64_t channels = s.out_channels();
  LUCID_CHECK(
      check_output("conv2d", "y", args.y, make_shape({s.n, channels, s.out_h, s.out_w}, args.x->dtype), device));
  if (args.prepared != nullptr) LUCID_CHECK(check_prepared(*args.prepared, args, s));
  if (device.type == LUCID_CUDA) return s.n == 0 ? ok() : run_conv2d_on_cuda(args, s);
  if (args.prepared != nullptr)
    algorithm = args.prepared->algorithm;
  else
    LUCID_CHECK(choose_conv2d(s, options_of(args), args.algorithm, &algorithm));
  if (s.n == 0) return ok();
  const StagedOutput staged(view_image(*args.y));
  if (staged.data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "conv2d: no memory for a copy of y");
  Conv2d p = view_conv2d(args, s);
  p.operands.y = {staged.data(), OutputView::kBlock, s.out_h * s.out_w * channels, s.out_w * channels, channels};
  if (args.prepared != nullptr) p.operands.prepared = args.prepared->packed.data();
  LUCID_CHECK(compute_conv2d("conv2d", p, *algorithm));
  staged.finish();
  return ok();
}

lucid_status list_algorithms(const lucid_conv2d_args& args, const char** names) {
  thread_local std::string list;
  Conv2dShape s;
  LUCID_CHECK(check_conv2d("conv2d", args, &s));
  if (args.x->device.type == LUCID_CUDA) return conv2d_algorithms_on_cuda(args, s, names);
  list.clear();
  for (const Conv2dAlgorithm* const* a = kernels().conv2d; *a != nullptr; ++a)
    if ((*a)->accepts(s, options_of(args))) list.append(list.empty() ? "" : ",").append((*a)->name);
  *names = list.c_str();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_conv2d(const lucid_conv2d_args* args) {
  return lucid::with_arguments("conv2d", args, lucid::run_conv2d);
}

extern "C" lucid_status lucid_conv2d_output_shape(const lucid_conv2d_args* args, lucid_shape* y) {
  return lucid::output_shape("conv2d", args, lucid::check_shape_only, y);
}

extern "C" lucid_status lucid_conv2d_algorithms(const lucid_conv2d_args* args, const char** names) {
  return lucid::with_arguments("conv2d", args,
                               [&](const lucid_conv2d_args& a) { return lucid::list_algorithms(a, names); });
}
