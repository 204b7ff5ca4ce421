// Records of launches, for tests that run the PTX of the same kernel: its arguments, and all memory of the devices
// before and after. LUCID_SIM_RECORD names the folder.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cuda/host_sim/launch.h"

namespace host_sim {

bool is_recording();

// Writes the record of a launch, if it is the first small one of its kernel.
class Record {
 public:
  Record(const Launch& launch, const std::vector<std::string>& arguments);
  // Behind the launch.
  void finish() const;

 private:
  std::string folder_;  // or none
};

}  // namespace host_sim
