/* An embedder of lucid: C99, the header and the shared library, nothing else. Prints the version; exits 1 with a
 * message at the first thing that is wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lucid.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: %s; last error: '%s'\n", __LINE__, #condition, lucid_last_error()); \
      exit(1); \
    } \
  } while (0)

enum { N = 2, C = 6, H = 5, W = 4, K = 4, GROUPS = 2, KERNEL = 3, IN_GROUP = C / GROUPS, OUT_GROUP = K / GROUPS };

static lucid_tensor float_tensor(float* data, int32_t ndim, const int64_t* shape) {
  lucid_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.data = data;
  tensor.device.type = LUCID_CPU;
  tensor.ndim = ndim;
  tensor.dtype.code = LUCID_FLOAT;
  tensor.dtype.bits = 32;
  tensor.dtype.lanes = 1;
  tensor.shape = shape;
  return tensor;
}

/* Small integers, so that every sum below is exact. */
static void fill(float* data, int size, int seed) {
  int i;
  for (i = 0; i < size; ++i) data[i] = (float)((i * 7 + seed) % 9 - 4);
}

static float convolved(const float* x, const float* weight, const float* bias, int n, int k, int row, int column) {
  float sum = bias[k];
  int c, i, j;
  for (c = 0; c < IN_GROUP; ++c)
    for (i = 0; i < KERNEL; ++i)
      for (j = 0; j < KERNEL; ++j) {
        const int h = row + i - 1, w = column + j - 1, channel = k / OUT_GROUP * IN_GROUP + c;
        if (h >= 0 && h < H && w >= 0 && w < W)
          sum += weight[((k * IN_GROUP + c) * KERNEL + i) * KERNEL + j] * x[((n * C + channel) * H + h) * W + w];
      }
  return sum;
}

static void test_conv2d(void) {
  static float x[N * C * H * W], weight[K * IN_GROUP * KERNEL * KERNEL], bias[K], y[N * K * H * W];
  const int64_t x_shape[] = {N, C, H, W}, weight_shape[] = {K, IN_GROUP, KERNEL, KERNEL};
  const int64_t bias_shape[] = {K}, y_shape[] = {N, K, H, W}, strides[] = {K * H * W, 1, K * W, K};
  lucid_tensor x_tensor = float_tensor(x, 4, x_shape), weight_tensor = float_tensor(weight, 4, weight_shape);
  lucid_tensor bias_tensor = float_tensor(bias, 1, bias_shape), y_tensor = float_tensor(y, 4, y_shape);
  lucid_conv2d_args args;
  const char* names = NULL;
  lucid_shape shape;
  int n, k, h, w, channels_last;
  fill(x, N * C * H * W, 1);
  fill(weight, K * IN_GROUP * KERNEL * KERNEL, 2);
  fill(bias, K, 3);
  memset(&args, 0, sizeof args);
  args.x = &x_tensor;
  args.weight = &weight_tensor;
  args.bias = &bias_tensor;
  args.y = &y_tensor;
  args.size = sizeof args;
  args.stride[0] = args.stride[1] = args.dilation[0] = args.dilation[1] = 1;
  args.padding[0] = args.padding[1] = 1;
  args.groups = GROUPS;

  CHECK(lucid_conv2d_output_shape(&args, &shape) == LUCID_OK);
  CHECK(shape.ndim == 4 && memcmp(shape.sizes, y_shape, sizeof y_shape) == 0);
  CHECK(shape.dtype.code == LUCID_FLOAT && shape.dtype.bits == 32);
  CHECK(lucid_conv2d_algorithms(&args, &names) == LUCID_OK && names != NULL && names[0] != '\0');
  for (channels_last = 0; channels_last < 2; ++channels_last) {
    y_tensor.strides = channels_last ? strides : NULL;
    memset(y, 0, sizeof y);
    CHECK(lucid_conv2d(&args) == LUCID_OK);
    CHECK(strcmp(lucid_last_error(), "") == 0);
    for (n = 0; n < N; ++n)
      for (k = 0; k < K; ++k)
        for (h = 0; h < H; ++h)
          for (w = 0; w < W; ++w)
            CHECK(y[channels_last ? ((n * H + h) * W + w) * K + k : ((n * K + k) * H + h) * W + w] ==
                  convolved(x, weight, bias, n, k, h, w));
  }

  args.groups = 4;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  CHECK(strncmp(lucid_last_error(), "conv2d: ", 8) == 0);
  args.groups = GROUPS;
  args.padding[0] = 0; /* y would be smaller */
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  args.padding[0] = 1;
  args.algorithm = "fastest";
  CHECK(lucid_conv2d(&args) != LUCID_OK);
  CHECK(strstr(lucid_last_error(), "fastest") != NULL);
  args.algorithm = NULL;
  args.weight = NULL;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  args.weight = &weight_tensor;
  args.y = NULL;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  args.y = &y_tensor;
  x_tensor.device.type = LUCID_CUDA;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  x_tensor.device.type = LUCID_CPU;
  x_tensor.data = NULL;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT);
  x_tensor.data = x;
  CHECK(lucid_conv2d(&args) == LUCID_OK);
  CHECK(strcmp(lucid_last_error(), "") == 0);
}

static void test_prepared_weights(void) {
  static float x[N * C * H * W], weight[K * IN_GROUP * KERNEL * KERNEL], bias[K], want[N * K * H * W], y[N * K * H * W];
  const int64_t x_shape[] = {N, C, H, W}, weight_shape[] = {K, IN_GROUP, KERNEL, KERNEL};
  const int64_t bias_shape[] = {K}, y_shape[] = {N, K, H, W};
  lucid_tensor x_tensor = float_tensor(x, 4, x_shape), weight_tensor = float_tensor(weight, 4, weight_shape);
  lucid_tensor bias_tensor = float_tensor(bias, 1, bias_shape), y_tensor = float_tensor(want, 4, y_shape);
  lucid_conv2d_weights* prepared = NULL;
  lucid_conv2d_args args;
  fill(x, N * C * H * W, 1);
  fill(weight, K * IN_GROUP * KERNEL * KERNEL, 2);
  fill(bias, K, 3);
  memset(&args, 0, sizeof args);
  args.x = &x_tensor;
  args.weight = &weight_tensor;
  args.bias = &bias_tensor;
  args.y = &y_tensor;
  args.stride[0] = args.stride[1] = args.dilation[0] = args.dilation[1] = 1;
  args.padding[0] = args.padding[1] = 1;
  args.groups = GROUPS;
  CHECK(lucid_conv2d(&args) == LUCID_OK);

  x_tensor.data = NULL; /* only its shape is asked */
  CHECK(lucid_conv2d_prepare(&args, &prepared) == LUCID_OK && prepared != NULL);
  x_tensor.data = x;
  weight_tensor.data = bias_tensor.data = NULL; /* packed */
  y_tensor.data = y;
  args.prepared = prepared;
  CHECK(lucid_conv2d(&args) == LUCID_OK);
  CHECK(memcmp(y, want, sizeof y) == 0);

  args.bias = NULL;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT && strstr(lucid_last_error(), "conv2d: bias") != NULL);
  args.bias = &bias_tensor;
  args.dilation[0] = 2;
  args.padding[0] = 2;
  CHECK(lucid_conv2d(&args) == LUCID_INVALID_ARGUMENT && strstr(lucid_last_error(), "geometry") != NULL);
  lucid_conv2d_weights_destroy(prepared);
  lucid_conv2d_weights_destroy(NULL);
  CHECK(lucid_conv2d_prepare(&args, &prepared) == LUCID_INVALID_ARGUMENT && prepared == NULL); /* no data */
}

static void test_batch_norm(void) {
  static float x[N * C * H * W], y[N * C * H * W];
  float weight[C], bias[C], mean[C], var[C];
  const int64_t shape[] = {N, C, H, W}, channels[] = {C};
  lucid_tensor x_tensor = float_tensor(x, 4, shape), y_tensor = float_tensor(y, 4, shape);
  lucid_tensor weight_tensor = float_tensor(weight, 1, channels), bias_tensor = float_tensor(bias, 1, channels);
  lucid_tensor mean_tensor = float_tensor(mean, 1, channels), var_tensor = float_tensor(var, 1, channels);
  lucid_batch_norm_args args;
  int i, relu;
  fill(x, N * C * H * W, 4);
  fill(weight, C, 5);
  fill(bias, C, 6);
  fill(mean, C, 7);
  memset(&args, 0, sizeof args);
  for (i = 0; i < C; ++i) var[i] = (float)(i + 1);
  args.x = &x_tensor;
  args.y = &y_tensor;
  args.weight = &weight_tensor;
  args.bias = &bias_tensor;
  args.mean = &mean_tensor;
  args.var = &var_tensor;
  args.eps = 1e-5;
  for (relu = 0; relu < 2; ++relu) {
    args.relu = relu;
    CHECK(lucid_batch_norm(&args) == LUCID_OK);
    for (i = 0; i < N * C * H * W; ++i) {
      const int c = i / (H * W) % C;
      double want = (x[i] - mean[c]) / sqrt(var[c] + args.eps) * weight[c] + bias[c];
      if (relu && want < 0) want = 0;
      CHECK(fabs(y[i] - want) <= 1e-5); /* values up to 40, a few roundings of 2^-24 each */
    }
  }
  args.mean = NULL;
  CHECK(lucid_batch_norm(&args) == LUCID_INVALID_ARGUMENT);
  CHECK(strncmp(lucid_last_error(), "batch_norm: ", 12) == 0);
  args.mean = &mean_tensor;
  args.eps = -1;
  CHECK(lucid_batch_norm(&args) == LUCID_INVALID_ARGUMENT);
}

/* A struct cleared with memset, as a program may be whose author never reads of sizes. */
static void test_plan(void) {
  enum { IN = 3, OUT = 2 };
  float x[N * IN], weight[OUT * IN], y[N * OUT];
  const int64_t x_shape[] = {N, IN}, weight_shape[] = {OUT, IN}, y_shape[] = {N, OUT};
  lucid_tensor x_tensor = float_tensor(x, 2, x_shape), weight_tensor = float_tensor(weight, 2, weight_shape);
  lucid_tensor y_tensor = float_tensor(y, 2, y_shape);
  const lucid_tensor* inputs[] = {&x_tensor};
  lucid_tensor* outputs[] = {&y_tensor};
  const int32_t zero = 0, one = 1;
  lucid_attribute attributes[2];
  lucid_shape values[2];
  lucid_plan_step step;
  lucid_plan_args args;
  lucid_plan* plan = NULL;
  int n, k, i;
  fill(x, N * IN, 1);
  fill(weight, OUT * IN, 2);
  memset(attributes, 0, sizeof attributes);
  attributes[0].name = "relu";
  attributes[1].name = "groups";
  attributes[0].count = attributes[1].count = 1;
  attributes[1].values[0] = 1;
  memset(&step, 0, sizeof step);
  step.kind = "linear";
  step.inputs = &zero;
  step.input_count = 1;
  step.output = 1;
  step.attributes = attributes;
  step.attribute_count = 2;
  step.weight = &weight_tensor;
  memset(values, 0, sizeof values);
  values[0].dtype = x_tensor.dtype;
  values[0].ndim = 2;
  values[0].sizes[0] = N;
  values[0].sizes[1] = IN;
  CHECK(lucid_step_output_shape(&step, values, &values[1]) == LUCID_OK);
  CHECK(values[1].ndim == 2 && values[1].sizes[0] == N && values[1].sizes[1] == OUT);
  memset(&args, 0, sizeof args);
  args.values = values;
  args.steps = &step;
  args.inputs = &zero;
  args.outputs = &one;
  args.value_count = 2;
  args.step_count = args.input_count = args.output_count = 1;
  CHECK(lucid_plan_create(&args, &plan) == LUCID_OK);
  CHECK(strcmp(lucid_plan_algorithm(plan, 0), "linear") == 0);
  CHECK(lucid_plan_run(plan, inputs, outputs, NULL) == LUCID_OK);
  for (n = 0; n < N; ++n)
    for (k = 0; k < OUT; ++k) {
      float sum = 0;
      for (i = 0; i < IN; ++i) sum += x[n * IN + i] * weight[k * IN + i];
      CHECK(y[n * OUT + k] == sum);
    }
  lucid_plan_destroy(plan);

  step.kind = "nothing";
  CHECK(lucid_step_output_shape(&step, values, &values[1]) == LUCID_INVALID_ARGUMENT);
  CHECK(strstr(lucid_last_error(), "got 'nothing'") != NULL);
  values[0].dtype.bits = 16;
  CHECK(lucid_plan_create(&args, &plan) == LUCID_UNSUPPORTED);
  CHECK(plan == NULL && strstr(lucid_last_error(), "must be float32") != NULL);
  for (i = 0; lucid_step_kind_at(i) != NULL; ++i) CHECK(lucid_step_kind_at(i)->name != NULL);
  CHECK(i >= 15 && lucid_step_kind_at(-1) == NULL);
}

static void test_machine(void) {
  void* memory = lucid_alloc(1000);
  CHECK(memory != NULL && (uintptr_t)memory % 64 == 0);
  lucid_free(memory);
  lucid_free(NULL);
  lucid_release_memory();
  CHECK(lucid_alloc((size_t)-1) == NULL);
  CHECK(lucid_abi_version() == LUCID_ABI_VERSION);
  CHECK(strstr(lucid_isas(), lucid_isa()) != NULL);
  CHECK(strlen(lucid_build_info()) > 0);
  CHECK(lucid_set_isa("doesnotexist") == LUCID_UNSUPPORTED);
  CHECK(strstr(lucid_last_error(), "doesnotexist") != NULL);
  CHECK(lucid_set_isa("generic") == LUCID_OK && strcmp(lucid_isa(), "generic") == 0);
  CHECK(lucid_set_isa(NULL) == LUCID_OK);
  CHECK(lucid_set_num_threads(0) == LUCID_INVALID_ARGUMENT);
  CHECK(lucid_set_num_threads(2) == LUCID_OK && lucid_num_threads() == 2);
}

int main(void) {
  test_machine();
  test_conv2d();
  test_prepared_weights();
  test_batch_norm();
  test_plan();
  printf("%s\n", lucid_version());
  return 0;
}
