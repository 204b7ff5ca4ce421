// cross_entropy: the loss of logits whose target is a class or probabilities, row by row, their sum or their mean.
#include "ops/cross_entropy.h"

#include <algorithm>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/status.h"
#include "ops/device.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

bool is_floating(lucid_dtype dtype) { return dtype.code == LUCID_FLOAT || dtype.code == LUCID_BFLOAT; }
bool same(lucid_dtype a, lucid_dtype b) { return a.code == b.code && a.bits == b.bits; }

lucid_status check_target(const CrossEntropyProblem& p, const lucid_shape& rows) {
  if (p.target == nullptr) return check_tensor(p.op, "target", nullptr, 0, kMaxDims);
  const lucid_tensor& target = *p.target;
  LUCID_CHECK(check_tensor(p.op, "target", &target, 0, kMaxDims, target.dtype));
  const auto has_sizes_of = [&](const int64_t* sizes, int dims) {
    return std::equal(sizes, sizes + dims, target.shape, target.shape + target.ndim);
  };
  if (is_floating(target.dtype)) {
    if (!has_sizes_of(p.x->shape, p.x->ndim))
      return fail(LUCID_INVALID_ARGUMENT, "%s: target must hold probabilities in the input's shape, got shape %s", p.op,
                  ShapeText(target.shape, target.ndim).c_str());
    return check_tensor(p.op, "target", &target, 0, kMaxDims, same(target.dtype, p.x->dtype) ? p.x->dtype : kFloat32);
  }
  if (same(target.dtype, kInt64) && has_sizes_of(rows.sizes, rows.ndim)) return ok();
  return fail(LUCID_INVALID_ARGUMENT,
              "%s: target must hold class indices of shape %s or probabilities in the input's shape, got %s of shape "
              "%s",
              p.op, ShapeText(rows.sizes, rows.ndim).c_str(), DtypeText(target.dtype).c_str(),
              ShapeText(target.shape, target.ndim).c_str());
}

}  // namespace

lucid_status CrossEntropyProblem::check(lucid_shape* y) const {
  LUCID_CHECK(check_tensor(op, "x", x, 1, kMaxDims));
  if (classes() == 0)
    return fail(LUCID_INVALID_ARGUMENT, "%s: x must hold logits (n, classes, ...), got shape %s", op,
                ShapeText(x->shape, x->ndim).c_str());
  *y = shape_of(*x);
  std::copy(x->shape + dim() + 1, x->shape + x->ndim, y->sizes + dim());
  --y->ndim;
  LUCID_CHECK(check_target(*this, *y));
  if (weight != nullptr) LUCID_CHECK(check_vector(op, "weight", weight, classes(), x->dtype));
  if (!(label_smoothing >= 0 && label_smoothing <= 1))
    return fail(LUCID_INVALID_ARGUMENT, "%s: label_smoothing must be from 0 to 1, got %g", op, label_smoothing);
  if (reduction < LUCID_NONE || reduction > LUCID_MEAN)
    return fail(LUCID_INVALID_ARGUMENT, "%s: reduction must be from 0 to 2, got %d", op, reduction);
  if (reduction != LUCID_NONE) *y = make_shape({}, x->dtype);
  return ok();
}

int64_t CrossEntropyProblem::rows() const {
  int64_t rows = 1;
  for (int d = 0; d < x->ndim; ++d) rows *= d == dim() ? 1 : x->shape[d];
  return rows;
}

int64_t CrossEntropyProblem::index(int64_t row) const {
  return reinterpret_cast<const int64_t*>(data_of(*target))[row_offset(*target, -1, row)];
}

lucid_status CrossEntropyProblem::check_indices() const {
  for (int64_t row = 0; has_indices() && row < rows(); ++row)
    if (const int64_t found = index(row); found != ignore_index && (found < 0 || found >= classes()))
      return fail(LUCID_INVALID_ARGUMENT, "%s: target must be from 0 to %lld or ignore_index (%lld), got %lld", op,
                  static_cast<long long>(classes() - 1), static_cast<long long>(ignore_index),
                  static_cast<long long>(found));
  return ok();
}

CrossEntropy CrossEntropyProblem::row(int64_t row, double* loss) const {
  const VectorView weights = view_vector(weight);
  const bool indices = has_indices();
  return {.x = data_of(*x) + row_offset(*x, dim(), row),
          .probabilities = indices ? nullptr : data_of(*target) + row_offset(*target, dim(), row),
          .weight = weights.data,
          .classes = classes(),
          .x_step = stride_of(*x, dim()),
          .probabilities_step = indices ? 0 : stride_of(*target, dim()),
          .weight_step = weights.stride,
          .index = indices ? index(row) : 0,
          .label_smoothing = label_smoothing,
          .loss = loss};
}

double CrossEntropyProblem::total_weight() const {
  if (!has_indices()) return static_cast<double>(rows());
  const VectorView weights = view_vector(weight);
  double total = 0.0;
  for (int64_t row = 0; row < rows(); ++row)
    if (counts(row)) total += weight == nullptr ? 1.0 : static_cast<double>(weights.data[index(row) * weights.stride]);
  return total;
}

lucid_status StagedCrossEntropy::stage(const cuda::Call& call, const CrossEntropyProblem& problem) {
  problem_ = &problem;
  LUCID_CHECK(x_.stage(call, *problem.x, cuda::Order::kRowMajor));
  LUCID_CHECK(target_.stage(call, *problem.target, cuda::Order::kRowMajor));
  return weight_.stage_vector(call, problem.weight);
}

cuda::CrossEntropyTarget StagedCrossEntropy::target() const {
  const CrossEntropyProblem& p = *problem_;
  return {.dtype = p.has_indices() ? cuda::Dtype::kInt64 : cuda::dtype_of(p.target->dtype),
          .data = target_.data(),
          .weight = weight_.floats(),
          .ignore_index = p.ignore_index,
          .kept = static_cast<float>(1.0 - p.label_smoothing),
          .spread = static_cast<float>(p.label_smoothing / static_cast<double>(p.classes()))};
}

namespace {

constexpr const char* kOp = "cross_entropy";

lucid_status check_cross_entropy(const lucid_cross_entropy_args& a, lucid_shape* y) {
  return cross_entropy_problem(kOp, a).check(y);
}

lucid_status run_on_cuda(const lucid_cross_entropy_args& a, const CrossEntropyProblem& problem) {
  const cuda::Call call(kOp, a.x->device.id, stream_of(a.context));
  StagedCrossEntropy given;
  cuda::Output y;
  cuda::Workspace workspace;
  LUCID_CHECK(call.begin());
  LUCID_CHECK(given.stage(call, problem));
  LUCID_CHECK(y.stage(call, *a.y, cuda::Order::kRowMajor));
  cuda::CrossEntropy p{};
  given.describe(&p);
  p.y = y.data();
  LUCID_CHECK(workspace.allocate(call, call->cross_entropy_bytes(p)));
  p.workspace = workspace.data();
  LUCID_CHECK(call.check(call->cross_entropy(p, call.stream())));
  return y.finish(call);
}

lucid_status run_on_cpu(const lucid_cross_entropy_args& a, const CrossEntropyProblem& problem) {
  LUCID_CHECK(problem.check_indices());
  const int64_t rows = problem.rows();
  const Scratch<double> losses(rows);
  if (losses.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for the losses of x %s", kOp,
                ShapeText(a.x->shape, a.x->ndim).c_str());
  // An element takes as long as moving some 20 floats.
  parallel_for(rows, grain_of(20 * problem.classes()), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      double* const loss = losses.data() + row;
      *loss = 0.0;
      if (problem.counts(row)) kernels().cross_entropy(problem.row(row, loss), 0, 1);
      if (a.reduction == LUCID_NONE) data_of(*a.y)[row_offset(*a.y, -1, row)] = static_cast<float>(*loss);
    }
  });
  if (a.reduction == LUCID_NONE) return ok();
  double sum = 0.0;
  for (int64_t row = 0; row < rows; ++row) sum += losses.data()[row];
  *data_of(*a.y) = static_cast<float>(a.reduction == LUCID_MEAN ? sum / problem.total_weight() : sum);
  return ok();
}

lucid_status run_cross_entropy(const lucid_cross_entropy_args& a) {
  const CrossEntropyProblem problem = cross_entropy_problem(kOp, a);
  lucid_shape shape;
  lucid_device device;
  LUCID_CHECK(problem.check(&shape));
  LUCID_CHECK(
      find_device(kOp, a.context, {{"x", a.x}, {"target", a.target}, {"weight", a.weight}, {"y", a.y}}, &device));
  LUCID_CHECK(check_data(kOp, "x", a.x, device));
  LUCID_CHECK(check_data(kOp, "target", a.target, device));
  LUCID_CHECK(check_data(kOp, "weight", a.weight, device));
  LUCID_CHECK(check_output(kOp, "y", a.y, shape, device));
  if (is_empty(shape)) return ok();
  return device.type == LUCID_CUDA ? run_on_cuda(a, problem) : run_on_cpu(a, problem);
}

}  // namespace
}  // namespace lucid

extern "C" lucid_status lucid_cross_entropy(const lucid_cross_entropy_args* args) {
  return lucid::with_arguments(lucid::kOp, args, lucid::run_cross_entropy);
}

extern "C" lucid_status lucid_cross_entropy_output_shape(const lucid_cross_entropy_args* args, lucid_shape* y) {
  return lucid::output_shape(lucid::kOp, args, lucid::check_cross_entropy, y);
}
