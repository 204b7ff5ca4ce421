// The interpreter's lock is released while a kernel computes.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace lucid::python {

class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  // A daemon thread that comes back while the interpreter ends has no way on: Python up to 3.13 ends the thread by
  // unwinding its stack, which would end the process in the destructors on its way. It stays here instead, as Python
  // 3.14 has it, until the process is gone.
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(thread_);
#if defined(__GLIBCXX__)
    } catch (abi::__forced_unwind&) {
#else
    } catch (...) {
#endif
      for (;;) pause();
    }
  }

 private:
  PyThreadState* thread_;
};

}  // namespace lucid::python
