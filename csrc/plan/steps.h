// The kinds of steps. Each takes what its operator has checked, and the values it reads and writes.
#pragma once

#include <memory>
#include <vector>

#include "plan/plan.h"

namespace lucid::plan {

// `x` may stay outside; `residual` and `row_sums` are null for none. `problem` lacks only pointers and strides.
std::unique_ptr<Step> conv2d_step(const Conv2dProblem& problem, const Conv2dAlgorithm& algorithm, const Value& x,
                                  const Value* residual, const Value& y, const Value* row_sums);

// For the step before a convolution: the first weights that each thread will want.
void prefetch_weights_of(Step& step, const Step* next);

std::unique_ptr<Step> pool2d_step(const Pool2d& pool, const Value& x, const Value& y);
// `row_sums`, if not null, are those of the convolution that computes x.
std::unique_ptr<Step> global_avg_pool2d_step(int64_t radix, const Value& x, const Value* row_sums, const Value& y);
std::unique_ptr<Step> linear_step(std::vector<float> weight, std::vector<float> bias, int64_t groups, bool relu,
                                  const Value& x, const Value& y);
std::unique_ptr<Step> split_attention_step(int64_t radix, int64_t cardinality, const Value& x, const Value& logits,
                                           const Value& y);
std::unique_ptr<Step> batch_norm_step(std::vector<float> scale, std::vector<float> shift, bool relu, const Value& x,
                                      const Value& y);
std::unique_ptr<Step> add_step(bool relu, const Value& a, const Value& b, const Value& y);
std::unique_ptr<Step> relu_step(const Value& x, const Value& y);
std::unique_ptr<Step> sigmoid_step(const Value& x, const Value& y);
std::unique_ptr<Step> softmax_step(const Value& x, const Value& y);
std::unique_ptr<Step> flatten_step(const Value& x, const Value& y);
std::unique_ptr<Step> unflatten_step(const Value& x, const Value& y);
std::unique_ptr<Step> import_step(int input, const Value& y);   // from the caller's memory
std::unique_ptr<Step> export_step(const Value& x, int output);  // to it

}  // namespace lucid::plan
