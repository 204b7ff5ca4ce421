// The start of a kernel, with the checks of a device's limits.
#pragma once

#include <functional>
#include <string>
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

struct Arguments {
  std::vector<const void*> pointers;  // those that are pointers
  std::vector<std::string> bytes;     // of each
};

// `body` is the kernel with its arguments, which every thread calls.
cudaError_t launch(const Launch& launch, Arguments arguments, std::function<void()> body);

cudaError_t allow_dynamic_shared_memory(const void* kernel, size_t bytes);

template <class... Parameters>
cudaError_t launch(const Launch& how, void (*kernel)(Parameters...), std::tuple<Parameters...> arguments) {
  Arguments seen;
  const auto see = [&](const auto& argument) {
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(argument)>>) seen.pointers.push_back(argument);
    seen.bytes.emplace_back(reinterpret_cast<const char*>(&argument), sizeof argument);
  };
  std::apply([&](const auto&... argument) { (see(argument), ...); }, arguments);
  return launch(how, std::move(seen), [kernel, arguments = std::move(arguments)] { std::apply(kernel, arguments); });
}

}  // namespace host_sim
