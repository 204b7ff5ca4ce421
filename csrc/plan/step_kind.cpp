// The list of all kinds of steps, and the checks of a description that they have in common.
#include <cstring>
#include <string>

#include "core/status.h"
#include "ops/shapes.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

#define LUCID_STEP_KIND(op) &op##_step,
const StepKind* const kKinds[] = {LUCID_STEP_KINDS(LUCID_STEP_KIND)};
#undef LUCID_STEP_KIND

// Far beyond any network; what is computed from it fits into 63 bits.
constexpr int64_t kLargestAttribute = INT32_MAX;

using Names = std::string;

void append(Names* names, const std::string& name) { names->append(names->empty() ? "" : ", ").append(name); }
const char* text(const Names& names) { return names.empty() ? "none" : names.c_str(); }

const StepKind* find_kind(const char* name) {
  for (const StepKind* kind : kKinds)
    if (name != nullptr && std::strcmp(kind->described.name, name) == 0) return kind;
  return nullptr;
}

const lucid_attribute* find_attribute(const lucid_plan_step& step, const char* name) {
  for (int i = 0; i < step.attribute_count; ++i)
    if (step.attributes[i].name != nullptr && std::strcmp(step.attributes[i].name, name) == 0)
      return &step.attributes[i];
  return nullptr;
}

lucid_status check_attribute(const char* op, const lucid_attribute_kind& kind, const lucid_attribute& given) {
  static constexpr struct {
    int32_t count;
    const char* text;
  } kTypes[] = {{1, "an int"}, {1, "a bool"}, {2, "a pair of ints"}, {4, "four ints: top, left, bottom, right"}};
  const auto& type = kTypes[kind.type];
  if (given.count != type.count)
    return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be %s, got %d values", op, kind.name, type.text, given.count);
  for (int i = 0; i < given.count; ++i) {
    const long long value = given.values[i];
    if (kind.type == LUCID_ATTRIBUTE_BOOL && value != 0 && value != 1)
      return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be 0 or 1, got %lld", op, kind.name, value);
    if (value < -kLargestAttribute || value > kLargestAttribute)
      return fail(LUCID_INVALID_ARGUMENT, "%s: %s must be at most %d, got %lld", op, kind.name, INT32_MAX, value);
  }
  return ok();
}

lucid_status check_attributes(const lucid_step_kind& kind, const lucid_plan_step& step) {
  Names wanted, given;
  bool complete = step.attribute_count == kind.attribute_count;
  for (int i = 0; i < kind.attribute_count; ++i) {
    append(&wanted, kind.attributes[i].name);
    complete = complete && find_attribute(step, kind.attributes[i].name) != nullptr;
  }
  for (int i = 0; i < step.attribute_count; ++i)
    append(&given, step.attributes[i].name != nullptr ? step.attributes[i].name : "NULL");
  if (!complete)
    return fail(LUCID_INVALID_ARGUMENT, "%s: attributes must be %s, got %s", kind.name, text(wanted), text(given));
  for (int i = 0; i < kind.attribute_count; ++i)
    LUCID_CHECK(check_attribute(kind.name, kind.attributes[i], *find_attribute(step, kind.attributes[i].name)));
  return ok();
}

lucid_status check_weights(const lucid_step_kind& kind, const lucid_plan_step& step) {
  Names wanted, given;
  bool right = true;
  for (const auto& [name, presence, tensor] :
       {std::tuple{"weight", kind.weight, step.weight}, std::tuple{"bias", kind.bias, step.bias}}) {
    if (presence != LUCID_ABSENT)
      append(&wanted, std::string(name) + (presence == LUCID_OPTIONAL ? " (optional)" : ""));
    if (tensor != nullptr) append(&given, name);
    right = right && presence != (tensor != nullptr ? LUCID_ABSENT : LUCID_REQUIRED);
  }
  if (right) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%s: weights must be %s, got %s", kind.name, text(wanted), text(given));
}

lucid_status check_kind(const lucid_plan_step& step, const StepKind** found) {
  *found = find_kind(step.kind);
  if (*found != nullptr) return ok();
  Names names;
  for (const StepKind* kind : kKinds) append(&names, kind->described.name);
  return fail(LUCID_INVALID_ARGUMENT, "plan: the kind of a step must be one of %s, got '%s'", names.c_str(),
              step.kind != nullptr ? step.kind : "NULL");
}

}  // namespace

const int64_t* Description::values(const char* attribute) const { return find_attribute(step, attribute)->values; }

lucid_status check_value(const char* name, const lucid_shape& shape) {
  if (shape.ndim != 4 && shape.ndim != 2)
    return fail(LUCID_INVALID_ARGUMENT, "%s must have shape (n, c, h, w) or (n, c), got %d dimensions", name,
                shape.ndim);
  if (shape.dtype.code != kFloat32.code || shape.dtype.bits != kFloat32.bits || shape.dtype.lanes != kFloat32.lanes)
    return fail(LUCID_UNSUPPORTED, "%s must be float32, got another dtype of %d bits", name, shape.dtype.bits);
  bool positive = shape.sizes[0] >= 0;
  for (int d = 1; d < shape.ndim; ++d) positive = positive && shape.sizes[d] > 0;
  if (!positive || !elements_fit(shape.sizes, shape.ndim))
    return fail(LUCID_INVALID_ARGUMENT,
                "%s must have positive sizes, but for the batch, and at most 2^58 elements, got %s", name,
                ShapeText(shape.sizes, shape.ndim).c_str());
  return ok();
}

void Description::padding(const char* attribute, int64_t (&padding)[2], int64_t (&extra)[2]) const {
  const int64_t* sides = values(attribute);
  for (int i = 0; i < 2; ++i) {
    padding[i] = sides[i];
    extra[i] = sides[2 + i] - sides[i];
  }
}

lucid_status check_step(const lucid_plan_step& step, const lucid_shape* inputs, const StepKind** kind, lucid_shape* y) {
  LUCID_CHECK(check_kind(step, kind));
  const lucid_step_kind& described = (*kind)->described;
  if (step.input_count < described.fewest_inputs || step.input_count > described.most_inputs)
    return fail(LUCID_INVALID_ARGUMENT, "%s: the number of inputs must be from %d to %d, got %d", described.name,
                described.fewest_inputs, described.most_inputs, step.input_count);
  for (int i = 0; i < step.input_count; ++i)
    LUCID_CHECK(check_value((std::string(described.name) + ": an input").c_str(), inputs[i]));
  LUCID_CHECK(check_attributes(described, step));
  LUCID_CHECK(check_weights(described, step));
  LUCID_CHECK((*kind)->check({.step = step, .inputs = inputs}, y));
  return check_value((std::string(described.name) + ": y").c_str(), *y);
}

std::vector<float> dense_copy(const lucid_tensor* tensor) {
  std::vector<float> copy;
  if (tensor == nullptr) return copy;
  const VectorView vector = tensor->ndim == 1 ? view_vector(tensor) : VectorView{};
  const ImageView v = tensor->ndim > 1 ? view_image(*tensor) : ImageView{};
  copy.reserve(static_cast<size_t>(vector.size + v.n * v.c * v.h * v.w));
  for (int64_t i = 0; i < vector.size; ++i) copy.push_back(vector.data[i * vector.stride]);
  for (int64_t n = 0; n < v.n; ++n)
    for (int64_t c = 0; c < v.c; ++c)
      for (int64_t h = 0; h < v.h; ++h)
        for (int64_t w = 0; w < v.w; ++w)
          copy.push_back(v.data[n * v.stride_n + c * v.stride_c + h * v.stride_h + w * v.stride_w]);
  return copy;
}

}  // namespace lucid::plan

extern "C" const lucid_step_kind* lucid_step_kind_at(int32_t index) {
  using lucid::plan::kKinds;
  return index >= 0 && index < static_cast<int32_t>(std::size(kKinds)) ? &kKinds[index]->described : nullptr;
}

extern "C" lucid_status lucid_step_output_shape(const lucid_plan_step* step, const lucid_shape* inputs,
                                                lucid_shape* y) {
  using namespace lucid;
  if (step == nullptr || inputs == nullptr || y == nullptr)
    return fail(LUCID_INVALID_ARGUMENT, "plan: step, inputs and y must be given, got NULL");
  try {
    const plan::StepKind* kind;
    return plan::check_step(*step, inputs, &kind, y);
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for a message");
  }
}
