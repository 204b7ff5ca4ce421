// What conv2d and the convolutions of a plan share: the shape rule, the choice of an algorithm, the shares of threads.
#pragma once

#include "cpu/conv2d_problem.h"
#include "lucid.h"

namespace lucid {

// Checks everything but y, and gives the geometry. Reads no data. `op` opens the message.
lucid_status check_conv2d(const char* op, const lucid_conv2d_args& args, Conv2dShape* shape);

// Checked arguments but for y, as the caller laid them out.
Conv2d view_conv2d(const lucid_conv2d_args& args, const Conv2dShape& shape);

// The best algorithm on the instruction set in use, or the one named.
lucid_status choose_conv2d(const Conv2dShape& shape, const Conv2dOptions& options, const char* name,
                           const Conv2dAlgorithm** algorithm);

// Computes p.operands.y on the threads that there are.
lucid_status compute_conv2d(const char* op, const Conv2d& p, const Conv2dAlgorithm& algorithm);

// The output cut into at most `threads` rectangles.
class Conv2dShares {
 public:
  Conv2dShares(const Conv2dShape& shape, const Conv2dAlgorithm& algorithm, bool prepared, int64_t threads);
  int64_t count() const { return panel_parts_ * row_parts_; }
  Conv2dShare operator[](int64_t index) const;

 private:
  int64_t panels_, rows_;
  int64_t panel_parts_ = 1, row_parts_ = 1;
};

}  // namespace lucid
