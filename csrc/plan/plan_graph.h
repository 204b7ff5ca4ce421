// The graph of a plan file, from JSON to a description for lucid_plan_create().
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor_view.h"
#include "lucid.h"
#include "plan/json.h"
#include "plan/tensor_file.h"

namespace lucid::plan {

// CRC-32 in eight hexadecimal digits.
std::string checksum(const void* data, size_t bytes);

// Checks types, names, weights and their checksums, and each step by its kind. What a description points to lives as
// long as the reader, the file and the JSON.
class GraphReader {
 public:
  explicit GraphReader(const TensorFile& file) : file_(file) {}

  lucid_status read(const Json& graph);
  // The dtype only where none is given.
  void describe(lucid_plan_args* args) const;
  const std::vector<std::string>& input_names() const { return input_names_; }
  const std::vector<std::string>& output_names() const { return output_names_; }

 private:
  // What a step points to.
  struct Parts {
    std::vector<int32_t> inputs;
    std::vector<lucid_attribute> attributes;
    lucid_tensor weight, bias;
  };

  lucid_status read_dtype(const JsonObject& fields);
  lucid_status read_input(const std::string& name, const Json& json);
  lucid_status read_output(const Json& json);
  lucid_status read_node(const Json& json);
  lucid_status read_node_inputs(const std::string& node, const JsonList& names, std::vector<int32_t>* inputs);
  lucid_status read_pixels(const JsonObject& inputs);
  lucid_status read_scale(const std::string& input, const lucid_shape& shape, const Json& json, lucid_pixels* pixels);
  lucid_status read_weights(const std::string& node, const JsonObject& weights, Parts* parts, lucid_plan_step* step);
  lucid_status find_tensor(const std::string& name, const Json& expected, const StoredTensor** stored);
  lucid_status add_value(const std::string& name, const lucid_shape& shape);
  lucid_status find_value(const char* reader, const std::string& name, int32_t* value) const;

  const TensorFile& file_;
  std::unordered_map<std::string, int32_t> index_;  // of values by name
  std::vector<lucid_shape> values_;
  std::vector<lucid_plan_step> steps_;
  std::vector<int32_t> inputs_, outputs_;
  std::vector<lucid_pixels> pixels_;  // of the inputs
  std::vector<std::string> input_names_, output_names_;
  std::deque<Parts> parts_;  // stay where they are
  bool winograd_ = false;
  lucid_dtype dtype_ = kFloat32;
  size_t used_tensors_ = 0;
};

}  // namespace lucid::plan
