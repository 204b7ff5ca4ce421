// A loss of logits and targets as cross_entropy and its gradient are given it.
#pragma once

#include "cpu/kernels.h"
#include "cuda/staging.h"
#include "lucid.h"

namespace lucid {

struct CrossEntropyProblem {
  const char* op;
  const lucid_tensor *x, *target, *weight;
  int64_t ignore_index;
  double label_smoothing;
  int32_t reduction;

  // The shape rule, which gives that of the losses; everything below is for what has passed.
  lucid_status check(lucid_shape* y) const;

  bool has_indices() const { return target->dtype.code == LUCID_INT; }
  int dim() const { return x->ndim > 1 ? 1 : 0; }  // of the classes
  int64_t classes() const { return x->shape[dim()]; }
  int64_t rows() const;  // may be 0

  // On the CPU. The class index of a row, and whether it has a loss; else its losses are zeros.
  int64_t index(int64_t row) const;
  bool counts(int64_t row) const { return !has_indices() || index(row) != ignore_index; }
  lucid_status check_indices() const;
  CrossEntropy row(int64_t row, double* loss) const;
  // By what the mean divides.
  double total_weight() const;
};

template <class Args>
CrossEntropyProblem cross_entropy_problem(const char* op, const Args& a) {
  return {op, a.x, a.target, a.weight, a.ignore_index, a.label_smoothing, a.reduction};
}

// The operands on a device, as kernels take them.
class StagedCrossEntropy {
 public:
  lucid_status stage(const cuda::Call& call, const CrossEntropyProblem& problem);

  // Fills in what the kernels of both directions are given.
  template <class Arguments>
  void describe(Arguments* p) const {
    p->dtype = cuda::dtype_of(problem_->x->dtype);
    p->outer = p->inner = 1;
    for (int d = 0; d < problem_->x->ndim; ++d)
      if (d != problem_->dim()) (d < problem_->dim() ? p->outer : p->inner) *= problem_->x->shape[d];
    p->size = problem_->classes();
    p->x = x_.data();
    p->target = target();
    p->reduction = static_cast<cuda::LossReduction>(problem_->reduction);
  }

 private:
  cuda::CrossEntropyTarget target() const;

  const CrossEntropyProblem* problem_ = nullptr;
  cuda::Input x_, target_, weight_;
};

}  // namespace lucid
