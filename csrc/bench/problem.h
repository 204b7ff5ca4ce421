/* A case with its data: made, run, and compared with its definition. */
#ifndef LUCID_BENCH_PROBLEM_H
#define LUCID_BENCH_PROBLEM_H

#include "bench/cases.h"

/* An array in memory. An image has its channels last, the fastest layout; anything else is row-major. */
typedef struct bench_array {
  lucid_shape shape;
  int64_t strides[kMostDimensions];
  float* data;
  lucid_tensor tensor;
} bench_array;

typedef struct bench_problem {
  const bench_case* given;
  bench_array inputs[kMostInputs], weight, bias, y;
  bench_array mean, var; /* of batch_norm, zeros and ones: a plan has statistics folded into weight and bias */
} bench_problem;

void make_problem(bench_problem* problem, const bench_case* given);
void destroy_problem(bench_problem* problem);

/* A plan of the one step. */
lucid_plan* make_plan(const bench_problem* problem);

/* With a plan or, where that is NULL, by a call. */
void run(bench_problem* problem, const lucid_plan* plan);

/* Whether all of y is written, and some hundred elements of it are right; says what is wrong, and `way`. */
int is_right(bench_problem* problem, const lucid_plan* plan, const char* way);

/* Ends the program where a function of lucid has failed. */
void check(lucid_status status);

#endif
