#include <pybind11/stl.h>

#include <map>
#include <string>

#include "python/arrays.h"
#include "python/module.h"

namespace lucid::python {
namespace {

std::map<std::string, std::string> build_info() {
  std::map<std::string, std::string> info;
  for (const std::string& line : split(lucid_build_info(), '\n')) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) info[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return info;
}

template <lucid_status (*measure)(double*)>
double measured() {
  double rate = 0.0;
  lucid_status status;
  {
    const WithoutGil released;
    status = measure(&rate);
  }
  check(status);
  return rate;
}

}  // namespace

void register_runtime(py::module_& module) {
  module.def("version", [] { return std::string(lucid_version()); });
  module.def("build_info", build_info);
  module.def("isa", [] { return std::string(lucid_isa()); });
  module.def("isas", [] { return split(lucid_isas(), ','); });
  module.def("set_isa", [](const std::string& name) { check(lucid_set_isa(name.c_str())); }, py::arg("name"));
  module.def("num_threads", lucid_num_threads);
  module.def("set_num_threads", [](int32_t threads) { check(lucid_set_num_threads(threads)); }, py::arg("threads"));
  module.def("release_memory", lucid_release_memory);
  module.def("fma_peak", measured<lucid_fma_peak>);
  module.def("matrix_peak", measured<lucid_matrix_peak>);
  module.def("memory_bandwidth", measured<lucid_memory_bandwidth>);
}

}  // namespace lucid::python
