#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "ops/conv2d.h"
#include "ops/shapes.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

constexpr lucid_attribute_kind kAttributes[] = {{"stride", LUCID_ATTRIBUTE_PAIR},
                                                {"padding", LUCID_ATTRIBUTE_PADDING},
                                                {"dilation", LUCID_ATTRIBUTE_PAIR},
                                                {"groups", LUCID_ATTRIBUTE_INT},
                                                {"relu", LUCID_ATTRIBUTE_BOOL}};

// y = conv2d(x) + bias + residual, then a ReLU.
class Conv2dStep final : public Step {
 public:
  // `problem` lacks only pointers and strides.
  Conv2dStep(const Conv2dProblem& problem, const Conv2dAlgorithm& algorithm, const Operands& values)
      : problem_(problem),
        algorithm_(algorithm),
        x_(values.x()),
        residual_(values.inputs.size() > 1 ? values.inputs[1] : nullptr),
        y_(values.y) {}

  const char* algorithm() const override { return algorithm_.name; }
  bool reads_outside() const override { return algorithm_.packs_input; }
  int overwritten() const override { return residual_ != nullptr ? 1 : -1; }
  int64_t summed_rows() const override { return algorithm_.sums_rows ? algorithm_.rows(problem_) : 0; }
  void set_row_sums(const Value& sums) override { row_sums_ = &sums; }

  // The padding, and what the last tiles read beyond it.
  Halo halo() const override {
    const int64_t tile = algorithm_.output_tile;
    const auto overhang = [&](int64_t out) { return (out + tile - 1) / tile * tile - out; };
    return {.top = problem_.padding_h,
            .left = problem_.padding_w,
            .bottom = problem_.padding_h + overhang(problem_.out_h),
            .right = problem_.padding_w + overhang(problem_.out_w)};
  }

  int64_t weight_bytes() const override { return panels() * panel_floats() * kFloat; }
  void pack_weights(std::byte* packed) override {
    float* prepared = reinterpret_cast<float*>(packed);
    problem_.y = y_.view(nullptr);
    if (residual_ != nullptr) problem_.residual = residual_->view(nullptr);
    parallel_for(panels(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) algorithm_.prepare(problem_, i, prepared + i * panel_floats());
    });
    problem_.weight = problem_.bias = nullptr;  // the caller's
    problem_.prepared = prepared;
    const OutputView view = x_.view(nullptr);
    problem_.x_has_halo = !x_.stays_outside;
    if (problem_.x_has_halo) {
      problem_.x_c = 1;
      problem_.x_n = view.image, problem_.x_h = view.row, problem_.x_w = view.pixel, problem_.x_block = view.block;
    }
  }

  void prefetch(const Step* next) override { next_ = next; }
  Weights first_weights(const Team& team) const override {
    const Conv2dShares shares(problem_, algorithm_, team.size());
    const int64_t first = team.begin(shares.count());
    if (first >= shares.count()) return {};
    const float* panel = problem_.prepared + shares[first].panel_begin * panel_floats();
    return {reinterpret_cast<const std::byte*>(panel), panel_floats() * kFloat};
  }

  int64_t scratch_bytes(int team) const override {
    const Conv2dShares shares(problem_, algorithm_, team);
    int64_t floats = 0;
    for (int64_t i = 0; i < shares.count(); ++i)
      floats = std::max(floats, algorithm_.scratch_floats(problem_, shares[i]));
    return floats * kFloat;
  }

  double largest_share(int team) const override {
    const Conv2dShares shares(problem_, algorithm_, team);
    int64_t largest = 0;
    for (int64_t i = 0; i < shares.count(); ++i) {
      const Conv2dShare s = shares[i];
      largest = std::max(largest, (s.panel_end - s.panel_begin) * (s.row_end - s.row_begin));
    }
    return static_cast<double>(largest) / static_cast<double>(panels() * algorithm_.rows(problem_));
  }

  void run(const Run& run, const Team& team, std::byte* scratch) const override {
    Conv2dProblem p = problem_;
    p.y = y_.view(run.arena);
    if (residual_ != nullptr) p.residual = residual_->view(run.arena);
    if (row_sums_ != nullptr) p.row_sums = row_sums_->rows(run.arena);
    if (p.x_has_halo) {
      p.x = x_.view(run.arena).data;
    } else {
      const ImageView& x = run.inputs[x_.input];
      p.x = x.data;
      p.x_n = x.stride_n, p.x_c = x.c == 1 ? 1 : x.stride_c, p.x_h = x.stride_h, p.x_w = x.stride_w, p.x_block = kBlock;
    }
    const Conv2dShares shares(p, algorithm_, team.size());
    const Weights next = next_ != nullptr ? next_->first_weights(team) : Weights{};
    for (int64_t i = team.begin(shares.count()); i < team.end(shares.count()); ++i) {
      Conv2dShare share = shares[i];
      share.next = reinterpret_cast<const float*>(next.data);
      share.next_floats = next.bytes / kFloat;
      algorithm_.run(p, share, reinterpret_cast<float*>(scratch));
    }
    clear_halo(y_, run.arena, team);
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);
  int64_t panels() const { return algorithm_.panels(problem_); }
  int64_t panel_floats() const { return algorithm_.panel_floats(problem_); }

  Conv2dProblem problem_;
  const Conv2dAlgorithm& algorithm_;
  const Value& x_;
  const Value* residual_;
  const Value& y_;
  const Value* row_sums_ = nullptr;
  const Step* next_ = nullptr;
};

lucid_status describe(const Description& step, Conv2dProblem* problem) {
  const ShapeOnly x(step.inputs[0]);
  lucid_conv2d_args args{};
  args.x = x.get();
  args.weight = step.step.weight;
  args.bias = step.step.bias;
  std::copy_n(step.values("stride"), 2, args.stride);
  std::copy_n(step.values("padding"), 4, args.padding);
  std::copy_n(step.values("dilation"), 2, args.dilation);
  args.groups = step.integer("groups");
  return describe_conv2d(args, problem);
}

lucid_status check(const Description& step, lucid_shape* y) {
  Conv2dProblem p;
  LUCID_CHECK(describe(step, &p));
  const lucid_shape shape = make_shape({p.n, p.out_channels(), p.out_h, p.out_w});
  if (step.step.input_count > 1)
    LUCID_CHECK(check_shape("conv2d", "the residual", *ShapeOnly(step.inputs[1]).get(), shape));
  *y = shape;
  return ok();
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  Conv2dProblem p;
  const Conv2dAlgorithm* algorithm;
  LUCID_CHECK(describe(step, &p));
  p.relu = step.flag("relu");
  p.planned = true;
  p.winograd = values.winograd;
  LUCID_CHECK(choose_conv2d(p, nullptr, &algorithm));
  *made = std::make_unique<Conv2dStep>(p, *algorithm, values);
  return ok();
}

}  // namespace

const StepKind conv2d_step = {.described = {.name = "conv2d",
                                            .fewest_inputs = 1,
                                            .most_inputs = 2,
                                            .attributes = kAttributes,
                                            .attribute_count = std::size(kAttributes),
                                            .weight = LUCID_REQUIRED,
                                            .bias = LUCID_OPTIONAL},
                              .check = check,
                              .make = make};

}  // namespace lucid::plan
