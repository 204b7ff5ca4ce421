#include "core/arguments.h"

#include <algorithm>
#include <cstring>

namespace lucid {
namespace {

// Longer than any struct will be; what claims more is not a size.
constexpr size_t kLargest = 4096;

}  // namespace

lucid_status complete(const char* op, const void* given, size_t version2, size_t known, void* args) {
  if (given == nullptr) return fail(LUCID_INVALID_ARGUMENT, "%s: args must be a struct, got NULL", op);
  size_t size;
  std::memcpy(&size, given, sizeof size);
  if (size == 0) size = version2;
  if (size < sizeof size || size > kLargest)
    return fail(LUCID_INVALID_ARGUMENT, "%s: size must be that of the struct or 0, got %zu", op, size);
  const auto* bytes = static_cast<const unsigned char*>(given);
  if (size > known && std::any_of(bytes + known, bytes + size, [](unsigned char byte) { return byte != 0; }))
    return fail(LUCID_UNSUPPORTED, "%s: fields behind the first %zu bytes must be 0 in lucid %s, got others", op, known,
                lucid_version());
  std::memset(args, 0, known);
  std::memcpy(args, given, std::min(size, known));
  return ok();
}

lucid_status check_context(const char* op, const lucid_context* given) {
  if (given == nullptr) return ok();
  lucid_context context;
  LUCID_CHECK(complete(op, given, kSizeInVersion2<lucid_context>, sizeof context, &context));
  const char* used = context.parallel_for != nullptr ? "parallel_for"
                     : context.allocate != nullptr   ? "allocate"
                     : context.deallocate != nullptr ? "deallocate"
                     : context.host != nullptr       ? "host"
                                                     : nullptr;
  if (used == nullptr) return ok();
  return fail(LUCID_UNSUPPORTED, "%s: context: %s is not used yet and must be NULL, got a pointer", op, used);
}

void* stream_of(const lucid_context* given) {
  if (given == nullptr) return nullptr;
  constexpr size_t kEnd = offsetof(lucid_context, stream) + sizeof given->stream;
  return given->size == 0 || given->size >= kEnd ? given->stream : nullptr;
}

bool allows_tf32(const lucid_context* given) {
  constexpr size_t kEnd = offsetof(lucid_context, tf32) + sizeof given->tf32;
  return given != nullptr && given->size >= kEnd && given->tf32 != 0;
}

lucid_status check_no_stream(const char* op, const lucid_context* context) {
  if (stream_of(context) == nullptr) return ok();
  return fail(LUCID_UNSUPPORTED, "%s: context: stream must be NULL on the CPU, got a pointer", op);
}

}  // namespace lucid
