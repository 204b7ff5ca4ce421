// lucid._core: lucid.h for Python. Translation only; checks and arithmetic are behind the C ABI.
#include "python/module.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled kernels of lucid; see lucid.nn.functional for the public operators.";
  lucid::python::register_runtime(module);
  lucid::python::register_tensor(module);
  lucid::python::register_operators(module);
  lucid::python::register_plan(module);
}
