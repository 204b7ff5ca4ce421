// Batch norm at inference, its statistics in training, and its gradients.
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Shape {
  int64_t pixels, c;
};
constexpr Shape kShapes[] = {{1, 1},   {7, 3},   {50, 5},   {33, 17}, {300, 8},
                             {67, 64}, {5, 520}, {700, 24}, {0, 8},   {9, 0}};

std::string text_of_shape(const char* what, Shape s, Dtype dtype) {
  return text_of("%s, %d pixels, %d channels, %s", what, static_cast<int>(s.pixels), static_cast<int>(s.c),
                 name_of(dtype));
}

struct Parameters {
  Array mean, var, weight, bias;
  explicit Parameters(int64_t c, double offset = 0.5)
      : mean(Dtype::kFloat32, random_values(c, 11, 1.0, offset)),
        var(Dtype::kFloat32, random_values(c, 12, 0.9, 1.0)),
        weight(Dtype::kFloat32, random_values(c, 13)),
        bias(Dtype::kFloat32, random_values(c, 14)) {}
};

void run_inference(Shape s, Dtype dtype, bool relu, bool parameters, size_t shift, bool residual) {
  constexpr double kEps = 1e-3;
  const Array x(dtype, random_values(s.pixels * s.c, 1, 2.0), shift), y(dtype, x.size());
  const Array addend(dtype, random_values(s.pixels * s.c, 2));
  const Parameters q(s.c);
  const lucid::cuda::BatchNorm p{.dtype = dtype,
                                 .pixels = s.pixels,
                                 .c = s.c,
                                 .x = x.data(),
                                 .residual = residual ? addend.data() : nullptr,
                                 .mean = parameters ? q.mean.floats() : nullptr,
                                 .var = parameters ? q.var.floats() : nullptr,
                                 .weight = q.weight.floats(),
                                 .bias = parameters ? q.bias.floats() : nullptr,
                                 .eps = parameters ? kEps : 0.0,
                                 .relu = relu,
                                 .y = y.data()};
  std::vector<Value> want(x.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const size_t c = i % static_cast<size_t>(s.c);
    const double scale = q.weight.at(c) / (parameters ? std::sqrt(q.var.at(c) + kEps) : 1.0);
    const double mean = parameters ? q.mean.at(c) : 0.0, bias = parameters ? q.bias.at(c) : 0.0;
    want[i].add((x.at(i) - mean) * scale);
    want[i].magnitude += std::fabs(mean * scale);
    want[i].add(bias);
    if (residual) want[i].add(addend.at(i));
    if (relu && want[i].value < 0) want[i].value = 0;
  }
  check(text_of_shape(residual ? "batch_norm and a residual" : "batch_norm", s, dtype),
        {&x, &addend, &q.mean, &q.var, &q.weight, &q.bias, &y}, [&] { return backend().batch_norm(p, nullptr); },
        {{y, want, 5.0}});
}

void run_statistics(const char* what, Shape s, Dtype dtype, double offset, double spread) {
  std::vector<float> values = random_values(s.pixels * s.c, 2, spread, offset);
  const Array x(dtype, values), mean(Dtype::kFloat32, static_cast<size_t>(s.c)), var(Dtype::kFloat32, mean.size());
  lucid::cuda::BatchNormStatistics p{.dtype = dtype,
                                     .pixels = s.pixels,
                                     .c = s.c,
                                     .x = x.data(),
                                     .mean = mean.floats(),
                                     .var = var.floats(),
                                     .workspace = nullptr};
  const Array workspace(backend().batch_norm_statistics_bytes(p));
  p.workspace = workspace.data();
  std::vector<Value> want_mean(mean.size()), want_var(mean.size());
  const double pixels = static_cast<double>(s.pixels);
  for (size_t c = 0; c < mean.size(); ++c) {
    double deviations = 0.0;  // from x[0], which is exact
    for (size_t i = c; i < x.size(); i += mean.size()) deviations += (x.at(i) - x.at(c)) / pixels;
    want_mean[c].add(x.at(c) + deviations);
    for (size_t i = c; i < x.size(); i += mean.size())
      want_var[c].add(std::pow(x.at(i) - x.at(c) - deviations, 2) / pixels);
  }
  // A mean is off by the rounding of deviations, which are as small as their spread, and its own. A variance is summed
  // from runs of at most 64 values and a tree over 256, around an estimate that is off by a part of their spread.
  for (Value& v : want_mean) v.magnitude = std::fabs(spread);
  check(text_of_shape(what, s, dtype), {&x, &mean, &var, &workspace},
        [&] { return backend().batch_norm_statistics(p, nullptr); }, {{mean, want_mean, 80.0}, {var, want_var, 80.0}});
}

void run_special_statistics() {
  // A channel of infinity, one with both signs of it, one with a NaN at its end, one with a finite spread.
  constexpr int64_t kPixels = 600, kChannels = 4;
  std::vector<float> values = random_values(kPixels * kChannels, 3);
  values[0] = values[401 * kChannels + 1] = INFINITY;
  values[500 * kChannels + 1] = -INFINITY;
  values[599 * kChannels + 2] = NAN;
  const Array x(Dtype::kFloat32, values), mean(Dtype::kFloat32, size_t{kChannels}), var(Dtype::kFloat32, mean.size());
  lucid::cuda::BatchNormStatistics p{.dtype = Dtype::kFloat32,
                                     .pixels = kPixels,
                                     .c = kChannels,
                                     .x = x.data(),
                                     .mean = mean.floats(),
                                     .var = var.floats(),
                                     .workspace = nullptr};
  const Array workspace(backend().batch_norm_statistics_bytes(p));
  p.workspace = workspace.data();
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < kPixels; ++i) sum += values[static_cast<size_t>(i * kChannels + 3)];
  for (int64_t i = 0; i < kPixels; ++i)
    squares += std::pow(values[static_cast<size_t>(i * kChannels + 3)] - sum / kPixels, 2);
  check("statistics of infinity and NaN", {&x, &mean, &var, &workspace},
        [&] { return backend().batch_norm_statistics(p, nullptr); },
        {{mean, {{INFINITY, 0}, {NAN, 0}, {NAN, 0}, {sum / kPixels, 1.0}}, 80.0},
         {var, {{NAN, 0}, {NAN, 0}, {NAN, 0}, {squares / kPixels, 1.0}}, 80.0}});
}

void run_backward(Shape s, Dtype dtype, bool training, bool relu, bool weighted, bool residual) {
  constexpr double kEps = 1e-3;
  const int64_t count = s.pixels * s.c;
  std::vector<float> outputs = random_values(count, 5);
  for (float& value : outputs) value = value < 0 ? 0.0f : value;
  const Array x(dtype, random_values(count, 3, 2.0)), dy(dtype, random_values(count, 4)), y(dtype, outputs);
  const Array dx(dtype, static_cast<size_t>(count)), dresidual(dtype, static_cast<size_t>(count));
  const Array dweight(Dtype::kFloat32, static_cast<size_t>(s.c)), dbias(Dtype::kFloat32, static_cast<size_t>(s.c));
  const Parameters q(s.c);
  lucid::cuda::BatchNormBackward p{.dtype = dtype,
                                   .pixels = s.pixels,
                                   .c = s.c,
                                   .x = x.data(),
                                   .dy = dy.data(),
                                   .y = relu ? y.data() : nullptr,
                                   .mean = q.mean.floats(),
                                   .var = q.var.floats(),
                                   .weight = weighted ? q.weight.floats() : nullptr,
                                   .eps = kEps,
                                   .training = training,
                                   .dx = dx.data(),
                                   .dweight = dweight.floats(),
                                   .dbias = dbias.floats(),
                                   .dresidual = residual ? dresidual.data() : nullptr,
                                   .workspace = nullptr};
  const Array workspace(backend().batch_norm_backward_bytes(p));
  p.workspace = workspace.data();
  std::vector<Value> want_dresidual(dx.size()), want_dx(dx.size()), want_dweight(dweight.size()),
      want_dbias(dbias.size());
  const double pixels = static_cast<double>(s.pixels);
  for (size_t c = 0; c < dbias.size(); ++c) {
    const double factor = 1.0 / std::sqrt(q.var.at(c) + kEps), mean = q.mean.at(c);
    const auto gradient = [&](size_t i) { return relu && y.at(i) == 0 ? 0.0 : dy.at(i); };
    for (size_t i = c; i < x.size(); i += dbias.size()) {
      want_dbias[c].add(gradient(i));
      want_dresidual[i].add(gradient(i));
      want_dweight[c].add(gradient(i) * (x.at(i) - mean) * factor);
    }
    const double scale = factor * (weighted ? q.weight.at(c) : 1.0);
    for (size_t i = c; i < x.size(); i += dbias.size()) {
      const double d = (x.at(i) - mean) * factor;
      want_dx[i].add(scale * gradient(i));
      if (!training) continue;
      want_dx[i].add(-scale * want_dbias[c].value / pixels);
      want_dx[i].add(-scale * d * want_dweight[c].value / pixels);
      want_dx[i].magnitude +=
          std::fabs(scale) * (want_dbias[c].magnitude + std::fabs(d) * want_dweight[c].magnitude) / pixels;
    }
  }
  // Runs of at most 64 values and a tree over 256; each term was rounded three times.
  const std::string name =
      text_of("batch_norm_backward%s%s", training ? "" : " with constant statistics", relu ? " behind a ReLU" : "");
  std::vector<Expected> expected = {{dx, want_dx, 80.0}, {dweight, want_dweight, 80.0}, {dbias, want_dbias, 80.0}};
  if (residual) expected.push_back({dresidual, want_dresidual, 1.0});
  check(
      text_of_shape(name.c_str(), s, dtype),
      {&x, &dy, &y, &q.mean, &q.var, &q.weight, &dx, &dweight, &dbias, &dresidual, &workspace},
      [&] { return backend().batch_norm_backward(p, nullptr); }, expected);
}

}  // namespace

KERNEL_TEST(batch_norm) {
  for (const Dtype dtype : kDtypes)
    for (const Shape s : kShapes) {
      run_inference(s, dtype, false, true, 0, false);
      run_inference(s, dtype, true, true, 1, true);
      run_inference(s, dtype, true, false, 0, false);
      run_inference(s, dtype, false, false, 0, true);
      if (s.pixels == 0) continue;
      run_statistics("statistics", s, dtype, 0.25, 1.0);
      for (const bool training : {true, false}) {
        run_backward(s, dtype, training, false, true, false);
        run_backward(s, dtype, training, true, false, true);
      }
    }
  // More channels than a block has threads for. Sums have blocks of 64 threads a pixel, which 520 are too many for.
  for (const Dtype dtype : kDtypes) run_inference({5, 2056}, dtype, true, true, 0, false);
  run_statistics("statistics far from zero", {20000, 4}, Dtype::kFloat32, 1000.0, 1.0);
  run_statistics("statistics of a narrow spread", {2000, 8}, Dtype::kFloat32, 1000.0, 0.01);
  run_statistics("statistics of one value", {500, 8}, Dtype::kFloat32, 3.7, 0.0);
  run_special_statistics();
}
