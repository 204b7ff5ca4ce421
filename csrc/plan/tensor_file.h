// A safetensors file (https://huggingface.co/docs/safetensors) in memory: 8 bytes with the length of a JSON header, the
// header, the tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"
#include "lucid.h"

namespace lucid::plan {

// A float32 tensor in row-major order.
struct StoredTensor {
  std::vector<int64_t> shape;
  int64_t begin, end;      // bytes from the first tensor
  const std::byte* bytes;  // aligned to an element

  size_t size() const { return static_cast<size_t>(end - begin); }
};

// The file is checked as in lucid/tensor_file.py: its tensors must fill it without gaps, overlaps or bytes left over,
// each as long as its shape says. All must be float32, which is all that a plan has.
class TensorFile {
 public:
  lucid_status open(const char* path);
  // Copies the tensors only if they are not aligned; else `data` must outlive the object.
  lucid_status open(const void* data, size_t bytes);

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  // A text of the header; "" if there is none of that name.
  std::string_view text(const std::string& name) const;

 private:
  lucid_status read_header(const char* header, size_t header_bytes, size_t data_bytes);
  lucid_status check_places(size_t data_bytes) const;
  void place(const std::byte* data);

  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, std::string> texts_;
  std::unique_ptr<Scratch<std::byte>> copy_;
};

}  // namespace lucid::plan
