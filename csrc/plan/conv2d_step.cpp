#include <algorithm>
#include <iterator>

#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/conv2d.h"
#include "ops/shapes.h"
#include "plan/image_rows.h"
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
  // Of the problem's operands only the weights are read.
  Conv2dStep(const Conv2d& problem, const Conv2dAlgorithm& algorithm, const Operands& values)
      : shape_(problem.shape),
        algorithm_(&algorithm),
        given_(problem),
        relu_(problem.epilogue.relu),
        x_(values.x()),
        residual_(values.inputs.size() > 1 ? values.inputs[1] : nullptr),
        y_(values.y) {}

  const char* algorithm() const override { return algorithm_->name; }
  bool reads_outside() const override { return algorithm_->packs_input; }
  bool may_read_narrow() const override {
    return x_.is_bfloat16() && kernels().conv2d_bfloat16_narrow->accepts(shape_, {.winograd = false});
  }
  void read_narrow() override { algorithm_ = kernels().conv2d_bfloat16_narrow; }
  int overwritten() const override { return residual_ != nullptr ? 1 : -1; }
  int64_t summed_rows() const override { return algorithm_->sums_rows ? algorithm_->rows(shape_) : 0; }
  void set_row_sums(const Value& sums) override { row_sums_ = &sums; }

  // The padding, and what the last tiles read beyond it.
  Halo halo() const override {
    const int64_t tile = algorithm_->output_tile;
    const int64_t together = x_.is_bfloat16() ? kBlockOf<Bfloat16> / x_.layout.block : 1;  // columns of a step
    const int64_t beyond = (shape_.kernel_w + together - 1) / together * together - shape_.kernel_w;
    const auto overhang = [&](int64_t out) { return (out + tile - 1) / tile * tile - out; };
    return {.top = shape_.padding_top,
            .left = shape_.padding_left,
            .bottom = shape_.padding_bottom + overhang(shape_.out_h),
            .right = shape_.padding_right + overhang(shape_.out_w) + beyond};
  }

  int64_t weight_bytes() const override { return panels() * panel_bytes(); }
  void pack_weights(std::byte* packed) override {
    char* const prepared = reinterpret_cast<char*>(packed);
    parallel_for(panels(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) algorithm_->prepare(given_, i, prepared + i * panel_bytes());
    });
    prepared_ = prepared;
    given_ = {};
  }

  void prefetch(const Step* next) override { next_ = next; }
  Weights first_weights(const Team& team) const override {
    const Conv2dShares shares(shape_, *algorithm_, true, team.size());
    const int64_t first = team.begin(shares.count());
    if (first >= shares.count()) return {};
    const char* panel = prepared_ + shares[first].panel_begin * panel_bytes();
    return {reinterpret_cast<const std::byte*>(panel), panel_bytes()};
  }

  int64_t scratch_bytes(int team) const override {
    const Conv2dShares shares(shape_, *algorithm_, true, team);
    std::byte somewhere{};  // pointers that are not null are all that counts
    const Conv2d p = problem({.arena = &somewhere});
    int64_t bytes = 0;
    for (int64_t i = 0; i < shares.count(); ++i) bytes = std::max(bytes, algorithm_->scratch_bytes(p, shares[i]));
    return bytes;
  }

  double largest_share(int team) const override {
    const Conv2dShares shares(shape_, *algorithm_, true, team);
    int64_t largest = 0;
    for (int64_t i = 0; i < shares.count(); ++i) {
      const Conv2dShare s = shares[i];
      largest = std::max(largest, (s.panel_end - s.panel_begin) * (s.row_end - s.row_begin));
    }
    return static_cast<double>(largest) / static_cast<double>(panels() * algorithm_->rows(shape_));
  }

  double multiplications() const override { return shape_.multiplications(); }

  void run(const Run& run, const Team& team, std::byte* scratch) const override {
    const Conv2d p = problem(run);
    const Conv2dShares shares(shape_, *algorithm_, true, team.size());
    const Weights next = next_ != nullptr ? next_->first_weights(team) : Weights{};
    for (int64_t i = team.begin(shares.count()); i < team.end(shares.count()); ++i) {
      Conv2dShare share = shares[i];
      share.next = reinterpret_cast<const char*>(next.data);
      share.next_bytes = next.bytes;
      algorithm_->run(p, share, reinterpret_cast<char*>(scratch));
    }
    clear_halo(y_, run, team);
  }

 private:
  int64_t panels() const { return algorithm_->panels(shape_); }
  int64_t panel_bytes() const { return algorithm_->panel_bytes(shape_); }

  // The convolution of one micro-batch.
  Conv2d problem(const Run& run) const {
    Conv2d p{.shape = shape_, .operands = {}, .epilogue = {}};
    p.operands.x_has_halo = !x_.stays_outside;
    p.epilogue.relu = relu_;
    p.operands.prepared = prepared_;
    if (x_.is_bfloat16()) {
      p.bfloat16 = {.x = as_input(x_.view<Bfloat16>(run)),
                    .y = y_.view<Bfloat16>(run),
                    .residual = residual_ != nullptr ? residual_->view<Bfloat16>(run) : BlockedView<Bfloat16>{}};
      return p;
    }
    if (p.operands.x_has_halo) {
      const auto x = x_.view<float>(run);
      p.operands.x = {x.data, 1, x.block, x.image, x.row, x.pixel};
    } else if (run.inputs != nullptr) {
      const ImageView x = x_.outside(run);
      const int64_t channel = x.c == 1 ? 1 : x.stride_c;
      p.operands.x = {x.data, channel, InputView::kBlock * channel, x.stride_n, x.stride_h, x.stride_w};
    }
    p.operands.y = y_.view<float>(run);
    if (residual_ != nullptr) p.epilogue.residual = residual_->view<float>(run);
    if (row_sums_ != nullptr) p.epilogue.row_sums = row_sums_->rows(run);
    return p;
  }

  const Conv2dShape shape_;
  const Conv2dAlgorithm* algorithm_;
  Conv2d given_;  // weights and bias of the caller, until they are packed
  const bool relu_;
  const char* prepared_ = nullptr;
  const Value& x_;
  const Value* residual_;
  const Value& y_;
  const Value* row_sums_ = nullptr;
  const Step* next_ = nullptr;
};

// The arguments of the operator; `x` holds the tensor that they point to.
lucid_conv2d_args arguments(const Description& step, const ShapeOnly& x) {
  lucid_conv2d_args args{};
  args.x = x.get();
  args.weight = step.step.weight;
  args.bias = step.step.bias;
  std::copy_n(step.values("stride"), 2, args.stride);
  step.padding("padding", args.padding, args.extra_padding);
  std::copy_n(step.values("dilation"), 2, args.dilation);
  args.groups = step.integer("groups");
  return args;
}

lucid_status check(const Description& step, lucid_shape* y) {
  const ShapeOnly x(step.inputs[0]);
  Conv2dShape s;
  LUCID_CHECK(check_conv2d("conv2d", arguments(step, x), &s));
  const lucid_shape shape = make_shape({s.n, s.out_channels(), s.out_h, s.out_w});
  if (step.step.input_count > 1)
    LUCID_CHECK(check_shape("conv2d", "the residual", *ShapeOnly(step.inputs[1]).get(), shape));
  *y = shape;
  return ok();
}

// The last of them accepts every shape.
const Conv2dAlgorithm* choose_conv2d_bfloat16(const Conv2dShape& shape) {
  const Conv2dAlgorithm* const* algorithm = kernels().conv2d_bfloat16;
  while (!(*algorithm)->accepts(shape, {.winograd = false})) ++algorithm;
  return *algorithm;
}

lucid_status make(const Description& step, const Operands& values, std::unique_ptr<Step>* made) {
  const ShapeOnly x(step.inputs[0]);
  const lucid_conv2d_args args = arguments(step, x);
  Conv2dShape shape;
  const Conv2dAlgorithm* algorithm;
  LUCID_CHECK(check_conv2d("conv2d", args, &shape));
  const Conv2dOptions options{.winograd = values.winograd};
  if (values.bfloat16)
    algorithm = choose_conv2d_bfloat16(shape);
  else
    LUCID_CHECK(choose_conv2d(shape, options, nullptr, &algorithm));
  Conv2d problem = view_conv2d(args, shape);
  problem.epilogue.relu = step.flag("relu");
  *made = std::make_unique<Conv2dStep>(problem, *algorithm, values);
  return ok();
}

lucid_status launch(const Description& step, const Operands& values, Launch* made) {
  const ShapeOnly input(step.inputs[0]);
  Conv2dShape shape;
  LUCID_CHECK(check_conv2d("conv2d", arguments(step, input), &shape));
  const Value* residual = values.inputs.size() > 1 ? values.inputs[1] : nullptr;
  made->overwritten = residual != nullptr ? 1 : -1;
  made->constants = {conv2d_constant(step.step.weight, shape), vector_constant(step.step.bias)};
  made->enqueue = [shape, residual, relu = step.flag("relu"), &x = values.x(), &y = values.y](const Call& call) {
    return call.cuda.conv2d({.shape = shape,
                             .dtype = call.dtype,
                             .algorithm = nullptr,
                             .tf32 = call.tf32,
                             .x = call.at(x),
                             .packed = call.constant(0),
                             .bias = call.vector(1),
                             .residual = residual != nullptr ? call.at(*residual) : nullptr,
                             .relu = relu,
                             .y = call.at(y)},
                            call.stream);
  };
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
                              .make = make,
                              .launch = launch};

}  // namespace lucid::plan
