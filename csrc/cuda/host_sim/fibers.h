// Fibers: each CUDA thread has a stack of its own, and gives the processor away where it has to wait.
#pragma once

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace host_sim {

struct Context {
#ifdef __x86_64__
  void* stack_pointer = nullptr;
#else
  ucontext_t registers;
#endif
  // For the sanitizers.
  const void* stack = nullptr;
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

// A new stack on which `run`, which never returns, begins at the first switch. It must call entered() first.
void make_context(Context& context, void (*run)());
void entered(Context& context);
// Of the operating system's thread that is about to switch to fibers.
void adopt_thread(Context& context);
void switch_context(Context& from, Context& to);

}  // namespace host_sim
