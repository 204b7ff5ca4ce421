// Pools over windows: the kernels of max_pool2d and avg_pool2d; on the CPU block by block.
#pragma once

#include "cpu/kernels.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {

template <class Pool>
class PoolStep final : public Step {
 public:
  using Kernel = void (*Kernels::*)(const Pool&, int64_t begin, int64_t end);

  // `pool` lacks only the memory.
  PoolStep(const char* name, Kernel kernel, const Pool& pool, const Value& x, const Value& y)
      : name_(name), kernel_(kernel), pool_(pool), x_(x), y_(y) {
    pool_.c = kBlock;
  }
  const char* algorithm() const override { return name_; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    const OutputView x = x_.view(run.arena), y = y_.view(run.arena);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      Pool pool = pool_;
      pool.x = block_of<const float>(x, block);
      pool.y = block_of<float>(y, block);
      (kernels().*kernel_)(pool, first, first + count);
    });
    clear_halo(y_, run.arena, team);
  }

 private:
  const char* name_;
  Kernel kernel_;
  Pool pool_;
  const Value &x_, &y_;
};

// The kernel of both averages on CUDA.
inline LaunchKernel avg_pool2d_kernel(const AvgPool2d& pool, const Value& x, const Value& y) {
  return [h = pool.h, w = pool.w, count_include_pad = pool.count_include_pad, divisor = pool.divisor, &x,
          &y](const Call& call) {
    return call.cuda.avg_pool2d({.dtype = call.dtype,
                                 .n = y.n,
                                 .c = y.c,
                                 .h = h,
                                 .w = w,
                                 .count_include_pad = count_include_pad,
                                 .divisor = divisor,
                                 .x = call.at(x),
                                 .y = call.at(y)},
                                call.stream);
  };
}

}  // namespace lucid::plan
