#include "core/host.h"

#include <algorithm>
#include <cstring>

#include "core/arguments.h"

namespace lucid {
namespace {

thread_local Host current{};

}  // namespace

lucid_context complete_context(const lucid_context* given) {
  lucid_context context{};
  if (given == nullptr) return context;
  const size_t size = given->size == 0 ? kSizeInVersion2<lucid_context> : given->size;
  std::memcpy(&context, given, std::min(size, sizeof context));
  return context;
}

const Host& current_host() { return current; }

HostScope::HostScope(const lucid_context* context) : before_(current) {
  const lucid_context complete = complete_context(context);
  current = {.parallel_for = complete.parallel_for,
             .allocate = complete.allocate,
             .deallocate = complete.deallocate,
             .data = complete.host,
             .threads = static_cast<int>(complete.threads)};
}

HostScope::~HostScope() { current = before_; }

}  // namespace lucid
