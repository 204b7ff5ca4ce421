// linear: y = x * weight^T + bias.
#include <algorithm>

#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/shapes.h"
#include "ops/staging.h"

extern "C" lucid_status lucid_linear(const lucid_linear_args* a) {
  using namespace lucid;
  ImageView x, weight, y;
  VectorView bias{};
  LUCID_CHECK(check_tensor("linear", "x", a->x, 2, 2));
  LUCID_CHECK(check_tensor("linear", "weight", a->weight, 2, 2));
  LUCID_CHECK(check_not_empty("linear", "x", *a->x));
  LUCID_CHECK(check_not_empty("linear", "weight", *a->weight));
  LUCID_CHECK(view_image("linear", "x", a->x, 2, &x));
  LUCID_CHECK(view_image("linear", "weight", a->weight, 2, &weight));
  if (weight.c != x.c)
    return fail(LUCID_INVALID_ARGUMENT, "linear: weight must have as many columns as x, %lld, got %lld",
                static_cast<long long>(x.c), static_cast<long long>(weight.c));
  if (a->bias != nullptr) LUCID_CHECK(view_vector("linear", "bias", a->bias, weight.n, &bias));
  LUCID_CHECK(view_image("linear", "y", a->y, 2, &y));
  LUCID_CHECK(check_shape("linear", "y", *a->y, {x.n, weight.n}));

  const StagedInput input(x), weights(weight);
  const StagedOutput output(y);
  if (input.data() == nullptr || weights.data() == nullptr || output.data() == nullptr)
    return fail(LUCID_OUT_OF_MEMORY, "linear: no memory for copies of x %s, weight %s and y",
                ShapeText(a->x->shape, 2).c_str(), ShapeText(a->weight->shape, 2).c_str());
  const Linear p{.x = input.data(),
                 .weight = weights.data(),
                 .bias = bias.data,
                 .bias_stride = bias.stride,
                 .y = output.data(),
                 .rows = x.n,
                 .in = x.c,
                 .outputs = weight.n,
                 .x_row = x.c,
                 .y_row = weight.n,
                 .row_blocks = (x.n + Linear::kRows - 1) / Linear::kRows,
                 .relu = false};
  const int64_t output_blocks = (p.outputs + Linear::kOutputs - 1) / Linear::kOutputs;
  parallel_for(output_blocks * p.row_blocks, grain_of(p.in * (Linear::kOutputs + std::min(Linear::kRows, p.rows))),
               [&](int64_t begin, int64_t end, int) { kernels().linear(p, begin, end); });
  output.finish();
  return ok();
}
