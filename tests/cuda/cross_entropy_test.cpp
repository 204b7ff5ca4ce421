// Cross entropy of class indices and of probabilities, and its gradient.
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;
using lucid::cuda::LossReduction;

namespace {

struct Case {
  int64_t outer, size, inner;
};
constexpr Case kCases[] = {{1, 1, 1}, {5, 10, 1}, {3, 1000, 1}, {300, 3, 1},
                           {2, 5, 7}, {2, 4, 40}, {3, 1, 2},    {0, 4, 1}};
constexpr LossReduction kReductions[] = {LossReduction::kNone, LossReduction::kSum, LossReduction::kMean};
constexpr int64_t kIgnored = -100;

// Every fifth row is ignored, but not a single one.
std::vector<float> indices_of(const Case& c) {
  const int64_t columns = c.outer * c.inner;
  std::vector<float> indices;
  for (int64_t i = 0; i < columns; ++i)
    indices.push_back(static_cast<float>(i % 5 == 0 && columns > 1 ? kIgnored : (7 * i + 3) % c.size));
  return indices;
}

// What losses are computed from, and what they must be in double.
struct Loss {
  Loss(const Case& shape, Dtype dtype, bool has_indices, double label_smoothing, LossReduction wanted,
       const std::vector<float>& classes)
      : c(shape),
        indexed(has_indices),
        smoothing(label_smoothing),
        reduction(wanted),
        x(dtype, random_values(c.outer * c.size * c.inner, 1, 3.0)),
        probabilities(dtype, random_values(c.outer * c.size * c.inner, 2, 0.5, 0.5)),
        weight(Dtype::kFloat32, random_values(c.size, 3, 0.5, 1.0)),
        indices(Dtype::kInt64, classes) {}

  size_t columns() const { return static_cast<size_t>(c.outer * c.inner); }
  size_t losses() const { return reduction == LossReduction::kNone ? columns() : 1; }
  size_t at(size_t column, int64_t i) const {
    const int64_t outer = static_cast<int64_t>(column) / c.inner, inner = static_cast<int64_t>(column) % c.inner;
    return static_cast<size_t>((outer * c.size + i) * c.inner + inner);
  }
  bool ignored(size_t column) const { return indexed && indices.at(column) == kIgnored; }
  bool outside(size_t column) const {
    return indexed && !ignored(column) && (indices.at(column) < 0 || indices.at(column) >= c.size);
  }
  bool weighted() const { return smoothing != 0.0; }
  double factor(size_t column, int64_t i) const {
    const double share = indexed ? (indices.at(column) == i ? 1.0 : 0.0) : probabilities.at(at(column, i));
    const double smoothed = (1.0 - smoothing) * share + smoothing / static_cast<double>(c.size);
    return smoothed * (weighted() ? weight.at(static_cast<size_t>(i)) : 1.0);
  }
  double divisor() const {
    if (reduction != LossReduction::kMean) return 1.0;
    double total = 0.0;
    for (size_t column = 0; column < columns(); ++column) {
      if (outside(column)) return NAN;
      if (ignored(column)) continue;
      total += indexed && weighted() ? weight.at(static_cast<size_t>(indices.at(column))) : 1.0;
    }
    return total;
  }
  // Logits less the largest of their column, and the logarithm of the sum of their exponentials.
  std::vector<double> shifted(size_t column, double* logarithm) const {
    std::vector<double> values;
    double largest = -INFINITY, total = 0.0;
    for (int64_t i = 0; i < c.size; ++i) values.push_back(x.at(at(column, i)));
    for (const double value : values) largest = std::fmax(largest, value);
    for (double& value : values) total += std::exp(value -= largest);
    *logarithm = std::log(total);
    return values;
  }

  std::vector<Value> want() const {
    std::vector<Value> each(columns());
    Value sum;
    for (size_t column = 0; column < columns(); ++column) {
      double logarithm;
      const std::vector<double> logits = shifted(column, &logarithm);
      for (int64_t i = 0; i < c.size && !ignored(column); ++i) {
        const double f = factor(column, i);
        if (f == 0.0) continue;
        each[column].add(f * (logarithm - logits[static_cast<size_t>(i)]));
        each[column].magnitude += f;  // a rounding of exponentials is one of their logarithm
      }
      if (outside(column)) each[column].value = NAN;
      sum.value += each[column].value;
      sum.magnitude += each[column].magnitude;
    }
    return reduction == LossReduction::kNone ? each : std::vector<Value>{sum.over(divisor())};
  }

  std::vector<Value> want_gradient(const Array& dy) const {
    std::vector<Value> dx(x.size());
    for (size_t column = 0; column < columns(); ++column) {
      if (ignored(column)) continue;
      double logarithm, factors = 0.0;
      const std::vector<double> logits = shifted(column, &logarithm);
      for (int64_t i = 0; i < c.size; ++i) factors += factor(column, i);
      const double slope = dy.at(reduction == LossReduction::kNone ? column : 0) / divisor();
      for (int64_t i = 0; i < c.size; ++i) {
        const double logit = logits[static_cast<size_t>(i)], share = std::exp(logit - logarithm);
        Value& value = dx[at(column, i)];
        value.add(slope * factors * share);
        if (share > 0.0) value.magnitude *= 1.0 + std::fabs(logit);  // exponents are off by a rounding of their size
        value.add(-slope * factor(column, i));
        if (outside(column)) value.value = NAN;
      }
    }
    return dx;
  }

  // The fields that both kernels have.
  template <class Arguments>
  Arguments arguments() const {
    Arguments p{};
    p.dtype = x.dtype();
    p.outer = c.outer, p.size = c.size, p.inner = c.inner;
    p.x = x.data();
    p.target = {.dtype = indexed ? Dtype::kInt64 : probabilities.dtype(),
                .data = indexed ? indices.data() : probabilities.data(),
                .weight = weighted() ? weight.floats() : nullptr,
                .ignore_index = kIgnored,
                .kept = static_cast<float>(1.0 - smoothing),
                .spread = static_cast<float>(smoothing / static_cast<double>(c.size))};
    p.reduction = reduction;
    return p;
  }

  Case c;
  bool indexed;
  double smoothing;
  LossReduction reduction;
  Array x, probabilities, weight, indices;
};

void run(const Loss& loss, const std::string& name) {
  const Dtype dtype = loss.x.dtype();
  const Array y(dtype, loss.losses()), dx(dtype, loss.x.size());
  const Array dy(dtype, random_values(static_cast<int64_t>(loss.losses()), 4));
  auto p = loss.arguments<lucid::cuda::CrossEntropy>();
  const Array workspace(backend().cross_entropy_bytes(p));
  p.y = y.data(), p.workspace = workspace.data();
  check("cross_entropy " + name, {&loss.x, &loss.probabilities, &loss.weight, &loss.indices, &y, &workspace},
        [&] { return backend().cross_entropy(p, nullptr); }, {{y, loss.want(), 8.0}});

  auto back = loss.arguments<lucid::cuda::CrossEntropyBackward>();
  const Array divisor(backend().cross_entropy_backward_bytes(back));
  back.dy = dy.data(), back.dx = dx.data(), back.workspace = divisor.data();
  check("cross_entropy_backward " + name,
        {&loss.x, &loss.probabilities, &loss.weight, &loss.indices, &dy, &dx, &divisor},
        [&] { return backend().cross_entropy_backward(back, nullptr); }, {{dx, loss.want_gradient(dy), 12.0}});
}

// A class masked by minus infinity that nothing asks for, indices of no class, and rows that are all ignored.
void run_special(LossReduction reduction) {
  Loss masked({2, 3, 1}, Dtype::kFloat32, true, 0.0, reduction, {0, 2});
  masked.x.set(1, -INFINITY);
  run(masked, "of a masked class");
  run({{3, 4, 1}, Dtype::kFloat32, true, 0.1, reduction, {1, 4, 0}}, "of an index behind the last");
  run({{3, 4, 1}, Dtype::kFloat32, true, 0.0, reduction, {1, -0x1p63f, 0}}, "of a negative index");
  run({{2, 4, 1}, Dtype::kFloat32, true, 0.1, reduction, {kIgnored, kIgnored}}, "of nothing");
}

}  // namespace

KERNEL_TEST(cross_entropy) {
  for (const LossReduction reduction : kReductions) {
    for (const Dtype dtype : kDtypes)
      for (const Case& c : kCases)
        for (const bool indexed : {true, false})
          for (const double smoothing : {0.0, 0.1})
            run({c, dtype, indexed, smoothing, reduction, indices_of(c)},
                text_of("%dx%dx%d, %s, reduction %d, %s%s", static_cast<int>(c.outer), static_cast<int>(c.size),
                        static_cast<int>(c.inner), name_of(dtype), static_cast<int>(reduction),
                        indexed ? "indices" : "probabilities", smoothing != 0.0 ? ", smoothed" : ""));
    run_special(reduction);
  }
}
