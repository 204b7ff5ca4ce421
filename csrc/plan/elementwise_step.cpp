#include "plan/elementwise_step.h"

#include "plan/image_rows.h"

namespace lucid::plan {
namespace {

class ElementwiseStep final : public Step {
 public:
  ElementwiseStep(const char* name, const ElementwiseKernels& kernels, bool relu, const Value& a, const Value& b,
                  const Value& y)
      : name_(name), kernels_(kernels), relu_(relu), a_(a), b_(b), y_(y) {}
  const char* algorithm() const override { return name_; }

  void run(const Run& run, const Team& team, std::byte*) const override {
    if (!y_.image) {
      const int64_t floats = y_.n * y_.c, first = team.begin(floats);
      return apply(a_.rows(run) + first, b_.rows(run) + first, y_.rows(run) + first, team.end(floats) - first);
    }
    with_element(y_, [&](auto element) { run_on_images<decltype(element)>(run, team); });
    clear_halo(y_, run, team);
  }

 private:
  template <class Element>
  void run_on_images(const Run& run, const Team& team) const {
    const auto a = a_.view<Element>(run), b = b_.view<Element>(run), y = y_.view<Element>(run);
    for_rows(y_, team, [&](int64_t block, int64_t first, int64_t count) {
      for (int64_t row = first; row < first + count; ++row)
        apply(row_of(a, y_, block, row), row_of(b, y_, block, row), row_of(y, y_, block, row), y_.w * y.pixel);
    });
  }

  template <class Element>
  void apply(const Element* a, const Element* b, Element* y, int64_t count) const {
    ElementwiseOf<Element> p{
        .a = a, .b = b, .y = y, .dims = 1, .size = {count}, .a_stride = {1}, .b_stride = {1}, .y_stride = {1}};
    (kernels().*kernel_for<Element>(kernels_.for_float, kernels_.for_bfloat16))(p, 0, count);
    if (!relu_) return;
    p.a = y;
    kernel_for<Element>(kernels().relu, kernels().relu_bfloat16)(p, 0, count);
  }

  const char* name_;
  ElementwiseKernels kernels_;
  bool relu_;
  const Value &a_, &b_, &y_;
};

}  // namespace

std::unique_ptr<Step> elementwise_step(const char* name, const ElementwiseKernels& kernels, bool relu, const Value& a,
                                       const Value& b, const Value& y) {
  return std::make_unique<ElementwiseStep>(name, kernels, relu, a, b, y);
}

LaunchKernel elementwise_kernel(cuda::ElementwiseFunction function, bool relu, const Value& a, const Value& b,
                                const Value& y) {
  return [function, relu, &a, &b, &y](const Call& call) {
    return call.cuda.elementwise({.function = function,
                                  .dtype = call.dtype,
                                  .a = call.at(a),
                                  .b = call.at(b),
                                  .y = call.at(y),
                                  .dims = 1,
                                  .size = {y.n * y.h * y.w * y.c},
                                  .a_stride = {1},
                                  .b_stride = {1},
                                  .y_stride = {1},
                                  .relu = relu},
                                 call.stream);
  };
}

}  // namespace lucid::plan
