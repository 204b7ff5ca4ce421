// conv2d_backward_weight: checks a call and cuts the weights into tasks, each of which sums over all pixels.
#include <algorithm>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "cuda/staging.h"
#include "ops/conv2d.h"
#include "ops/device.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

constexpr const char* kOp = "conv2d_backward_weight";

lucid_status check_conv2d_backward_weight(const lucid_conv2d_backward_weight_args& a, Conv2dShape* s) {
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 4, 4));
  LUCID_CHECK(check_tensor(kOp, "x", a.x, 4, 4, a.dy->dtype));
  const int64_t weight_shape[] = {a.dy->shape[1], a.groups > 0 ? a.x->shape[1] / a.groups : a.x->shape[1],
                                  a.kernel_size[0], a.kernel_size[1]};
  const lucid_tensor weight = {.data = nullptr,
                               .device = a.dy->device,
                               .ndim = 4,
                               .dtype = a.dy->dtype,
                               .shape = weight_shape,
                               .strides = nullptr,
                               .byte_offset = 0};
  const lucid_conv2d_args forward = {.size = sizeof forward,
                                     .x = a.x,
                                     .weight = &weight,
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

lucid_shape shape_of_dweight(const lucid_conv2d_backward_weight_args& a, const Conv2dShape& s) {
  return make_shape({s.out_channels(), s.in_group, s.kernel_h, s.kernel_w}, a.dy->dtype);
}

lucid_status check_shape_only(const lucid_conv2d_backward_weight_args& a, lucid_shape* dweight) {
  Conv2dShape s;
  LUCID_CHECK(check_conv2d_backward_weight(a, &s));
  *dweight = shape_of_dweight(a, s);
  return ok();
}

InputView input_view(const lucid_tensor& tensor) {
  const ImageView v = view_image(tensor);
  const int64_t stride_c = v.c == 1 ? 1 : v.stride_c;
  return {v.data, stride_c, InputView::kBlock * stride_c, v.stride_n, v.stride_h, v.stride_w};
}

const Conv2dBackwardWeightAlgorithm& choose_algorithm(const Conv2dShape& s) {
  const Conv2dBackwardWeightAlgorithm* const* algorithm = kernels().conv2d_backward_weight;
  while (!(*algorithm)->accepts(s)) ++algorithm;  // the last one takes everything
  return **algorithm;
}

// The more blocks a task has, the less often is a block packed; but each thread should have as much to do.
void choose_blocks(const Conv2dBackwardWeightAlgorithm& algorithm, int64_t threads, Conv2dBackwardWeight* p) {
  constexpr int64_t kEnough = 4;                        // tasks a thread, of which one more or less does not matter
  const auto even = [](int64_t blocks, int64_t most) {  // blocks of each part
    const int64_t parts = (blocks + most - 1) / most;
    return (blocks + parts - 1) / parts;
  };
  const auto more = [&] {
    const int64_t tasks = p->tasks();
    return tasks < threads || (tasks < kEnough * threads && tasks % threads != 0);
  };
  p->block = algorithm.block;
  p->k_together = even(p->k_blocks(), p->narrow() ? 4 : algorithm.most_outputs / p->block);
  p->c_together = even(p->c_blocks(), std::max<int64_t>(1, algorithm.most_terms / p->block / p->shape.taps()));
  while (p->k_together > 2 && more()) p->k_together = (p->k_together + 1) / 2;
  while (p->c_together > 1 && more()) p->c_together = (p->c_together + 1) / 2;
  while (p->k_together > 1 && more()) p->k_together = (p->k_together + 1) / 2;
}

lucid_status compute(Conv2dBackwardWeight p) {
  constexpr double kParallelFrom = 1e5;  // as of conv2d
  const Conv2dBackwardWeightAlgorithm& algorithm = choose_algorithm(p.shape);
  const int64_t threads = p.shape.multiplications() < kParallelFrom ? 1 : num_threads();
  choose_blocks(algorithm, threads, &p);
  const int64_t shares = std::min(threads, p.tasks());
  const int64_t each = (algorithm.scratch_bytes(p) + kAlignment - 1) / kAlignment * kAlignment;
  const Scratch<char> scratch(each * shares);
  if (scratch.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for %lld bytes of scratch", kOp,
                static_cast<long long>(each * shares));
  parallel_for(shares, 1, [&](int64_t begin, int64_t end, int) {
    Conv2dBackwardWeight mine = p;
    mine.scratch = scratch.data() + begin * each;
    algorithm.run(mine, p.tasks() * begin / shares, p.tasks() * end / shares);
  });
  return ok();
}

lucid_status run_on_cuda(const lucid_conv2d_backward_weight_args& a, const Conv2dShape& s) {
  const cuda::Call call(kOp, a.dy->device.id, stream_of(a.context));
  cuda::Input x, dy;
  cuda::Output dweight, dbias;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(x.stage(call, *a.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kChannelsLast));
  LUCID_CHECK(dweight.stage(call, *a.dweight, cuda::Order::kRowMajor));
  if (a.dbias != nullptr) LUCID_CHECK(dbias.stage(call, *a.dbias, cuda::Order::kRowMajor));
  cuda::Conv2dBackwardWeight p{.shape = s,
                               .dtype = cuda::dtype_of(a.dy->dtype),
                               .x = x.data(),
                               .dy = dy.data(),
                               .dweight = dweight.data(),
                               .dbias = a.dbias != nullptr ? dbias.floats() : nullptr,
                               .workspace = nullptr};
  LUCID_CHECK(workspace.allocate(call, call->conv2d_backward_weight_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->conv2d_backward_weight(p, call.stream())));
  LUCID_CHECK(dweight.finish(call));
  return a.dbias != nullptr ? dbias.finish(call) : ok();
}

lucid_status run_conv2d_backward_weight(const lucid_conv2d_backward_weight_args& a) {
  Conv2dShape s;
  lucid_device device;
  LUCID_CHECK(check_conv2d_backward_weight(a, &s));
  LUCID_CHECK(
      find_device(kOp, a.context, {{"dy", a.dy}, {"x", a.x}, {"dweight", a.dweight}, {"dbias", a.dbias}}, &device));
  LUCID_CHECK(check_data(kOp, "dy", a.dy, device));
  LUCID_CHECK(check_data(kOp, "x", a.x, device));
  LUCID_CHECK(check_output(kOp, "dweight", a.dweight, shape_of_dweight(a, s), device));
  if (a.dbias != nullptr) LUCID_CHECK(check_output(kOp, "dbias", a.dbias, make_shape({s.out_channels()}), device));
  if (device.type == LUCID_CUDA) return run_on_cuda(a, s);
  const ImageView dweight = view_image(*a.dweight);
  const VectorView dbias = view_vector(a.dbias);
  return compute({.shape = s,
                  .x = input_view(*a.x),
                  .dy = input_view(*a.dy),
                  .dweight = dweight.data,
                  .dweight_k = dweight.stride_n,
                  .dweight_c = dweight.stride_c,
                  .dweight_h = dweight.stride_h,
                  .dweight_w = dweight.stride_w,
                  .dbias = dbias.data,
                  .dbias_stride = dbias.stride,
                  .lanes = kernels().lanes,
                  .block = 1,
                  .k_together = 1,
                  .c_together = 1,
                  .scratch = nullptr});
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_conv2d_backward_weight(const lucid_conv2d_backward_weight_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_conv2d_backward_weight);
}

extern "C" lucid_status lucid_conv2d_backward_weight_output_shape(const lucid_conv2d_backward_weight_args* args,
                                                                  lucid_shape* dweight) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_shape_only, dweight);
}
