// Plain reads, no mapping: if another process cuts a mapped file off, touching a lost page ends the whole process.
#include "plan/tensor_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/status.h"
#include "plan/json.h"

namespace lucid::plan {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers of a safetensors file are little-endian");

constexpr uint64_t kLargestHeader = 100'000'000;  // as in the safetensors package
constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr size_t kMostDimensions = 32;  // as in lucid/tensor_file.py
constexpr int kLongestName = 80;        // in a message
constexpr int64_t kElementBytes = sizeof(float);

class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  // Without waiting, as a pipe would have it.
  lucid_status open(const char* path) {
    descriptor_ = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) return unreadable();
    struct stat found;
    if (fstat(descriptor_, &found) != 0 || !S_ISREG(found.st_mode))
      return fail(LUCID_INVALID_ARGUMENT, "it must be a file, got a folder, a pipe or a device");
    size_ = static_cast<size_t>(found.st_size);
    return ok();
  }

  size_t size() const { return size_; }

  lucid_status read(void* memory, size_t bytes) {
    auto* at = static_cast<char*>(memory);
    while (bytes > 0) {
      const ssize_t count = ::read(descriptor_, at, bytes);  // at most 2 GiB at a time on Linux
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return unreadable();
      if (count == 0) return fail(LUCID_INVALID_ARGUMENT, "it must stay as it is, got cut off while it was read");
      at += count;
      bytes -= static_cast<size_t>(count);
    }
    return ok();
  }

 private:
  static lucid_status unreadable() {
    return fail(LUCID_INVALID_ARGUMENT, "it must be a file that can be read, got '%s'",
                std::generic_category().message(errno).c_str());
  }

  int descriptor_ = -1;
  size_t size_ = 0;
};

lucid_status check_header_length(uint64_t length, size_t file_bytes) {
  if (file_bytes >= kLengthBytes && length <= std::min<uint64_t>(file_bytes - kLengthBytes, kLargestHeader))
    return ok();
  return fail(LUCID_INVALID_ARGUMENT,
              "it must be a safetensors file, got %zu bytes that cannot hold a header of %llu: of another kind, "
              "damaged or truncated",
              file_bytes, static_cast<unsigned long long>(length));
}

// Numbers of at most 63 bits; false if there is anything else.
bool read_numbers(const Json* from, std::vector<int64_t>* numbers) {
  const JsonList* list = from != nullptr ? from->as<JsonList>() : nullptr;
  if (list == nullptr) return false;
  for (const Json& entry : *list) {
    const int64_t* number = entry.as<int64_t>();
    if (number == nullptr || *number < 0) return false;
    numbers->push_back(*number);
  }
  return true;
}

// -1 if they have more than 63 bits.
int64_t bytes_of(const std::vector<int64_t>& shape) {
  if (std::count(shape.begin(), shape.end(), 0) > 0) return 0;
  int64_t bytes = kElementBytes;
  for (const int64_t size : shape)
    if (__builtin_mul_overflow(bytes, size, &bytes)) return -1;
  return bytes;
}

lucid_status read_tensor(const char* name, const Json& json, StoredTensor* tensor) {
  const JsonObject* entry = json.as<JsonObject>();
  if (entry == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%.*s must be described by an object", kLongestName, name);
  const Json* dtype = find(*entry, "dtype");
  const std::string* kind = dtype != nullptr ? dtype->as<std::string>() : nullptr;
  if (kind == nullptr || *kind != "F32")
    return fail(LUCID_INVALID_ARGUMENT, "%.*s must be float32, got %.*s", kLongestName, name, kLongestName,
                kind != nullptr ? kind->c_str() : "no dtype");
  std::vector<int64_t> offsets;
  const bool complete = read_numbers(find(*entry, "shape"), &tensor->shape) &&
                        read_numbers(find(*entry, "data_offsets"), &offsets) &&
                        tensor->shape.size() <= kMostDimensions && offsets.size() == 2;
  if (!complete)
    return fail(LUCID_INVALID_ARGUMENT, "%.*s must have a shape of at most %zu sizes and two offsets, got others",
                kLongestName, name, kMostDimensions);
  if (bytes_of(tensor->shape) != offsets[1] - offsets[0])
    return fail(LUCID_INVALID_ARGUMENT, "%.*s must have as many bytes as its shape says, got %lld", kLongestName, name,
                static_cast<long long>(offsets[1] - offsets[0]));
  tensor->begin = offsets[0];
  tensor->end = offsets[1];
  return ok();
}

}  // namespace

lucid_status TensorFile::open(const char* path) {
  File file;
  LUCID_CHECK(file.open(path));
  uint64_t length = 0;
  if (file.size() >= kLengthBytes) LUCID_CHECK(file.read(&length, kLengthBytes));
  LUCID_CHECK(check_header_length(length, file.size()));
  std::string header(length, '\0');
  LUCID_CHECK(file.read(header.data(), length));
  const size_t bytes = file.size() - kLengthBytes - length;
  LUCID_CHECK(read_header(header.data(), length, bytes));
  copy_ = std::make_unique<Scratch<std::byte>>(static_cast<int64_t>(bytes));
  if (copy_->data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "no memory for %zu bytes of tensors", bytes);
  LUCID_CHECK(file.read(copy_->data(), bytes));
  place(copy_->data());
  return ok();
}

lucid_status TensorFile::open(const void* data, size_t bytes) {
  const auto* start = static_cast<const char*>(data);
  uint64_t length = 0;
  if (bytes >= kLengthBytes) std::memcpy(&length, start, kLengthBytes);
  LUCID_CHECK(check_header_length(length, bytes));
  const size_t data_bytes = bytes - kLengthBytes - length;
  LUCID_CHECK(read_header(start + kLengthBytes, length, data_bytes));
  const char* tensors = start + kLengthBytes + length;
  if (reinterpret_cast<uintptr_t>(tensors) % kElementBytes != 0) {
    copy_ = std::make_unique<Scratch<std::byte>>(static_cast<int64_t>(data_bytes));
    if (copy_->data() == nullptr) return fail(LUCID_OUT_OF_MEMORY, "no memory for %zu bytes of tensors", data_bytes);
    std::memcpy(copy_->data(), tensors, data_bytes);
    tensors = reinterpret_cast<const char*>(copy_->data());
  }
  place(reinterpret_cast<const std::byte*>(tensors));
  return ok();
}

std::string_view TensorFile::text(const std::string& name) const {
  const auto found = texts_.find(name);
  return found != texts_.end() ? std::string_view(found->second) : std::string_view();
}

lucid_status TensorFile::read_header(const char* header, size_t header_bytes, size_t data_bytes) {
  if (header_bytes == 0 || *header != '{')
    return fail(LUCID_INVALID_ARGUMENT, "it must be a safetensors file, got a header that does not begin with {");
  Json json;
  LUCID_CHECK(parse_json({header, header_bytes}, &json));
  for (const auto& [name, entry] : *json.as<JsonObject>()) {
    if (name != "__metadata__") {
      LUCID_CHECK(read_tensor(name.c_str(), entry, &tensors_[name]));
      continue;
    }
    const JsonObject* texts = entry.as<JsonObject>();
    if (texts == nullptr) continue;
    for (const auto& [key, text] : *texts) {
      if (text.as<std::string>() == nullptr)
        return fail(LUCID_INVALID_ARGUMENT, "its __metadata__ must hold texts, got something else as %.*s",
                    kLongestName, key.c_str());
      texts_[key] = *text.as<std::string>();
    }
  }
  return check_places(data_bytes);
}

lucid_status TensorFile::check_places(size_t data_bytes) const {
  std::vector<std::pair<int64_t, int64_t>> places;
  for (const auto& [name, tensor] : tensors_) places.emplace_back(tensor.begin, tensor.end);
  std::sort(places.begin(), places.end());
  int64_t position = 0;
  for (const auto& [begin, end] : places) {
    if (begin != position)
      return fail(LUCID_INVALID_ARGUMENT, "a tensor must begin at byte %lld of the data, got %lld",
                  static_cast<long long>(position), static_cast<long long>(begin));
    position = end;
  }
  if (static_cast<size_t>(position) == data_bytes) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "its tensors must end at byte %zu of the data, got %lld", data_bytes,
              static_cast<long long>(position));
}

void TensorFile::place(const std::byte* data) {
  for (auto& [name, tensor] : tensors_) tensor.bytes = data + tensor.begin;
}

}  // namespace lucid::plan
