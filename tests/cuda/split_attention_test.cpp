// Split attention and its gradients, for any number of splits and groups.
#include <cmath>

#include "kernel_test.h"

using namespace kernel_test;

namespace {

struct Case {
  int64_t n, pixels, radix, c, cardinality;
};

constexpr Case kCases[] = {
    {2, 49, 2, 8, 1}, {1, 30, 1, 16, 1},  {2, 17, 4, 24, 2}, {1, 9, 3, 15, 5}, {1, 5, 11, 8, 2}, {1, 70, 2, 520, 1},
    {3, 4, 1, 5, 5},  {1, 600, 2, 17, 1}, {0, 49, 2, 8, 1},  {1, 1, 2, 1, 1},  {2, 3, 12, 3, 1}, {1, 40, 2, 40, 40},
};

struct Weights {
  const Case& c;
  const Array& logits;

  size_t index(int64_t image, int64_t r, int64_t channel) const {
    const int64_t width = c.c / c.cardinality;
    return static_cast<size_t>(((image * c.cardinality + channel / width) * c.radix + r) * width + channel % width);
  }
  double at(int64_t image, int64_t r, int64_t channel) const {
    if (c.radix == 1) return 1.0 / (1.0 + std::exp(-logits.at(index(image, 0, channel))));
    double total = 0.0;
    for (int64_t s = 0; s < c.radix; ++s)
      total += std::exp(logits.at(index(image, s, channel)) - logits.at(index(image, r, channel)));
    return 1.0 / total;
  }
};

struct Inputs {
  Array x, logits, dy;
  Inputs(const Case& c, Dtype dtype, size_t shift, float largest)
      : x(dtype, random_values(c.n * c.pixels * c.radix * c.c, 1), shift),
        logits(dtype, random_values(c.n * c.radix * c.c, 2, largest)),
        dy(dtype, random_values(c.n * c.pixels * c.c, 3)) {}
};

// Errors of the logits' differences count by their size, as they are exponents.
double weight_roundings(const Case& c, float largest) { return static_cast<double>(c.radix) + 6.0 + 2.0 * largest; }

void run_forward(const Case& c, const Inputs& in, float largest, const std::string& name) {
  const Weights weights{c, in.logits};
  const Dtype dtype = in.x.dtype();
  const Array y(dtype, in.dy.size());
  std::vector<Value> want(y.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const int64_t pixel = static_cast<int64_t>(i) / c.c, channel = static_cast<int64_t>(i) % c.c;
    for (int64_t r = 0; r < c.radix; ++r)
      want[i].add(weights.at(pixel / c.pixels, r, channel) *
                  in.x.at(static_cast<size_t>((pixel * c.radix + r) * c.c + channel)));
  }
  const lucid::cuda::SplitAttention p{.dtype = dtype,
                                      .n = c.n,
                                      .pixels = c.pixels,
                                      .radix = c.radix,
                                      .c = c.c,
                                      .cardinality = c.cardinality,
                                      .x = in.x.data(),
                                      .logits = in.logits.data(),
                                      .y = y.data()};
  check("split_attention, " + name, {&in.x, &in.logits, &y}, [&] { return backend().split_attention(p, nullptr); },
        {{y, want, static_cast<double>(c.radix) + weight_roundings(c, largest)}});
}

void run_backward(const Case& c, const Inputs& in, float largest, const std::string& name) {
  const Weights weights{c, in.logits};
  const Dtype dtype = in.x.dtype();
  const Array dx(dtype, in.x.size()), dlogits(dtype, in.logits.size());
  std::vector<Value> want_dx(dx.size()), want_sums(dlogits.size()), want_dlogits(dlogits.size());
  for (size_t i = 0; i < dx.size(); ++i) {
    const int64_t channel = static_cast<int64_t>(i) % c.c, r = static_cast<int64_t>(i) / c.c % c.radix;
    const int64_t pixel = static_cast<int64_t>(i) / c.c / c.radix, image = pixel / c.pixels;
    const double dy = in.dy.at(static_cast<size_t>(pixel * c.c + channel));
    want_dx[i].add(weights.at(image, r, channel) * dy);
    want_sums[weights.index(image, r, channel)].add(in.x.at(i) * dy);
  }
  for (int64_t image = 0; image < c.n; ++image)
    for (int64_t channel = 0; channel < c.c; ++channel)
      for (int64_t r = 0; r < c.radix; ++r) {
        const double a = weights.at(image, r, channel);
        Value& want = want_dlogits[weights.index(image, r, channel)];
        for (int64_t s = 0; s < c.radix; ++s) {  // a softmax's gradient by its logits; a sigmoid's has a * (1 - a)
          const Value& sum = want_sums[weights.index(image, s, channel)];
          const double b = weights.at(image, s, channel), slope = a * ((s == r ? 1.0 : 0.0) - b);
          want.value += sum.value * slope;
          want.magnitude += sum.magnitude * a * ((s == r ? 1.0 : 0.0) + b);
        }
      }
  lucid::cuda::SplitAttentionBackward p{.dtype = dtype,
                                        .n = c.n,
                                        .pixels = c.pixels,
                                        .radix = c.radix,
                                        .c = c.c,
                                        .cardinality = c.cardinality,
                                        .x = in.x.data(),
                                        .logits = in.logits.data(),
                                        .dy = in.dy.data(),
                                        .dx = dx.data(),
                                        .dlogits = dlogits.data(),
                                        .workspace = nullptr};
  const Array workspace(backend().split_attention_backward_bytes(p));
  p.workspace = workspace.data();
  const double of_weights = weight_roundings(c, largest);
  // Runs of at most 64 products, and a tree over 256.
  check("split_attention_backward, " + name, {&in.x, &in.logits, &in.dy, &dx, &dlogits, &workspace},
        [&] { return backend().split_attention_backward(p, nullptr); },
        {{dx, want_dx, of_weights + 1.0}, {dlogits, want_dlogits, 2.0 * of_weights + 72.0}});
}

void run(const Case& c, Dtype dtype, size_t shift, float largest) {
  const Inputs in(c, dtype, shift, largest);
  const std::string name =
      text_of("%d images of %d pixels, %d x %d channels in %d groups, %s, logits up to %g, shifted by %zu",
              static_cast<int>(c.n), static_cast<int>(c.pixels), static_cast<int>(c.radix), static_cast<int>(c.c),
              static_cast<int>(c.cardinality), name_of(dtype), static_cast<double>(largest), shift);
  run_forward(c, in, largest, name);
  run_backward(c, in, largest, name);
}

// The largest logit is subtracted first: exponentials of these would overflow.
void run_large_logits() {
  const Case c{1, 6, 2, 4, 1};
  const Inputs in(c, Dtype::kFloat32, 0, 200.0f);
  run_forward(c, in, 200.0f, "large logits");
}

}  // namespace

KERNEL_TEST(split_attention) {
  for (const Dtype dtype : kDtypes)
    for (const Case& c : kCases)
      for (const size_t shift : {0, 1}) run(c, dtype, shift, 4.0f);
  run_large_logits();
}
