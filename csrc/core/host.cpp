#include "core/host.h"

#include "core/arguments.h"

namespace lucid {
namespace {

thread_local Host current{};

}  // namespace

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
