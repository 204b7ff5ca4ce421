// The second layout of images in bfloat16.
#pragma once

#include <cstdint>

namespace lucid {

// Channels of a block where an image has no more and only convolutions read it: those of a photograph would fill a
// tenth of a cache line, and 2 ms of ResNeXt-50's 14 would pass before its second layer.
constexpr int64_t kNarrowBlock = 4;

}  // namespace lucid
