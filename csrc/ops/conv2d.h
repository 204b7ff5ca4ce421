// What conv2d and the convolutions of a plan share: the checks, and the shares of threads.
#pragma once

#include "cpu/conv2d.h"
#include "lucid.h"

namespace lucid {

// Checks everything but y, and fills in the problem but for y. Reads no data.
lucid_status describe_conv2d(const lucid_conv2d_args& args, Conv2dProblem* problem);

// The best algorithm on the instruction set in use, or the one named.
lucid_status choose_conv2d(const Conv2dProblem& problem, const char* name, const Conv2dAlgorithm** algorithm);

// The output cut into at most `threads` rectangles.
class Conv2dShares {
 public:
  Conv2dShares(const Conv2dProblem& problem, const Conv2dAlgorithm& algorithm, int64_t threads);
  int64_t count() const { return panel_parts_ * row_parts_; }
  Conv2dShare operator[](int64_t index) const;

 private:
  int64_t panels_, rows_;
  int64_t panel_parts_ = 1, row_parts_ = 1;
};

}  // namespace lucid
