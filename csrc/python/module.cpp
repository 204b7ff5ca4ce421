// lucid._core: lucid.h for Python. Translation only; checks and arithmetic are behind the C ABI.
#include "python/module.h"

// Named otherwise: the entry point that Python looks for stands below.
PYBIND11_MODULE(core_of_main_interpreter, module) {
  module.doc() = "Compiled kernels of lucid; see lucid.nn.functional for the public operators.";
  lucid::python::register_runtime(module);
  lucid::python::register_cuda(module);
  lucid::python::register_tensor(module);
  lucid::python::register_operators(module);
  lucid::python::register_gradients(module);
  lucid::python::register_updates(module);
  lucid::python::register_plan(module);
}

// pybind11's own preparations already wait for ever in a second interpreter of the process.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit_core_of_main_interpreter();
  PyErr_SetString(PyExc_ImportError, "lucid: only the main interpreter of a process can import it");
  return nullptr;
}
