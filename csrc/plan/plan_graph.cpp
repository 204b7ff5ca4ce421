// All messages are reasons, in front of which the file is named.
#include "plan/plan_graph.h"

#include <algorithm>
#include <cstdio>
#include <type_traits>
#include <utility>

#include "core/crc32.h"
#include "core/status.h"
#include "ops/shapes.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr int kLongestName = 80;  // in a message

template <class Type>
constexpr const char* kTypeName = nullptr;
template <>
constexpr const char* kTypeName<bool> = "a bool";
template <>
constexpr const char* kTypeName<std::string> = "a text without zeros";
template <>
constexpr const char* kTypeName<JsonList> = "a list";
template <>
constexpr const char* kTypeName<JsonObject> = "an object";

// The value, if it is of this type. A zero would end a name in C.
template <class Type>
lucid_status typed(const char* name, const Json& json, const Type** value) {
  *value = json.as<Type>();
  bool right = *value != nullptr;
  if constexpr (std::is_same_v<Type, std::string>) right = right && (*value)->find('\0') == std::string::npos;
  if (right) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "its graph must have %s as '%.*s', got something else", kTypeName<Type>,
              kLongestName, name);
}

template <class Type>
lucid_status field(const JsonObject& object, const char* name, const Type** value) {
  const Json* found = find(object, name);
  if (found != nullptr) return typed(name, *found, value);
  return fail(LUCID_INVALID_ARGUMENT, "its graph must have the fields of its version, got no '%s'", name);
}

// Those that were read are all that there are.
lucid_status check_field_count(const JsonObject& object, size_t count) {
  if (object.size() == count) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "its graph must have %zu fields here, those of its version, got %zu", count,
              object.size());
}

// A number beyond 64 bits becomes the largest, which no size and no attribute may have.
bool read_integer(const Json& json, int64_t* number) {
  const int64_t* value = json.as<int64_t>();
  const OtherNumber* other = json.as<OtherNumber>();
  *number = value != nullptr ? *value : INT64_MAX;
  return value != nullptr || (other != nullptr && other->is_integer());
}

bool is_flag(const std::string& kind, const std::string& attribute) {
  for (int32_t i = 0; const lucid_step_kind* found = lucid_step_kind_at(i); ++i)
    for (int32_t j = 0; kind == found->name && j < found->attribute_count; ++j)
      if (attribute == found->attributes[j].name) return found->attributes[j].type == LUCID_ATTRIBUTE_BOOL;
  return false;
}

bool read_attribute(const Json& json, lucid_attribute* attribute) {
  const JsonList* list = json.as<JsonList>();
  if (list == nullptr) return read_integer(json, &attribute->values[0]);
  if (list->size() != 2 && list->size() != 4) return false;
  attribute->count = static_cast<int32_t>(list->size());
  bool right = true;
  for (size_t i = 0; i < list->size(); ++i) right = right && read_integer((*list)[i], &attribute->values[i]);
  return right;
}

// Ints and bools are the same to a step, but not to JSON.
lucid_status read_attributes(const std::string& kind, const JsonObject& attributes, std::vector<lucid_attribute>* to) {
  for (const auto& [name, json] : attributes) {
    lucid_attribute& attribute = to->emplace_back();
    attribute = {.name = name.c_str(), .count = 1, .values = {}};
    const bool* flag = json.as<bool>();
    if (flag != nullptr) attribute.values[0] = *flag;
    const bool right =
        (flag != nullptr) == is_flag(kind, name) && (flag != nullptr || read_attribute(json, &attribute));
    if (right && name.find('\0') == name.npos) continue;
    return fail(LUCID_INVALID_ARGUMENT,
                "%.*s: %.*s must be of the type that the kind has: a bool, or 1, 2 or 4 integers", kLongestName,
                kind.c_str(), kLongestName, name.c_str());
  }
  return ok();
}

lucid_tensor as_tensor(const StoredTensor& stored) {
  return {.data = const_cast<std::byte*>(stored.bytes),
          .device = kCpu,
          .ndim = static_cast<int32_t>(stored.shape.size()),
          .dtype = kFloat32,
          .shape = stored.shape.data(),
          .strides = nullptr,
          .byte_offset = 0};
}

}  // namespace

std::string checksum(const void* data, size_t bytes) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(crc32(data, bytes)));
  return text;
}

lucid_status GraphReader::read(const Json& graph) {
  const JsonObject *fields = nullptr, *inputs = nullptr;
  const JsonList *nodes = nullptr, *outputs = nullptr;
  const bool *as_tuple = nullptr, *winograd = nullptr;
  LUCID_CHECK(typed("graph", graph, &fields));
  LUCID_CHECK(field(*fields, "inputs", &inputs));
  LUCID_CHECK(field(*fields, "outputs", &outputs));
  LUCID_CHECK(field(*fields, "as_tuple", &as_tuple));  // of Python alone
  LUCID_CHECK(field(*fields, "winograd", &winograd));
  LUCID_CHECK(field(*fields, "nodes", &nodes));
  const bool says_dtype = find(*fields, "dtype") != nullptr;  // float32 if not
  if (says_dtype) LUCID_CHECK(read_dtype(*fields));
  const JsonObject* pixels = nullptr;
  const bool says_pixels = find(*fields, "pixels") != nullptr;
  if (says_pixels) LUCID_CHECK(field(*fields, "pixels", &pixels));
  LUCID_CHECK(check_field_count(*fields, 5 + static_cast<size_t>(says_dtype) + static_cast<size_t>(says_pixels)));
  winograd_ = *winograd;
  for (const auto& [name, shape] : *inputs) LUCID_CHECK(read_input(name, shape));
  if (says_pixels) LUCID_CHECK(read_pixels(*pixels));
  for (const Json& node : *nodes) LUCID_CHECK(read_node(node));
  for (const Json& output : *outputs) LUCID_CHECK(read_output(output));
  if (used_tensors_ == file_.tensors().size()) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "it must hold the %zu tensors of its graph only, got %zu", used_tensors_,
              file_.tensors().size());
}

lucid_status GraphReader::read_dtype(const JsonObject& fields) {
  const std::string* name = nullptr;
  LUCID_CHECK(field(fields, "dtype", &name));
  for (const lucid_dtype dtype : {kFloat32, kFloat16, kBfloat16})
    if (*name == DtypeText(dtype).c_str()) {
      dtype_ = dtype;
      return ok();
    }
  return fail(LUCID_INVALID_ARGUMENT, "its dtype must be one of float32, float16, bfloat16, got '%.*s'", kLongestName,
              name->c_str());
}

void GraphReader::describe(lucid_plan_args* args) const {
  args->values = values_.data();
  args->steps = steps_.data();
  args->inputs = inputs_.data();
  args->outputs = outputs_.data();
  args->value_count = static_cast<int32_t>(values_.size());
  args->step_count = static_cast<int32_t>(steps_.size());
  args->input_count = static_cast<int32_t>(inputs_.size());
  args->output_count = static_cast<int32_t>(outputs_.size());
  args->winograd = winograd_;
  args->pixels = pixels_.empty() ? nullptr : pixels_.data();
  if (same_dtype(args->dtype, {})) args->dtype = dtype_;
}

lucid_status GraphReader::read_input(const std::string& name, const Json& json) {
  const JsonList* sizes = nullptr;
  LUCID_CHECK(typed(name.c_str(), json, &sizes));
  lucid_shape shape = make_shape({});
  shape.ndim = static_cast<int32_t>(sizes->size());
  for (size_t i = 0; i < sizes->size(); ++i) {
    int64_t size;
    if (!read_integer((*sizes)[i], &size))
      return fail(LUCID_INVALID_ARGUMENT, "'%.*s' must have a shape of integers, got others", kLongestName,
                  name.c_str());
    if (i < std::size(shape.sizes)) shape.sizes[i] = size;
  }
  LUCID_CHECK(check_value("an input", shape));
  inputs_.push_back(static_cast<int32_t>(values_.size()));
  input_names_.push_back(name);
  return add_value(name, shape);
}

// Whether the numbers can be taken, lucid_plan_create asks.
lucid_status GraphReader::read_pixels(const JsonObject& inputs) {
  pixels_.resize(inputs_.size());
  for (const auto& [name, json] : inputs) {
    const auto found = std::find(input_names_.begin(), input_names_.end(), name);
    if (found == input_names_.end())
      return fail(LUCID_INVALID_ARGUMENT, "its pixels must be of its inputs, got '%.*s'", kLongestName, name.c_str());
    const auto index = static_cast<size_t>(found - input_names_.begin());
    LUCID_CHECK(read_scale(name, values_[index], json, &pixels_[index]));
  }
  return ok();
}

lucid_status GraphReader::read_scale(const std::string& input, const lucid_shape& shape, const Json& json,
                                     lucid_pixels* pixels) {
  const JsonObject* parts = nullptr;
  LUCID_CHECK(typed(input.c_str(), json, &parts));
  for (const auto& [name, to] : {std::pair("mean", &pixels->mean), std::pair("std", &pixels->std)}) {
    const Json* expected = find(*parts, name);
    if (expected == nullptr)
      return fail(LUCID_INVALID_ARGUMENT, "its graph must have mean and std of '%.*s', got no %s", kLongestName,
                  input.c_str(), name);
    const StoredTensor* stored = nullptr;
    LUCID_CHECK(find_tensor(input + "." + name, *expected, &stored));
    if (stored->shape != std::vector<int64_t>{shape.sizes[1]})
      return fail(LUCID_INVALID_ARGUMENT, "%.*s.%s must be one number for each of %lld channels, got another shape",
                  kLongestName, input.c_str(), name, static_cast<long long>(shape.sizes[1]));
    *to = reinterpret_cast<const float*>(stored->bytes);
  }
  return check_field_count(*parts, 2);
}

lucid_status GraphReader::read_output(const Json& json) {
  const std::string* name = nullptr;
  LUCID_CHECK(typed("outputs", json, &name));
  LUCID_CHECK(find_value("outputs", *name, &outputs_.emplace_back()));
  output_names_.push_back(*name);
  return ok();
}

lucid_status GraphReader::read_node(const Json& json) {
  const JsonObject *node = nullptr, *attributes = nullptr, *weights = nullptr;
  const JsonList* inputs = nullptr;
  const std::string *kind = nullptr, *output = nullptr;
  LUCID_CHECK(typed("nodes", json, &node));
  LUCID_CHECK(field(*node, "kind", &kind));
  LUCID_CHECK(field(*node, "inputs", &inputs));
  LUCID_CHECK(field(*node, "output", &output));
  LUCID_CHECK(field(*node, "attributes", &attributes));
  LUCID_CHECK(field(*node, "weights", &weights));
  LUCID_CHECK(check_field_count(*node, 5));

  Parts& parts = parts_.emplace_back();
  lucid_plan_step step{};
  LUCID_CHECK(read_node_inputs(*output, *inputs, &parts.inputs));
  LUCID_CHECK(read_attributes(*kind, *attributes, &parts.attributes));
  LUCID_CHECK(read_weights(*output, *weights, &parts, &step));
  step.kind = kind->c_str();
  step.inputs = parts.inputs.data();
  step.input_count = static_cast<int32_t>(parts.inputs.size());
  step.output = static_cast<int32_t>(values_.size());
  step.attributes = parts.attributes.data();
  step.attribute_count = static_cast<int32_t>(parts.attributes.size());

  std::vector<lucid_shape> shapes;
  for (const int32_t input : parts.inputs) shapes.push_back(values_[static_cast<size_t>(input)]);
  const StepKind* found = nullptr;
  lucid_shape y;
  if (const lucid_status status = check_step(step, shapes.data(), &found, &y); status != LUCID_OK) {
    const std::string reason = lucid_last_error();
    return fail(status, "%.*s: %s", kLongestName, output->c_str(), reason.c_str());
  }
  steps_.push_back(step);
  return add_value(*output, y);
}

lucid_status GraphReader::read_node_inputs(const std::string& node, const JsonList& names,
                                           std::vector<int32_t>* inputs) {
  for (const Json& json : names) {
    const std::string* name = nullptr;
    LUCID_CHECK(typed("inputs", json, &name));
    LUCID_CHECK(find_value(node.c_str(), *name, &inputs->emplace_back()));
  }
  return ok();
}

lucid_status GraphReader::read_weights(const std::string& node, const JsonObject& weights, Parts* parts,
                                       lucid_plan_step* step) {
  for (const auto& [name, json] : weights) {
    if (name != "weight" && name != "bias")
      return fail(LUCID_INVALID_ARGUMENT, "weights must be named weight or bias, got '%.*s'", kLongestName,
                  name.c_str());
    const StoredTensor* stored = nullptr;
    LUCID_CHECK(find_tensor(node + "." + name, json, &stored));
    const bool is_weight = name == "weight";
    lucid_tensor* tensor = is_weight ? &parts->weight : &parts->bias;
    *tensor = as_tensor(*stored);
    (is_weight ? step->weight : step->bias) = tensor;
  }
  return ok();
}

// Each is read once.
lucid_status GraphReader::find_tensor(const std::string& name, const Json& expected, const StoredTensor** stored) {
  const std::string* sum = nullptr;
  LUCID_CHECK(typed(name.c_str(), expected, &sum));
  const auto found = file_.tensors().find(name);
  if (found == file_.tensors().end())
    return fail(LUCID_INVALID_ARGUMENT, "it must hold the tensors of its graph, got none named %.*s", kLongestName,
                name.c_str());
  *stored = &found->second;
  ++used_tensors_;
  if (checksum((*stored)->bytes, (*stored)->size()) == *sum) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "%.*s is damaged: the checksum is another", kLongestName, name.c_str());
}

lucid_status GraphReader::add_value(const std::string& name, const lucid_shape& shape) {
  const bool added = index_.emplace(name, static_cast<int32_t>(values_.size())).second;
  if (!added || name.find('\0') != name.npos)
    return fail(LUCID_INVALID_ARGUMENT, "each value must be computed once and have a name without zeros, got '%.*s'",
                kLongestName, name.c_str());
  values_.push_back(shape);
  return ok();
}

lucid_status GraphReader::find_value(const char* reader, const std::string& name, int32_t* value) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    return fail(LUCID_INVALID_ARGUMENT, "%.*s must read what is computed before it, got '%.*s'", kLongestName, reader,
                kLongestName, name.c_str());
  *value = found->second;
  return ok();
}

}  // namespace lucid::plan
