/* The operators that are measured: how each is called, and what is right by its definition. */
#ifndef LUCID_BENCH_OPERATORS_H
#define LUCID_BENCH_OPERATORS_H

#include "bench/problem.h"

typedef struct bench_operator {
  const char* name;
  int32_t inputs;
  lucid_status (*call)(bench_problem* problem);
  /* The value of y at [n, c, h, w], computed in double; rows are images of one pixel. */
  double (*expected)(const bench_problem* problem, const int64_t at[4]);
} bench_operator;

/* NULL where no operator has the name; and the names of all. */
const bench_operator* find_operator(const char* name);
const char* operator_names(void);

#endif
