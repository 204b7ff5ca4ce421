#include "core/arguments.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

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
  if ((context.allocate != nullptr) != (context.deallocate != nullptr))
    return fail(LUCID_INVALID_ARGUMENT, "%s: context: allocate and deallocate must be given together, got one", op);
  if (context.threads < 0 || context.threads > kMostThreads)
    return fail(LUCID_INVALID_ARGUMENT, "%s: context: threads must be between 0 and %d, got %lld", op, kMostThreads,
                static_cast<long long>(context.threads));
  return ok();
}

void* stream_of(const lucid_context* context) { return complete_context(context).stream; }

bool allows_tf32(const lucid_context* context) { return complete_context(context).tf32 != 0; }

lucid_status check_no_stream(const char* op, const lucid_context* context) {
  if (stream_of(context) == nullptr) return ok();
  return fail(LUCID_UNSUPPORTED, "%s: context: stream must be NULL on the CPU, got a pointer", op);
}

}  // namespace lucid
