// Pools over windows: the kernels of max_pool2d and avg_pool2d; on the CPU block by block.
#pragma once

#include "cpu/kernels.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {

template <class Element>
MaxPool2dOf<Element> on_views(const MaxPool2d& p, const BlockedView<Element>& x, const BlockedView<Element>& y) {
  return {.x = as_input(x),
          .y = y,
          .c = kBlockOf<Element>,
          .h = p.h,
          .w = p.w,
          .indices = nullptr,
          .indices_image = 0,
          .indices_channel = 0,
          .indices_row = 0,
          .indices_pixel = 0};
}

template <class Element>
AvgPool2dOf<Element> on_views(const AvgPool2d& p, const BlockedView<Element>& x, const BlockedView<Element>& y) {
  return {.x = as_input(x),
          .y = y,
          .c = kBlockOf<Element>,
          .h = p.h,
          .w = p.w,
          .count_include_pad = p.count_include_pad,
          .divisor = p.divisor};
}

template <template <class> class Pool>
class PoolStep final : public Step {
 public:
  template <class Element>
  using Kernel = void (*Kernels::*)(const Pool<Element>&, int64_t begin, int64_t end);

  // `pool` lacks only the memory.
  PoolStep(const char* name, Kernel<float> for_float, Kernel<Bfloat16> for_bfloat16, const Pool<float>& pool,
           const Value& x, const Value& y)
      : name_(name), for_float_(for_float), for_bfloat16_(for_bfloat16), pool_(pool), x_(x), y_(y) {}
  const char* algorithm() const override { return name_; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    with_element(y_, [&](auto element) {
      using Element = decltype(element);
      const auto x = x_.view<Element>(run), y = y_.view<Element>(run);
      for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
        (kernels().*kernel_for<Element>(for_float_, for_bfloat16_))(
            on_views(pool_, block_of(x, block), block_of(y, block)), first, first + count);
      });
    });
    clear_halo(y_, run, team);
  }

 private:
  const char* name_;
  Kernel<float> for_float_;
  Kernel<Bfloat16> for_bfloat16_;
  Pool<float> pool_;
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
