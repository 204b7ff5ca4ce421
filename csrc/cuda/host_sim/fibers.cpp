#include "cuda/host_sim/fibers.h"

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>

#include "cuda/host_sim/sanitizers.h"
#include "cuda/host_sim/settings.h"

#ifdef __x86_64__
// Keeps what a called function must keep on the stack, and changes stacks. swapcontext() asks the system for the mask
// of signals each time, which makes it 20 times slower.
extern "C" void host_sim_switch(void** stack_pointer, void* to);
asm(R"(
.text
.type host_sim_switch,@function
host_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size host_sim_switch,.-host_sim_switch
)");
#endif

namespace host_sim {
namespace {

// Behind a switch, the context that was left.
Context* left = nullptr;

char* new_stack(size_t bytes) {
  constexpr size_t kPage = 4096;  // below the stack, for one that overflows
  void* memory =
      mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the stacks of a block's threads");
  mprotect(memory, kPage, PROT_NONE);
  return static_cast<char*>(memory) + kPage;
}

}  // namespace

void make_context(Context& context, void (*run)()) {
  context.stack_bytes = settings().stack;
  char* stack = new_stack(context.stack_bytes);
  context.stack = stack;
#ifdef __x86_64__
  void** top = reinterpret_cast<void**>(stack + context.stack_bytes);
  *--top = nullptr;  // where a return address would be: a function begins 8 bytes off a multiple of 16
  *--top = reinterpret_cast<void*>(run);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
#else
  getcontext(&context.registers);
  context.registers.uc_stack.ss_sp = stack;
  context.registers.uc_stack.ss_size = context.stack_bytes;
  context.registers.uc_link = nullptr;
  makecontext(&context.registers, run, 0);
#endif
#ifdef __SANITIZE_THREAD__
  context.tsan_fiber = __tsan_create_fiber(0);
#endif
}

HOST_SIM_UNSEEN void entered([[maybe_unused]] Context& context) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(context.fake_stack, &left->stack, &left->stack_bytes);
#endif
}

void adopt_thread([[maybe_unused]] Context& context) {
#ifdef __SANITIZE_THREAD__
  context.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void switch_context(Context& from, Context& to) {
  left = &from;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(to.tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __x86_64__
  host_sim_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.registers, &to.registers);
#endif
  entered(from);
}

}  // namespace host_sim
