// The settings of the simulator, which the environment gives and a test may change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace host_sim {

inline uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Of each device. Asked for each time: a model of a GPU records the launches of one plan for several.
inline uint64_t multiprocessors() { return from_environment("LUCID_SIM_MULTIPROCESSORS", 4); }
// The compute capability, 89 for 8.9.
inline uint64_t capability() { return from_environment("LUCID_SIM_CAPABILITY", 80); }

struct Settings {
  // The order in which the threads of a block, and the blocks, run: 0 forwards, 1 backwards, all others shuffled.
  uint64_t seed = from_environment("LUCID_SIM_SEED", 0);
  // How many devices there are; 0 for a machine without any.
  uint64_t devices = from_environment("LUCID_SIM_DEVICES", 1);
  // Bytes of memory of each device.
  uint64_t memory = from_environment("LUCID_SIM_MEMORY", uint64_t{8} << 30);
  // The launch, counted from 1, that fails as by an illegal address; 0 for none.
  uint64_t fault = from_environment("LUCID_SIM_FAULT", 0);
  // Shared memory of a block, in bytes: without asking, and at most.
  size_t shared_default = 48 * 1024, shared_most = 227 * 1024;
  // Bytes of a thread's stack.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  size_t stack = 1024 * 1024;
#else
  size_t stack = 256 * 1024;
#endif
};

inline Settings& settings() {
  static Settings all;
  return all;
}

}  // namespace host_sim
