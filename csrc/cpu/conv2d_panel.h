// Panels of output channels: two vectors wide as a rule, and inside a group.
#pragma once

#include "blocking.h"
#include "cpu/conv2d_problem.h"
#include "cpu/integers.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

constexpr int64_t kPanel = kTileVectors * F32::kLanes;

inline int64_t panels_in_group(const Conv2dShape& s) { return ceil_div(s.out_group, kPanel); }
inline int64_t panels_of_groups(const Conv2dShape& s) { return s.groups * panels_in_group(s); }

// The output channels of a panel.
struct Panel {
  int64_t group, channel, outputs;
  int64_t width;  // kPanel, or one vector where that is enough

  Panel(const Conv2dShape& s, int64_t panel) {
    group = panel / panels_in_group(s);
    const int64_t first = panel % panels_in_group(s) * kPanel;
    channel = group * s.out_group + first;
    outputs = min(kPanel, s.out_group - first);
    width = outputs <= F32::kLanes ? F32::kLanes : kPanel;
  }
};

}  // namespace lucid::LUCID_ISA
