// Records of launches, for what runs the PTX of the same kernel: its arguments, and the memory of the devices.
//
// LUCID_SIM_RECORD names a folder for the first small launch of each kernel, with all memory before and after it.
// LUCID_SIM_LAUNCHES, which is asked for at each launch, names one for every launch, which is then not run: so the
// launches of a network are there that would take the simulator hours.
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

// Writes a launch that is not to be run, and all memory at the first one; false where none is asked for.
bool write_instead(const Launch& launch, const std::vector<std::string>& arguments);

// An event is reached: launches that are written say behind how many they come.
void count_event();

}  // namespace host_sim
