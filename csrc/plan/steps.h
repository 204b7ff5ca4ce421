// The kinds of steps, one file each: plan/<op>_step.cpp.
#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "plan/plan.h"

namespace lucid::plan {

#define LUCID_STEP_KINDS(X) \
  X(adaptive_avg_pool2d) \
  X(add) \
  X(avg_pool2d) \
  X(batch_norm) \
  X(conv2d) \
  X(flatten) \
  X(linear) \
  X(max_pool2d) \
  X(mul) \
  X(radix_sum_pool) \
  X(relu) \
  X(sigmoid) \
  X(softmax) \
  X(split_attention) \
  X(unflatten)

// The operators' checks want tensors; a shape has no memory. They read no data.
class ShapeOnly {
 public:
  explicit ShapeOnly(const lucid_shape& shape)
      : tensor_{.data = nullptr,
                .device = {LUCID_CPU, 0},
                .ndim = shape.ndim,
                .dtype = shape.dtype,
                .shape = shape.sizes,
                .strides = nullptr,
                .byte_offset = 0} {}
  const lucid_tensor* get() const { return &tensor_; }

 private:
  lucid_tensor tensor_;
};

// A described step, which has the inputs, attributes and weights of its kind.
struct Description {
  const lucid_plan_step& step;
  const lucid_shape* inputs;

  const int64_t* values(const char* attribute) const;
  int64_t integer(const char* attribute) const { return *values(attribute); }
  bool flag(const char* attribute) const { return *values(attribute) != 0; }
  // As the operators' arguments have it: of the top and left, and what the bottom and right have more.
  void padding(const char* attribute, int64_t (&padding)[2], int64_t (&extra)[2]) const;
};

// The values of a step that is made.
struct Operands {
  std::vector<const Value*> inputs;
  const Value& y;
  bool winograd;  // whether the faster and less exact algorithms may be chosen
  bool bfloat16;  // whether images and weights on the CPU are

  const Value& x() const { return *inputs[0]; }
};

struct StepKind {
  lucid_step_kind described;
  // The operator's shape rule.
  lucid_status (*check)(const Description& step, lucid_shape* y);
  // Make what `check` has accepted, for the CPU and for CUDA.
  lucid_status (*make)(const Description& step, const Operands& operands, std::unique_ptr<Step>* made);
  lucid_status (*launch)(const Description& step, const Operands& operands, Launch* made);
  // Whether an image of its output depends on several of its input; null for never.
  bool (*mixes_images)(const Description& step) = nullptr;
};

#define LUCID_STEP_KIND(op) extern const StepKind op##_step;
LUCID_STEP_KINDS(LUCID_STEP_KIND)
#undef LUCID_STEP_KIND

// Everything that can be asked of a step without data: its kind, inputs, attributes and weights; then the shape rule.
lucid_status check_step(const lucid_plan_step& step, const lucid_shape* inputs, const StepKind** kind, lucid_shape* y);

// A shape that a value of a plan may have; `name` opens the message.
lucid_status check_value(const char* name, const lucid_shape& shape);

// A checked tensor of one, two or four dimensions in row-major order; empty for null.
std::vector<float> dense_copy(const lucid_tensor* tensor);

}  // namespace lucid::plan
