#include <array>
#include <functional>
#include <iterator>
#include <numeric>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/checks.h"
#include "plan/image_rows.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"dim", LUCID_ATTRIBUTE_INT}, {"log", LUCID_ATTRIBUTE_BOOL}};

// An image's channels lie in blocks, so its rows are gathered first.
class SoftmaxStep final : public Step {
 public:
  SoftmaxStep(int dim, bool log, const Value& x, const Value& y) : dim_(dim), log_(log), x_(x), y_(y) {}
  const char* algorithm() const override { return "softmax"; }
  int64_t scratch_bytes(int) const override { return sizes()[dim_] * static_cast<int64_t>(sizeof(float)); }

  void run(const Run& run, const Team& team, std::byte* scratch) const override {
    const std::array<int64_t, 4> size = sizes();
    const int64_t rows = y_.n * y_.c * y_.h * y_.w / size[dim_];
    for (int64_t row = team.begin(rows); row < team.end(rows); ++row)
      y_.image ? softmax_of_image(run, row, reinterpret_cast<float*>(scratch)) : softmax_of_rows(run, row);
    if (!y_.image) return;
    clear_unused_channels(y_, run, team);
    clear_halo(y_, run, team);
  }

 private:
  std::array<int64_t, 4> sizes() const { return {y_.n, y_.c, y_.h, y_.w}; }

  void softmax_of_rows(const Run& run, int64_t row) const {
    const int64_t first = dim_ == 1 ? row * y_.c : row, step = dim_ == 1 ? 1 : y_.c;
    compute(x_.rows(run) + first, y_.rows(run) + first, step);
  }

  void softmax_of_image(const Run& run, int64_t row, float* scratch) const {
    const std::array<int64_t, 4> size = sizes();
    std::array<int64_t, 4> at{};
    for (int d = 3; d >= 0; --d) {
      if (d == dim_) continue;
      at[d] = row % size[d];
      row /= size[d];
    }
    with_element(y_, [&](auto element) {
      const auto x = x_.view<decltype(element)>(run), y = y_.view<decltype(element)>(run);
      int64_t& i = at[dim_];
      for (i = 0; i < size[dim_]; ++i) scratch[i] = to_float(*x.at(at[1], at[0], at[2], at[3]));
      compute(scratch, scratch, 1);
      for (i = 0; i < size[dim_]; ++i) assign(*y.at(at[1], at[0], at[2], at[3]), scratch[i]);
    });
  }

  void compute(const float* x, float* y, int64_t step) const {
    kernels().softmax(
        {.x = x, .y = y, .size = sizes()[dim_], .x_row = 0, .x_step = step, .y_row = 0, .y_step = step, .log = log_}, 0,
        1);
  }

  int dim_;
  bool log_;
  const Value &x_, &y_;
};

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  return check_softmax({.size = 0,
                        .x = x.get(),
                        .y = nullptr,
                        .dim = static_cast<int32_t>(step.integer("dim")),
                        .log = step.flag("log"),
                        .context = nullptr},
                       y);
}

// Not negative.
int dimension(const Description& step, const Operands& values) {
  const int dim = static_cast<int>(step.integer("dim")), rank = values.y.image ? 4 : 2;
  return dim < 0 ? dim + rank : dim;
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  *made = std::make_unique<SoftmaxStep>(dimension(step, values), step.flag("log"), values.x(), values.y);
  return ok();
}

bool mixes_images(const Description& step) { return step.integer("dim") == 0; }

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  const Value& v = values.y;
  const int dim = dimension(step, values);
  // In the order of memory, in which channels come last.
  const int64_t size[4] = {v.n, v.h, v.w, v.c};
  const int at = dim == 0 ? 0 : dim == 1 ? 3 : dim - 1;
  const auto product = [&](int begin, int end) {
    return std::accumulate(size + begin, size + end, int64_t{1}, std::multiplies<>());
  };
  made->enqueue = [outer = product(0, at), size = size[at], inner = product(at + 1, 4), log = step.flag("log"),
                   &x = values.x(), &y = values.y](const Call& call) {
    return call.cuda.softmax({.dtype = call.dtype,
                              .outer = outer,
                              .size = size,
                              .inner = inner,
                              .log = log,
                              .x = call.at(x),
                              .y = call.at(y)},
                             call.stream);
  };
  return ok();
}

}  // namespace

const StepKind softmax_step = {.described = {.name = "softmax",
                                             .fewest_inputs = 1,
                                             .most_inputs = 1,
                                             .attributes = kAttributes,
                                             .attribute_count = std::size(kAttributes),
                                             .weight = LUCID_ABSENT,
                                             .bias = LUCID_ABSENT},
                               .check = check,
                               .make = make,
                               .launch = launch,
                               .mixes_images = mixes_images};

}  // namespace lucid::plan
