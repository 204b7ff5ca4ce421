#include "bench/operators.h"

#include <math.h>
#include <string.h>

/* ---- calls ------------------------------------------------------------------------------------------------------ */

static int64_t number(const bench_problem* p, const char* name) { return attribute(p->given, name)[0]; }

static lucid_status call_conv2d(bench_problem* p) {
  const int64_t *stride = attribute(p->given, "stride"), *dilation = attribute(p->given, "dilation");
  const int64_t* side = attribute(p->given, "padding"); /* top, left, bottom, right */
  const lucid_conv2d_args args = {.size = sizeof args,
                                  .x = &p->inputs[0].tensor,
                                  .weight = &p->weight.tensor,
                                  .bias = &p->bias.tensor,
                                  .y = &p->y.tensor,
                                  .stride = {stride[0], stride[1]},
                                  .padding = {side[0], side[1]},
                                  .extra_padding = {side[2] - side[0], side[3] - side[1]},
                                  .dilation = {dilation[0], dilation[1]},
                                  .groups = number(p, "groups")};
  return lucid_conv2d(&args);
}

static lucid_status call_max_pool2d(bench_problem* p) {
  const int64_t *kernel = attribute(p->given, "kernel_size"), *stride = attribute(p->given, "stride");
  const int64_t *side = attribute(p->given, "padding"), *dilation = attribute(p->given, "dilation");
  const lucid_max_pool2d_args args = {.size = sizeof args,
                                      .x = &p->inputs[0].tensor,
                                      .y = &p->y.tensor,
                                      .kernel_size = {kernel[0], kernel[1]},
                                      .stride = {stride[0], stride[1]},
                                      .padding = {side[0], side[1]},
                                      .extra_padding = {side[2] - side[0], side[3] - side[1]},
                                      .dilation = {dilation[0], dilation[1]},
                                      .ceil_mode = (int32_t)number(p, "ceil_mode")};
  return lucid_max_pool2d(&args);
}

static lucid_status call_avg_pool2d(bench_problem* p) {
  const int64_t *kernel = attribute(p->given, "kernel_size"), *stride = attribute(p->given, "stride");
  const int64_t* side = attribute(p->given, "padding");
  const lucid_avg_pool2d_args args = {.size = sizeof args,
                                      .x = &p->inputs[0].tensor,
                                      .y = &p->y.tensor,
                                      .kernel_size = {kernel[0], kernel[1]},
                                      .stride = {stride[0], stride[1]},
                                      .padding = {side[0], side[1]},
                                      .extra_padding = {side[2] - side[0], side[3] - side[1]},
                                      .ceil_mode = (int32_t)number(p, "ceil_mode"),
                                      .count_include_pad = (int32_t)number(p, "count_include_pad"),
                                      .divisor_override = number(p, "divisor_override")};
  return lucid_avg_pool2d(&args);
}

static lucid_status call_batch_norm(bench_problem* p) {
  const lucid_batch_norm_args args = {.size = sizeof args,
                                      .x = &p->inputs[0].tensor,
                                      .y = &p->y.tensor,
                                      .weight = &p->weight.tensor,
                                      .bias = &p->bias.tensor,
                                      .mean = &p->mean.tensor,
                                      .var = &p->var.tensor};
  return lucid_batch_norm(&args);
}

static lucid_status call_split_attention(bench_problem* p) {
  const lucid_split_attention_args args = {.size = sizeof args,
                                           .x = &p->inputs[0].tensor,
                                           .logits = &p->inputs[1].tensor,
                                           .y = &p->y.tensor,
                                           .radix = number(p, "radix"),
                                           .cardinality = number(p, "cardinality")};
  return lucid_split_attention(&args);
}

static lucid_status call_linear(bench_problem* p) {
  const lucid_linear_args args = {.size = sizeof args,
                                  .x = &p->inputs[0].tensor,
                                  .weight = &p->weight.tensor,
                                  .bias = &p->bias.tensor,
                                  .y = &p->y.tensor,
                                  .groups = number(p, "groups")};
  return lucid_linear(&args);
}

static lucid_status call_relu(bench_problem* p) {
  const lucid_relu_args args = {.size = sizeof args, .x = &p->inputs[0].tensor, .y = &p->y.tensor};
  return lucid_relu(&args);
}

static lucid_status call_add(bench_problem* p) {
  const lucid_add_args args = {
      .size = sizeof args, .a = &p->inputs[0].tensor, .b = &p->inputs[1].tensor, .y = &p->y.tensor};
  return lucid_add(&args);
}

static lucid_status call_softmax(bench_problem* p) {
  const lucid_softmax_args args = {.size = sizeof args,
                                   .x = &p->inputs[0].tensor,
                                   .y = &p->y.tensor,
                                   .dim = (int32_t)number(p, "dim"),
                                   .log = (int32_t)number(p, "log")};
  return lucid_softmax(&args);
}

/* ---- definitions ------------------------------------------------------------------------------------------------ */

static double value(const bench_array* x, int64_t n, int64_t c, int64_t h, int64_t w) {
  const int64_t* strides = x->strides;
  return x->data[n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3]];
}

static double value_at(const bench_array* x, const int64_t at[4]) { return value(x, at[0], at[1], at[2], at[3]); }

static int inside(const bench_array* x, int64_t h, int64_t w) {
  return h >= 0 && h < x->shape.sizes[2] && w >= 0 && w < x->shape.sizes[3];
}

static double expected_conv2d(const bench_problem* p, const int64_t at[4]) {
  const bench_array *x = &p->inputs[0], *weight = &p->weight;
  const int64_t *stride = attribute(p->given, "stride"), *dilation = attribute(p->given, "dilation");
  const int64_t *side = attribute(p->given, "padding"), *sizes = weight->shape.sizes;
  const int64_t first = at[1] / (sizes[0] / number(p, "groups")) * sizes[1]; /* channel of the group */
  double sum = value(&p->bias, at[1], 0, 0, 0);
  for (int64_t c = 0; c < sizes[1]; ++c)
    for (int64_t i = 0; i < sizes[2]; ++i)
      for (int64_t j = 0; j < sizes[3]; ++j) {
        const int64_t h = at[2] * stride[0] + i * dilation[0] - side[0];
        const int64_t w = at[3] * stride[1] + j * dilation[1] - side[1];
        if (inside(x, h, w)) sum += value(weight, at[1], c, i, j) * value(x, at[0], first + c, h, w);
      }
  return sum;
}

static double expected_max_pool2d(const bench_problem* p, const int64_t at[4]) {
  const bench_array* x = &p->inputs[0];
  const int64_t *kernel = attribute(p->given, "kernel_size"), *stride = attribute(p->given, "stride");
  const int64_t *side = attribute(p->given, "padding"), *dilation = attribute(p->given, "dilation");
  double largest = -INFINITY;
  for (int64_t i = 0; i < kernel[0]; ++i)
    for (int64_t j = 0; j < kernel[1]; ++j) {
      const int64_t h = at[2] * stride[0] + i * dilation[0] - side[0];
      const int64_t w = at[3] * stride[1] + j * dilation[1] - side[1];
      if (inside(x, h, w)) largest = fmax(largest, value(x, at[0], at[1], h, w));
    }
  return largest;
}

static double expected_avg_pool2d(const bench_problem* p, const int64_t at[4]) {
  const bench_array* x = &p->inputs[0];
  const int64_t *kernel = attribute(p->given, "kernel_size"), *stride = attribute(p->given, "stride");
  const int64_t *side = attribute(p->given, "padding"), divisor = number(p, "divisor_override");
  const int padding_counts = number(p, "count_include_pad") != 0;
  double sum = 0.0;
  int64_t area = 0;
  for (int64_t i = 0; i < kernel[0]; ++i)
    for (int64_t j = 0; j < kernel[1]; ++j) {
      const int64_t h = at[2] * stride[0] + i - side[0], w = at[3] * stride[1] + j - side[1];
      const int within = inside(x, h, w);
      if (within) sum += value(x, at[0], at[1], h, w);
      /* With ceil_mode a window may hang over even the padding. */
      const int padded = h < x->shape.sizes[2] + side[2] && w < x->shape.sizes[3] + side[3];
      area += padding_counts ? padded : within;
    }
  return sum / (double)(divisor != 0 ? divisor : area);
}

static double expected_batch_norm(const bench_problem* p, const int64_t at[4]) {
  return value_at(&p->inputs[0], at) * value(&p->weight, at[1], 0, 0, 0) + value(&p->bias, at[1], 0, 0, 0);
}

static double expected_split_attention(const bench_problem* p, const int64_t at[4]) {
  const int64_t radix = number(p, "radix"), in_cardinal = p->y.shape.sizes[1] / number(p, "cardinality");
  const int64_t cardinal = at[1] / in_cardinal, channel = at[1] % in_cardinal;
  double sum = 0.0, total = 0.0;
  for (int64_t r = 0; r < radix; ++r) {
    /* Logits are cardinality-major, images radix-major. */
    const double logit = value(&p->inputs[1], at[0], (cardinal * radix + r) * in_cardinal + channel, 0, 0);
    const double x = value(&p->inputs[0], at[0], r * p->y.shape.sizes[1] + at[1], at[2], at[3]);
    if (radix == 1) return x / (1.0 + exp(-logit));
    total += exp(logit);
    sum += exp(logit) * x;
  }
  return sum / total;
}

static double expected_linear(const bench_problem* p, const int64_t at[4]) {
  const int64_t* sizes = p->weight.shape.sizes;
  const int64_t first = at[1] / (sizes[0] / number(p, "groups")) * sizes[1];
  double sum = value(&p->bias, at[1], 0, 0, 0);
  for (int64_t c = 0; c < sizes[1]; ++c)
    sum += value(&p->weight, at[1], c, 0, 0) * value(&p->inputs[0], at[0], first + c, 0, 0);
  return sum;
}

static double expected_relu(const bench_problem* p, const int64_t at[4]) {
  return fmax(value_at(&p->inputs[0], at), 0.0);
}

static double expected_add(const bench_problem* p, const int64_t at[4]) {
  return value_at(&p->inputs[0], at) + value_at(&p->inputs[1], at);
}

static double expected_softmax(const bench_problem* p, const int64_t at[4]) {
  const int64_t given = number(p, "dim"), dim = given < 0 ? given + p->y.shape.ndim : given;
  int64_t place[4] = {at[0], at[1], at[2], at[3]};
  double total = 0.0;
  for (place[dim] = 0; place[dim] < p->y.shape.sizes[dim]; ++place[dim]) total += exp(value_at(&p->inputs[0], place));
  const double x = value_at(&p->inputs[0], at);
  return number(p, "log") ? x - log(total) : exp(x) / total;
}

/* ---- the list --------------------------------------------------------------------------------------------------- */

static const bench_operator kOperators[] = {
    {"add", 2, call_add, expected_add},
    {"avg_pool2d", 1, call_avg_pool2d, expected_avg_pool2d},
    {"batch_norm", 1, call_batch_norm, expected_batch_norm},
    {"conv2d", 1, call_conv2d, expected_conv2d},
    {"linear", 1, call_linear, expected_linear},
    {"max_pool2d", 1, call_max_pool2d, expected_max_pool2d},
    {"relu", 1, call_relu, expected_relu},
    {"softmax", 1, call_softmax, expected_softmax},
    {"split_attention", 2, call_split_attention, expected_split_attention},
};

enum { kOperatorCount = sizeof kOperators / sizeof *kOperators };

const bench_operator* find_operator(const char* name) {
  for (int i = 0; i < kOperatorCount; ++i)
    if (strcmp(kOperators[i].name, name) == 0) return &kOperators[i];
  return NULL;
}

const char* operator_names(void) {
  static char names[256];
  names[0] = '\0';
  for (int i = 0; i < kOperatorCount; ++i) {
    if (i > 0) strcat(names, ", ");
    strcat(names, kOperators[i].name);
  }
  return names;
}
