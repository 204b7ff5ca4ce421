// The start of a kernel, with the checks of a device's limits.
#pragma once

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda/host_sim/runtime_types.h"
#include "cuda/host_sim/types.h"

namespace host_sim {

struct Launch {
  const void* kernel;  // by which its attributes are found
  dim3 grid, block;
  size_t shared;
  Stream* stream;
  const char* file;  // of the launch
  int line;
};

// `body` is the kernel with its arguments, which every thread calls; `pointers` are those among the arguments.
cudaError_t launch(const Launch& launch, std::vector<const void*> pointers, std::function<void()> body);

cudaError_t allow_dynamic_shared_memory(const void* kernel, size_t bytes);

template <class... Parameters>
cudaError_t launch(const Launch& how, void (*kernel)(Parameters...), std::tuple<Parameters...> arguments) {
  std::vector<const void*> pointers;
  const auto add = [&](const auto& argument) {
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(argument)>>) pointers.push_back(argument);
  };
  std::apply([&](const auto&... argument) { (add(argument), ...); }, arguments);
  return launch(how, std::move(pointers),
                [kernel, arguments = std::move(arguments)] { std::apply(kernel, arguments); });
}

}  // namespace host_sim
