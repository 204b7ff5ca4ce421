// The parts of lucid._core, one function a file.
#pragma once

#include <pybind11/pybind11.h>

namespace lucid::python {

void register_runtime(pybind11::module_& module);    // instruction sets, threads, build
void register_tensor(pybind11::module_& module);     // TensorBase
void register_operators(pybind11::module_& module);  // one function an operator
void register_gradients(pybind11::module_& module);  // one function a gradient
void register_updates(pybind11::module_& module);    // one function an update of a parameter
void register_cuda(pybind11::module_& module);       // DeviceArray, streams, events, the plugin
void register_plan(pybind11::module_& module);       // Plan

}  // namespace lucid::python
