#include "bench/problem.h"

#include <math.h>
#include <string.h>

#include "bench/operators.h"

enum { kSamples = 256 };

/* Of the largest value, as for `lucid bench`: Winograd's algorithm stays below a tenth of it. */
static const double kTolerance = 1e-4;

/* From -1 to 1, the same in each run (Steele, Lea & Flood 2014, SplitMix64). */
static uint64_t drawn(uint64_t* state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void make_array(bench_array* array, const lucid_shape* shape, int image, uint64_t* state) {
  const size_t count = (size_t)elements(shape);
  array->shape = *shape;
  array->data = (float*)lucid_alloc(count * sizeof(float));
  if (array->data == NULL) die("there is too little memory for the arrays");
  for (size_t i = 0; i < count; ++i) array->data[i] = (float)((double)(drawn(state) >> 40) / (1 << 23) - 1.0);
  static const int kRows[] = {3, 2, 1, 0}, kChannelsLast[] = {1, 3, 2, 0}; /* dimensions, the fastest first */
  const int* order = image && shape->ndim == 4 ? kChannelsLast : kRows;
  int64_t stride = 1;
  for (int i = 0; i < kMostDimensions; ++i) {
    array->strides[order[i]] = order[i] < shape->ndim ? stride : 0;
    if (order[i] < shape->ndim) stride *= shape->sizes[order[i]];
  }
  const lucid_device cpu = {LUCID_CPU, 0};
  const lucid_tensor tensor = {array->data, cpu, shape->ndim, shape->dtype, array->shape.sizes, array->strides, 0};
  array->tensor = tensor;
}

static void fill(bench_array* array, float value) {
  const int64_t count = elements(&array->shape);
  for (int64_t i = 0; i < count; ++i) array->data[i] = value;
}

void make_problem(bench_problem* problem, const bench_case* given) {
  uint64_t state = 0;
  memset(problem, 0, sizeof *problem);
  problem->given = given;
  for (int i = 0; i < given->op->inputs; ++i) make_array(&problem->inputs[i], &given->inputs[i], 1, &state);
  if (given->weight.ndim != 0) {
    make_array(&problem->weight, &given->weight, 0, &state);
    make_array(&problem->bias, &given->bias, 0, &state);
    make_array(&problem->mean, &given->bias, 0, &state);
    make_array(&problem->var, &given->bias, 0, &state);
    fill(&problem->mean, 0.0f);
    fill(&problem->var, 1.0f);
  }
  make_array(&problem->y, &given->output, 1, &state);
}

void destroy_problem(bench_problem* problem) {
  for (int i = 0; i < kMostInputs; ++i) lucid_free(problem->inputs[i].data);
  lucid_free(problem->weight.data);
  lucid_free(problem->bias.data);
  lucid_free(problem->mean.data);
  lucid_free(problem->var.data);
  lucid_free(problem->y.data);
}

lucid_plan* make_plan(const bench_problem* problem) {
  const bench_case* given = problem->given;
  static const int32_t kInputs[] = {0, 1};
  const int32_t output = given->op->inputs;
  lucid_shape values[kMostInputs + 1];
  for (int i = 0; i < output; ++i) values[i] = given->inputs[i];
  values[output] = given->output;
  const int weighted = given->weight.ndim != 0;
  const lucid_plan_step step = {.kind = given->kind->name,
                                .inputs = kInputs,
                                .input_count = output,
                                .output = output,
                                .attributes = given->attributes,
                                .attribute_count = given->kind->attribute_count,
                                .weight = weighted ? &problem->weight.tensor : NULL,
                                .bias = weighted ? &problem->bias.tensor : NULL};
  const lucid_plan_args args = {.size = sizeof args,
                                .values = values,
                                .steps = &step,
                                .inputs = kInputs,
                                .outputs = &output,
                                .value_count = output + 1,
                                .step_count = 1,
                                .input_count = output,
                                .output_count = 1,
                                .winograd = 1};
  lucid_plan* plan;
  check(lucid_plan_create(&args, &plan));
  return plan;
}

void run(bench_problem* problem, const lucid_plan* plan) {
  const lucid_tensor* inputs[] = {&problem->inputs[0].tensor, &problem->inputs[1].tensor};
  lucid_tensor* outputs[] = {&problem->y.tensor};
  check(plan != NULL ? lucid_plan_run(plan, inputs, outputs, NULL) : problem->given->op->call(problem));
}

int is_right(bench_problem* problem, const lucid_plan* plan, const char* way) {
  const bench_case* given = problem->given;
  const int64_t count = elements(&given->output);
  uint64_t state = 1;
  double error = 0.0, largest = 0.0;
  int64_t missing = 0;
  fill(&problem->y, NAN);
  run(problem, plan);
  for (int64_t i = 0; i < count; ++i) missing += isnan(problem->y.data[i]) != 0;
  /* The first element, the last, and others at random. */
  for (int s = 0; s < kSamples; ++s) {
    int64_t index = s == 0 ? 0 : s == 1 ? count - 1 : (int64_t)(drawn(&state) % (uint64_t)count), offset = 0;
    int64_t at[kMostDimensions] = {0};
    for (int d = given->output.ndim; d-- > 0; index /= given->output.sizes[d]) {
      at[d] = index % given->output.sizes[d];
      offset += at[d] * problem->y.strides[d];
    }
    const double wanted = given->op->expected(problem, at);
    error = fmax(error, fabs(problem->y.data[offset] - wanted));
    largest = fmax(largest, fabs(wanted));
  }
  if (missing == 0 && error <= kTolerance * largest) return 1;
  fprintf(stderr,
          "lucid-bench-kernel: %s, %s: wrong: error %.1e of the largest value, allowed %g; %lld of %lld are NaN\n",
          given->name, way, error / largest, kTolerance, (long long)missing, (long long)count);
  return 0;
}
