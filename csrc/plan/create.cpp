// From a description to a plan: checks everything, chooses algorithms and layouts, places values, packs weights.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "core/status.h"
#include "ops/conv2d.h"
#include "ops/pool2d.h"
#include "ops/shapes.h"
#include "ops/staging.h"
#include "plan/description.h"
#include "plan/steps.h"

namespace lucid::plan {
namespace {

using Long = long long;  // what %lld prints

constexpr int64_t kMostFloats = int64_t{1} << 40;  // of one value
constexpr int kMostItems = 1 << 20;                // values, steps

// What the checks found out about a step.
struct Checked {
  Conv2dProblem conv2d;
  const Conv2dAlgorithm* algorithm = nullptr;
  Pool2d pool;
  int row_sums = -1;  // of a convolution and of the global pooling that reads it: their value, or -1
};

class Builder {
 public:
  Builder(const lucid_plan_args& args, lucid_plan& plan) : args_(args), plan_(plan), checked_(args.step_count) {}

  lucid_status build() {
    LUCID_CHECK(read_values());
    for (int i = 0; i < args_.step_count; ++i)
      if (const lucid_status status = check_step(i); status != LUCID_OK) {
        const std::string reason = lucid_last_error();
        return fail(status, "plan: step %d: %s", i, reason.c_str());
      }
    for (int i = 0; i < args_.output_count; ++i)
      if (!ready(args_.outputs[i])) return fail(LUCID_INVALID_ARGUMENT, "plan: output %d is computed by no step", i);
    lay_out();
    share_row_sums();
    find_lifetimes();
    share_places();
    assign_offsets(plan_.values, &plan_.arena_floats);
    return make_steps();
  }

 private:
  bool exists(int value) const { return value >= 0 && value < args_.value_count; }
  bool ready(int value) const { return exists(value) && ready_[value]; }
  Value& value(int index) { return plan_.values[index]; }
  const lucid_plan_step& step(int index) const { return args_.steps[index]; }

  lucid_status read_values() {
    for (const auto& [count, name] : {std::pair{args_.value_count, "values"}, std::pair{args_.step_count, "steps"},
                                      std::pair{args_.input_count, "inputs"}, std::pair{args_.output_count, "outputs"}})
      if (count < (std::strcmp(name, "steps") == 0 ? 0 : 1) || count > kMostItems)
        return fail(LUCID_INVALID_ARGUMENT, "plan: the number of %s must be between 1 and %d, got %d", name, kMostItems,
                    count);
    plan_.values.resize(args_.value_count);
    ready_.assign(args_.value_count, false);
    for (int i = 0; i < args_.value_count; ++i) {
      const lucid_plan_value& described = args_.values[i];
      if (described.rank != 4 && described.rank != 2)
        return fail(LUCID_INVALID_ARGUMENT, "plan: value %d must have rank 4 or 2, got %d", i, described.rank);
      int64_t floats = 1;
      for (int d = 0; d < described.rank; ++d)
        if (described.shape[d] < 1 || __builtin_mul_overflow(floats, described.shape[d], &floats) ||
            floats > kMostFloats)
          return fail(LUCID_INVALID_ARGUMENT, "plan: sizes of value %d must be positive and not too large, got %s", i,
                      ShapeText(described.shape, described.rank).c_str());
      Value& v = value(i);
      v.image = described.rank == 4;
      v.n = described.shape[0], v.c = described.shape[1];
      if (v.image) v.h = described.shape[2], v.w = described.shape[3];
    }
    for (int i = 0; i < args_.input_count; ++i) {
      if (!exists(args_.inputs[i]) || ready_[args_.inputs[i]])
        return fail(LUCID_INVALID_ARGUMENT, "plan: input %d must be a value of its own, got %d", i, args_.inputs[i]);
      ready_[args_.inputs[i]] = true;
      value(args_.inputs[i]).input = i;
    }
    plan_.inputs.assign(args_.inputs, args_.inputs + args_.input_count);
    plan_.outputs.assign(args_.outputs, args_.outputs + args_.output_count);
    plan_.described_steps = args_.step_count;
    return ok();
  }

  lucid_status check_step(int index) {
    const lucid_plan_step& s = step(index);
    const bool two = s.kind == LUCID_STEP_ADD || s.kind == LUCID_STEP_SPLIT_ATTENTION ||
                     (s.kind == LUCID_STEP_CONV2D && s.other != -1);
    if (!ready(s.input) || (two && !ready(s.other)))
      return fail(LUCID_INVALID_ARGUMENT, "its inputs must be computed before it, got values %d and %d", s.input,
                  s.other);
    if (!exists(s.output) || ready_[s.output])
      return fail(LUCID_INVALID_ARGUMENT, "its output must be a value that nothing else computes, got %d", s.output);
    LUCID_CHECK(check_shapes(index, s));
    ready_[s.output] = true;
    return ok();
  }

  lucid_status expect(const char* op, int index, std::initializer_list<int64_t> shape) {
    const Value& v = value(index);
    if (v.image != (shape.size() == 4))
      return fail(LUCID_INVALID_ARGUMENT, "%s: value %d must have rank %zu", op, index, shape.size());
    return check_shape(op, "the value", *ShapeOnly(v).get(), shape);
  }
  lucid_status expect_like(const char* op, int index, int other) {
    const Value& v = value(other);
    if (!v.image) return expect(op, index, {v.n, v.c});
    return expect(op, index, {v.n, v.c, v.h, v.w});
  }
  lucid_status expect_rank(const char* op, int index, int rank) {
    if (value(index).image != (rank == 4))
      return fail(LUCID_INVALID_ARGUMENT, "%s: value %d must have rank %d", op, index, rank);
    return ok();
  }

  lucid_status check_shapes(int index, const lucid_plan_step& s) {
    const Value& x = value(s.input);
    switch (s.kind) {
      case LUCID_STEP_CONV2D: return check_conv2d(index, s);
      case LUCID_STEP_POOL2D: return check_pool2d(index, s);
      case LUCID_STEP_GLOBAL_AVG_POOL2D:
        LUCID_CHECK(expect_rank("global_avg_pool2d", s.input, 4));
        if (s.radix < 1 || x.c % s.radix != 0)
          return fail(LUCID_INVALID_ARGUMENT, "global_avg_pool2d: radix must divide %lld channels, got %lld", Long{x.c},
                      Long{s.radix});
        return expect("global_avg_pool2d", s.output, {x.n, x.c / s.radix});
      case LUCID_STEP_LINEAR: return check_linear(s);
      case LUCID_STEP_SPLIT_ATTENTION:
        LUCID_CHECK(expect_rank("split_attention", s.input, 4));
        if (s.radix < 1 || x.c % s.radix != 0 || s.cardinality < 1 || x.c / s.radix % s.cardinality != 0)
          return fail(LUCID_INVALID_ARGUMENT,
                      "split_attention: radix and cardinality must divide %lld channels, got %lld and %lld", Long{x.c},
                      Long{s.radix}, Long{s.cardinality});
        LUCID_CHECK(expect("split_attention", s.other, {x.n, x.c}));
        return expect("split_attention", s.output, {x.n, x.c / s.radix, x.h, x.w});
      case LUCID_STEP_BATCH_NORM: {
        VectorView scale, shift;
        LUCID_CHECK(view_vector("batch_norm", "weight", s.weight, x.c, &scale));
        LUCID_CHECK(view_vector("batch_norm", "bias", s.bias, x.c, &shift));
        return expect_like("batch_norm", s.output, s.input);
      }
      case LUCID_STEP_ADD:
        LUCID_CHECK(expect_like("add", s.other, s.input));
        return expect_like("add", s.output, s.input);
      case LUCID_STEP_RELU: return expect_like("relu", s.output, s.input);
      case LUCID_STEP_SIGMOID: return expect_like("sigmoid", s.output, s.input);
      case LUCID_STEP_SOFTMAX:
        LUCID_CHECK(expect_rank("softmax", s.input, 2));
        return expect_like("softmax", s.output, s.input);
      case LUCID_STEP_FLATTEN:
        LUCID_CHECK(expect_rank("flatten", s.input, 4));
        return expect("flatten", s.output, {x.n, x.c * x.h * x.w});
      case LUCID_STEP_UNFLATTEN:
        LUCID_CHECK(expect_rank("unflatten", s.input, 2));
        return expect("unflatten", s.output, {x.n, x.c, 1, 1});
      default: return fail(LUCID_INVALID_ARGUMENT, "its kind must be a lucid_step_kind, got %d", s.kind);
    }
  }

  lucid_status check_conv2d(int index, const lucid_plan_step& s) {
    LUCID_CHECK(expect_rank("conv2d", s.input, 4));
    const ShapeOnly x(value(s.input));
    const lucid_conv2d_args args{.x = x.get(),
                                 .weight = s.weight,
                                 .bias = s.bias,
                                 .y = nullptr,
                                 .stride = {s.stride[0], s.stride[1]},
                                 .padding = {s.padding[0], s.padding[1]},
                                 .dilation = {s.dilation[0], s.dilation[1]},
                                 .groups = s.groups,
                                 .algorithm = nullptr};
    Conv2dProblem& p = checked_[index].conv2d;
    LUCID_CHECK(describe_conv2d(args, &p));
    p.relu = s.relu != 0;
    p.planned = true;
    p.winograd = args_.winograd != 0;
    if (s.other != -1) LUCID_CHECK(expect("conv2d", s.other, {p.n, p.out_channels(), p.out_h, p.out_w}));
    LUCID_CHECK(choose_conv2d(p, nullptr, &checked_[index].algorithm));
    return expect("conv2d", s.output, {p.n, p.out_channels(), p.out_h, p.out_w});
  }

  lucid_status check_pool2d(int index, const lucid_plan_step& s) {
    LUCID_CHECK(expect_rank("pool2d", s.input, 4));
    const ShapeOnly x(value(s.input));
    const lucid_pool2d_args args{.x = x.get(),
                                 .y = nullptr,
                                 .kind = s.pool_kind,
                                 .kernel = {s.kernel[0], s.kernel[1]},
                                 .stride = {s.stride[0], s.stride[1]},
                                 .padding = {s.padding[0], s.padding[1]},
                                 .dilation = {s.dilation[0], s.dilation[1]},
                                 .ceil_mode = s.ceil_mode,
                                 .count_include_pad = s.count_include_pad};
    Pool2d& pool = checked_[index].pool;
    LUCID_CHECK(describe_pool2d(args, &pool));
    return expect("pool2d", s.output, {value(s.input).n, value(s.input).c, pool.h.out, pool.w.out});
  }

  lucid_status check_linear(const lucid_plan_step& s) {
    LUCID_CHECK(expect_rank("linear", s.input, 2));
    const Value& x = value(s.input);
    ImageView weight;
    VectorView bias;
    LUCID_CHECK(check_tensor("linear", "weight", s.weight, 2, 2));
    LUCID_CHECK(view_image("linear", "weight", s.weight, 2, &weight));
    if (s.groups < 1 || x.c % s.groups != 0 || weight.n < 1 || weight.n % s.groups != 0 || weight.c != x.c / s.groups)
      return fail(LUCID_INVALID_ARGUMENT,
                  "linear: groups (%lld) must divide inputs and outputs, and weight be (outputs, %lld / groups), got "
                  "(%lld, %lld)",
                  Long{s.groups}, Long{x.c}, Long{weight.n}, Long{weight.c});
    if (s.bias != nullptr) LUCID_CHECK(view_vector("linear", "bias", s.bias, weight.n, &bias));
    return expect("linear", s.output, {x.n, weight.n});
  }

  // Which inputs convolutions read where they are, and the margins that convolutions read of every other image.
  void lay_out() {
    for (const int i : plan_.inputs) value(i).stays_outside = value(i).image;
    for (const int i : plan_.outputs) value(i).stays_outside = false;
    for (int i = 0; i < args_.step_count; ++i) {
      const lucid_plan_step& s = step(i);
      if (s.kind != LUCID_STEP_CONV2D || !checked_[i].algorithm->packs_input) value(s.input).stays_outside = false;
      if (exists(s.other)) value(s.other).stays_outside = false;
    }
    for (int i = 0; i < args_.step_count; ++i) {
      Value& x = value(step(i).input);
      if (step(i).kind != LUCID_STEP_CONV2D || x.stays_outside) continue;
      const Conv2dProblem& p = checked_[i].conv2d;
      const int64_t tile = checked_[i].algorithm->output_tile;
      const auto overhang = [&](int64_t out) { return (out + tile - 1) / tile * tile - out; };
      x.top = std::max(x.top, p.padding_h), x.left = std::max(x.left, p.padding_w);
      x.bottom = std::max(x.bottom, p.padding_h + overhang(p.out_h));
      x.right = std::max(x.right, p.padding_w + overhang(p.out_w));
    }
  }

  // A global pooling reads what the convolution before it has summed up already, if that can: 1 % of ResNeSt-50.
  void share_row_sums() {
    for (int i = 0; i < args_.step_count; ++i) {
      if (step(i).kind != LUCID_STEP_GLOBAL_AVG_POOL2D) continue;
      for (int j = 0; j < i; ++j) {
        const Conv2dAlgorithm* algorithm = checked_[j].algorithm;
        if (step(j).output != step(i).input || algorithm == nullptr || !algorithm->sums_rows) continue;
        if (checked_[j].row_sums < 0) {
          Value sums;
          sums.n = algorithm->rows(checked_[j].conv2d), sums.c = checked_[j].conv2d.out_channels();
          checked_[j].row_sums = static_cast<int>(plan_.values.size());
          plan_.values.push_back(sums);
        }
        checked_[i].row_sums = checked_[j].row_sums;
      }
    }
  }
  const Value* row_sums(int index) {
    return checked_[index].row_sums >= 0 ? &value(checked_[index].row_sums) : nullptr;
  }

  // Entries: the imports, the steps, the exports.
  void find_lifetimes() {
    int entry = 0;
    const auto use = [&](int i) {
      Value& v = value(i);
      v.first = v.first < 0 ? entry : v.first;
      v.last = entry;
    };
    for (const int i : plan_.inputs)
      if (!value(i).stays_outside) use(i), ++entry;
    for (int i = 0; i < args_.step_count; ++i, ++entry) {
      use(step(i).input);
      if (exists(step(i).other)) use(step(i).other);
      use(step(i).output);
      if (checked_[i].row_sums >= 0) use(checked_[i].row_sums);
    }
    for (const int i : plan_.outputs) use(i), ++entry;
  }

  // A convolution may write over a residual that nothing reads later: each element is read just before it is written,
  // by the same thread. Half of a ResNet's traffic then stays in one buffer.
  void share_places() {
    int entry = static_cast<int>(
        std::count_if(plan_.inputs.begin(), plan_.inputs.end(), [&](int i) { return !value(i).stays_outside; }));
    for (int i = 0; i < args_.step_count; ++i, ++entry) {
      const lucid_plan_step& s = step(i);
      if (s.kind != LUCID_STEP_CONV2D || s.other == -1 || s.other == s.input) continue;
      Value &residual = value(s.other), &y = value(s.output);
      if (residual.last == entry && residual.same_layout(y))
        y.place_of = residual.place_of >= 0 ? residual.place_of : s.other;
    }
  }

  lucid_status make_steps() {
    for (int i = 0; i < args_.input_count; ++i)
      if (Value& v = value(args_.inputs[i]); !v.stays_outside && v.first >= 0)
        add(import_step(i, v), first_use(args_.inputs[i]));
    for (int i = 0; i < args_.step_count; ++i) add(make_step(i), i);
    for (int i = 0; i < args_.output_count; ++i)
      add(export_step(value(args_.outputs[i]), i), std::max(0, args_.step_count - 1));
    for (size_t i = 0; i + 1 < plan_.entries.size(); ++i) {
      // Past the small steps between two convolutions.
      size_t next = i + 1;
      while (next + 1 < plan_.entries.size() && plan_.entries[next].step->weight_floats() == 0) ++next;
      prefetch_weights_of(*plan_.entries[i].step, plan_.entries[next].step.get());
    }
    return pack_weights();
  }

  lucid_status pack_weights() {
    const auto whole_lines = [](int64_t floats) { return (floats + 15) / 16 * 16; };
    int64_t floats = 0;
    for (const Entry& entry : plan_.entries) floats += whole_lines(entry.step->weight_floats());
    plan_.weights = std::make_unique<Scratch>(floats);
    float* packed = plan_.weights->data();
    if (packed == nullptr) return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for %lld floats of weights", Long{floats});
    for (const Entry& entry : plan_.entries) {
      entry.step->pack_weights(packed);
      packed += whole_lines(entry.step->weight_floats());
    }
    return ok();
  }

  int first_use(int index) const {
    for (int i = 0; i < args_.step_count; ++i)
      if (step(i).input == index || step(i).other == index) return i;
    return 0;
  }

  void add(std::unique_ptr<Step> step, int described) { plan_.entries.push_back({std::move(step), described}); }

  std::unique_ptr<Step> make_step(int index) {
    const lucid_plan_step& s = step(index);
    const Value &x = value(s.input), &y = value(s.output);
    const Value* other = exists(s.other) ? &value(s.other) : nullptr;
    switch (s.kind) {
      case LUCID_STEP_CONV2D:
        return conv2d_step(checked_[index].conv2d, *checked_[index].algorithm, x, other, y, row_sums(index));
      case LUCID_STEP_POOL2D: return pool2d_step(checked_[index].pool, x, y);
      case LUCID_STEP_GLOBAL_AVG_POOL2D: return global_avg_pool2d_step(s.radix, x, row_sums(index), y);
      case LUCID_STEP_LINEAR: return linear_step(dense_copy(s.weight), dense_copy(s.bias), s.groups, s.relu != 0, x, y);
      case LUCID_STEP_SPLIT_ATTENTION: return split_attention_step(s.radix, s.cardinality, x, *other, y);
      case LUCID_STEP_BATCH_NORM: return batch_norm_step(dense_copy(s.weight), dense_copy(s.bias), s.relu != 0, x, y);
      case LUCID_STEP_ADD: return add_step(s.relu != 0, x, *other, y);
      case LUCID_STEP_RELU: return relu_step(x, y);
      case LUCID_STEP_SIGMOID: return sigmoid_step(x, y);
      case LUCID_STEP_SOFTMAX: return softmax_step(x, y);
      case LUCID_STEP_FLATTEN: return flatten_step(x, y);
      default: return unflatten_step(x, y);
    }
  }

  const lucid_plan_args& args_;
  lucid_plan& plan_;
  std::vector<Checked> checked_;
  std::vector<bool> ready_;
};

}  // namespace
}  // namespace lucid::plan

extern "C" lucid_status lucid_plan_create(const lucid_plan_args* args, lucid_plan** plan) {
  using namespace lucid;
  *plan = nullptr;
  if (args->step_count < 0 || args->step_count > (1 << 20))
    return fail(LUCID_INVALID_ARGUMENT, "plan: the number of steps must be between 0 and %d, got %d", 1 << 20,
                args->step_count);
  try {
    auto made = std::make_unique<lucid_plan>();
    LUCID_CHECK(plan::Builder(*args, *made).build());
    *plan = made.release();
    return ok();
  } catch (const std::bad_alloc&) {
    return fail(LUCID_OUT_OF_MEMORY, "plan: no memory for its description");
  }
}

extern "C" void lucid_plan_destroy(lucid_plan* plan) { delete plan; }
