// What the context of a call lends it: the host's threads and memory.
#pragma once

#include <cstdint>

#include "lucid.h"

namespace lucid {

// A context that has passed check_context(), or null, as this library knows it: zeros for null.
lucid_context complete_context(const lucid_context* context);

struct Host {
  void (*parallel_for)(void* host, int64_t tasks, void (*task)(void* data, int64_t index), void* data);
  void* (*allocate)(void* host, size_t bytes);
  void (*deallocate)(void* host, void* memory);
  void* data;
  int threads;  // with parallel_for into how many tasks work is cut, else the most of the library's own; 0 for as many
                // as the library would have
};

// That of the call in which this thread is; all zeros without one. It is not an argument, since every operator would
// hand it to everything that allocates or splits work.
const Host& current_host();

// Makes the host of a context, which has passed check_context() or is null, that of this thread until the end of the
// scope. A call inside of a host's function has a scope of its own.
class HostScope {
 public:
  explicit HostScope(const lucid_context* context);
  HostScope(const HostScope&) = delete;
  HostScope& operator=(const HostScope&) = delete;
  ~HostScope();

 private:
  Host before_;
};

}  // namespace lucid
