// conv2d_backward_input: a convolution of dy with the taps flipped and the channels of each group exchanged, by the
// algorithms of conv2d. At a stride, one for each phase of the input's pixels: those that lie a stride apart see the
// same taps, as a convolution of stride 1.
#include <algorithm>
#include <numeric>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/status.h"
#include "cuda/staging.h"
#include "ops/conv2d.h"
#include "ops/device.h"
#include "ops/shapes.h"
#include "ops/staging.h"

namespace lucid {
namespace {

constexpr const char* kOp = "conv2d_backward_input";

lucid_status check_conv2d_backward_input(const lucid_conv2d_backward_input_args& a, Conv2dShape* s) {
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 4, 4));
  LUCID_CHECK(check_tensor(kOp, "weight", a.weight, 4, 4, a.dy->dtype));
  int64_t channels = 0;
  if (a.groups > 0 && __builtin_mul_overflow(a.groups, a.weight->shape[1], &channels))
    return fail(LUCID_INVALID_ARGUMENT, "%s: dx must have at most 2^58 elements, got groups %lld", kOp,
                static_cast<long long>(a.groups));
  if (a.groups < 1) channels = a.weight->shape[1];  // refused below
  const int64_t x_shape[] = {a.dy->shape[0], channels, a.input_size[0], a.input_size[1]};
  const lucid_tensor x = {.data = nullptr,
                          .device = a.dy->device,
                          .ndim = 4,
                          .dtype = a.dy->dtype,
                          .shape = x_shape,
                          .strides = nullptr,
                          .byte_offset = 0};
  const lucid_conv2d_args forward = {.size = sizeof forward,
                                     .x = &x,
                                     .weight = a.weight,
                                     .bias = nullptr,
                                     .y = nullptr,
                                     .stride = {a.stride[0], a.stride[1]},
                                     .padding = {a.padding[0], a.padding[1]},
                                     .extra_padding = {a.extra_padding[0], a.extra_padding[1]},
                                     .dilation = {a.dilation[0], a.dilation[1]},
                                     .groups = a.groups,
                                     .algorithm = nullptr,
                                     .prepared = nullptr,
                                     .context = nullptr,
                                     .winograd = 0};
  LUCID_CHECK(check_conv2d(kOp, forward, s));
  return check_shape(kOp, "dy", *a.dy, {s->n, s->out_channels(), s->out_h, s->out_w});
}

lucid_shape shape_of_dx(const lucid_conv2d_backward_input_args& a, const Conv2dShape& s) {
  return make_shape({s.n, s.in_channels(), s.h, s.w}, a.dy->dtype);
}

lucid_status check_shape_only(const lucid_conv2d_backward_input_args& a, lucid_shape* dx) {
  Conv2dShape s;
  LUCID_CHECK(check_conv2d_backward_input(a, &s));
  *dx = shape_of_dx(a, s);
  return ok();
}

// The pixels first, first + stride, ... along one axis of the input, as outputs of a convolution of dy: tap k of it is
// tap first_tap + (taps - 1 - k) * tap_step of the weight, and dilation of dy's pixels lie between two.
struct Phase {
  int64_t first, pixels;
  int64_t first_tap, tap_step, taps;
  int64_t begin, size;  // dy's pixels that they see
  int64_t before, after, dilation;

  // out = (in + padding - tap * dilation) / stride, where that is whole.
  Phase(int64_t phase, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation_in) {
    first = phase;
    pixels = in > phase ? (in - phase - 1) / stride + 1 : 0;
    tap_step = stride / std::gcd(stride, dilation_in);
    dilation = dilation_in / std::gcd(stride, dilation_in);
    first_tap = 0;
    while (first_tap < std::min(kernel, tap_step) && (first + padding - first_tap * dilation_in) % stride != 0)
      ++first_tap;
    taps = first_tap < std::min(kernel, tap_step) ? (kernel - first_tap - 1) / tap_step + 1 : 0;
    const int64_t reach = (taps - 1) * dilation;
    // What the first tap of the first pixel reads, and one behind what the last of the last does.
    const int64_t start = taps > 0 ? (first + padding - first_tap * dilation_in) / stride - reach : 0;
    const int64_t end = start + reach + pixels;
    begin = std::max<int64_t>(start, 0);
    size = std::min(end, out) - begin;
    before = begin - start;
    after = std::max<int64_t>(end - out, 0);
  }
  bool empty() const { return pixels < 1 || taps < 1 || size < 1; }
};

// The weights of the taps of two phases, flipped, with in and out exchanged: [groups * in_group, out_group, taps].
void flip_weights(const Conv2dShape& s, const ImageView& weight, const Phase& rows, const Phase& columns,
                  float* flipped) {
  constexpr int64_t kTogether = 16;  // channels, whose weights of an output lie in the same lines
  const int64_t taps = rows.taps * columns.taps, blocks = (s.in_group + kTogether - 1) / kTogether;
  const auto flip = [&](int64_t group, int64_t block) {
    const int64_t end = std::min(s.in_group, (block + 1) * kTogether);
    for (int64_t k = 0; k < s.out_group; ++k)
      for (int64_t c = block * kTogether; c < end; ++c) {
        const float* from = weight.data + (group * s.out_group + k) * weight.stride_n + c * weight.stride_c;
        float* to = flipped + ((group * s.in_group + c) * s.out_group + k) * taps;
        for (int64_t i = rows.taps - 1; i >= 0; --i)
          for (int64_t j = columns.taps - 1; j >= 0; --j)
            *to++ = from[(rows.first_tap + i * rows.tap_step) * weight.stride_h +
                         (columns.first_tap + j * columns.tap_step) * weight.stride_w];
      }
  };
  parallel_for(s.groups * blocks, grain_of(kTogether * s.out_group * taps), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) flip(i / blocks, i % blocks);
  });
}

// The convolution that computes the pixels of two phases, but for its weights.
Conv2d convolution_of(const Conv2dShape& s, const ImageView& dy, const Phase& rows, const Phase& columns, float* dx) {
  const int64_t channels = s.in_channels();
  const int64_t stride_c = dy.c == 1 ? 1 : dy.stride_c;
  return {.shape = {.n = s.n,
                    .h = rows.size,
                    .w = columns.size,
                    .groups = s.groups,
                    .in_group = s.out_group,
                    .out_group = s.in_group,
                    .kernel_h = rows.taps,
                    .kernel_w = columns.taps,
                    .out_h = rows.pixels,
                    .out_w = columns.pixels,
                    .stride_h = 1,
                    .stride_w = 1,
                    .padding_top = rows.before,
                    .padding_left = columns.before,
                    .padding_bottom = rows.after,
                    .padding_right = columns.after,
                    .dilation_h = rows.taps > 1 ? rows.dilation : 1,
                    .dilation_w = columns.taps > 1 ? columns.dilation : 1},
          .operands = {.x = {dy.data + rows.begin * dy.stride_h + columns.begin * dy.stride_w, stride_c,
                             InputView::kBlock * stride_c, dy.stride_n, dy.stride_h, dy.stride_w},
                       .x_has_halo = false,
                       .weight = nullptr,
                       .weight_k = s.out_group * rows.taps * columns.taps,
                       .weight_c = rows.taps * columns.taps,
                       .weight_h = columns.taps,
                       .weight_w = 1,
                       .prepared = nullptr,
                       .y = {dx + (rows.first * s.w + columns.first) * channels, OutputView::kBlock,
                             s.h * s.w * channels, s.stride_h * s.w * channels, s.stride_w * channels}},
          .epilogue = {.bias = nullptr, .bias_stride = 0, .residual = {}, .relu = false, .row_sums = nullptr}};
}

void fill_with_zeros(float* dx, int64_t rows, int64_t row) {
  parallel_for(rows, grain_of(row),
               [&](int64_t begin, int64_t end, int) { std::fill(dx + begin * row, dx + end * row, 0.0f); });
}

lucid_status compute(const Conv2dShape& s, const ImageView& dy, const ImageView& weight, bool winograd, float* dx) {
  const Conv2dOptions options = {.winograd = winograd};
  const int64_t h_phases = std::min(s.stride_h, s.h), w_phases = std::min(s.stride_w, s.w);
  const auto rows = [&](int64_t i) {
    return Phase(i, s.h, s.out_h, s.kernel_h, s.stride_h, s.padding_top, s.dilation_h);
  };
  const auto columns = [&](int64_t i) {
    return Phase(i, s.w, s.out_w, s.kernel_w, s.stride_w, s.padding_left, s.dilation_w);
  };
  bool zeros = false;
  for (int64_t i = 0; i < h_phases; ++i) zeros = zeros || rows(i).empty();
  for (int64_t i = 0; i < w_phases; ++i) zeros = zeros || columns(i).empty();
  if (zeros) fill_with_zeros(dx, s.n * s.h, s.w * s.in_channels());
  const Scratch<float> flipped(s.in_channels() * s.out_group * s.taps());
  if (flipped.data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for flipped weights", kOp);
  for (int64_t i = 0; i < h_phases * w_phases; ++i) {
    const Phase row_phase = rows(i / w_phases), column_phase = columns(i % w_phases);
    if (row_phase.empty() || column_phase.empty()) continue;
    Conv2d p = convolution_of(s, dy, row_phase, column_phase, dx);
    if (s.groups == 1 && p.shape.taps() == 1) {  // as it lies: the algorithms take any strides
      p.operands.weight =
          weight.data + row_phase.first_tap * weight.stride_h + column_phase.first_tap * weight.stride_w;
      p.operands.weight_k = weight.stride_c, p.operands.weight_c = weight.stride_n;
    } else {
      flip_weights(s, weight, row_phase, column_phase, flipped.data());
      p.operands.weight = flipped.data();
    }
    const Conv2dAlgorithm* algorithm = nullptr;
    LUCID_CHECK(choose_conv2d(p.shape, options, nullptr, &algorithm));
    LUCID_CHECK(compute_conv2d(kOp, p, *algorithm));
  }
  return ok();
}

lucid_status run_on_cuda(const lucid_conv2d_backward_input_args& a, const Conv2dShape& s) {
  const cuda::Call call(kOp, a.dy->device.id, stream_of(a.context));
  cuda::Input dy, weight;
  cuda::Output dx;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kChannelsLast));
  LUCID_CHECK(weight.stage(call, *a.weight, cuda::Order::kRowMajor));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kChannelsLast));
  cuda::Conv2dBackwardInput p{.shape = s,
                              .dtype = cuda::dtype_of(a.dy->dtype),
                              .dy = dy.data(),
                              .weight = weight.data(),
                              .dx = dx.data(),
                              .workspace = nullptr};
  LUCID_CHECK(workspace.allocate(call, call->conv2d_backward_input_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->conv2d_backward_input(p, call.stream())));
  return dx.finish(call);
}

lucid_status run_conv2d_backward_input(const lucid_conv2d_backward_input_args& a) {
  Conv2dShape s;
  lucid_device device;
  LUCID_CHECK(check_conv2d_backward_input(a, &s));
  LUCID_CHECK(find_device(kOp, a.context, {{"dy", a.dy}, {"weight", a.weight}, {"dx", a.dx}}, &device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_data(kOp, "weight", a.weight, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape_of_dx(a, s), device));
  if (s.n == 0) return ok();
  if (device.type == LUCID_CUDA) return run_on_cuda(a, s);
  const StagedOutput staged(view_image(*a.dx));
  if (staged.data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for a copy of dx", kOp);
  LUCID_CHECK(compute(s, view_image(*a.dy), view_image(*a.weight), a.winograd != 0, staged.data()));
  staged.finish();
  return ok();
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_conv2d_backward_input(const lucid_conv2d_backward_input_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_conv2d_backward_input);
}

extern "C" lucid_status lucid_conv2d_backward_input_output_shape(const lucid_conv2d_backward_input_args* args,
                                                                 lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_shape_only, dx);
}
