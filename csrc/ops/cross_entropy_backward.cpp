// cross_entropy_backward: dx = dy * (softmax(x) * sum of f - f) along the classes, f being what the target, its
// smoothing and the weights make of a class.
#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "core/status.h"
#include "ops/cross_entropy.h"
#include "ops/device.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

constexpr const char* kOp = "cross_entropy_backward";

lucid_status check_cross_entropy_backward(const lucid_cross_entropy_backward_args& a, lucid_shape* dx) {
  lucid_shape losses;
  LUCID_CHECK(cross_entropy_problem(kOp, a).check(&losses));
  LUCID_CHECK(check_tensor(kOp, "dy", a.dy, 0, kMaxDims, a.x->dtype));
  LUCID_CHECK(check_shape(kOp, "dy", *a.dy, losses));
  *dx = shape_of(*a.x);
  return ok();
}

lucid_status run_on_cuda(const lucid_cross_entropy_backward_args& a, const CrossEntropyProblem& problem) {
  const cuda::Call call(kOp, a.x->device.id, stream_of(a.context));
  StagedCrossEntropy given;
  cuda::Input dy;
  cuda::Output dx;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(given.stage(call, problem));
  LUCID_CHECK(dy.stage(call, *a.dy, cuda::Order::kRowMajor));
  LUCID_CHECK(dx.stage(call, *a.dx, cuda::Order::kRowMajor));
  cuda::CrossEntropyBackward p{};
  given.describe(&p);
  p.dy = dy.data();
  p.dx = dx.data();
  LUCID_CHECK(workspace.allocate(call, call->cross_entropy_backward_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->cross_entropy_backward(p, call.stream())));
  return dx.finish(call);
}

lucid_status run_on_cpu(const lucid_cross_entropy_backward_args& a, const CrossEntropyProblem& problem) {
  LUCID_CHECK(problem.check_indices());
  const double divisor = a.reduction == LUCID_MEAN ? problem.total_weight() : 1.0;
  const int64_t classes = problem.classes(), dx_step = stride_of(*a.dx, problem.dim());
  parallel_for(problem.rows(), grain_of(20 * classes), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      float* const dx = data_of(*a.dx) + row_offset(*a.dx, problem.dim(), row);
      if (!problem.counts(row)) {
        for (int64_t i = 0; i < classes; ++i) dx[i * dx_step] = 0.0f;
        continue;
      }
      const float dy = data_of(*a.dy)[row_offset(*a.dy, -1, a.reduction == LUCID_NONE ? row : 0)];
      kernels().cross_entropy_backward(
          {.row = problem.row(row, nullptr), .dy = static_cast<double>(dy) / divisor, .dx = dx, .dx_step = dx_step}, 0,
          1);
    }
  });
  return ok();
}

lucid_status run_cross_entropy_backward(const lucid_cross_entropy_backward_args& a) {
  const CrossEntropyProblem problem = cross_entropy_problem(kOp, a);
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(check_cross_entropy_backward(a, &shape));
  LUCID_CHECK(find_device(
      kOp, a.context, {{"x", a.x}, {"dy", a.dy}, {"target", a.target}, {"weight", a.weight}, {"dx", a.dx}}, &device));
  for (const auto& [name, tensor] :
       {std::pair{"x", a.x}, std::pair{"dy", a.dy}, std::pair{"target", a.target}, std::pair{"weight", a.weight}})
    LUCID_CHECK(check_data(kOp, name, tensor, device));
  LUCID_CHECK(check_output(kOp, "dx", a.dx, shape, device));
  if (is_empty(shape)) return ok();
  return device.type == LUCID_CUDA ? run_on_cuda(a, problem) : run_on_cpu(a, problem);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_cross_entropy_backward(const lucid_cross_entropy_backward_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_cross_entropy_backward);
}

extern "C" lucid_status lucid_cross_entropy_backward_output_shape(const lucid_cross_entropy_backward_args* args,
                                                                  lucid_shape* dx) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_cross_entropy_backward, dx);
}
