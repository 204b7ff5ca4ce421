/* Cases to measure: a line each, as `lucid bench kernel --list` prints them. */
#ifndef LUCID_BENCH_CASES_H
#define LUCID_BENCH_CASES_H

#include <lucid.h>
#include <stdio.h>

enum { kMostInputs = 2, kMostDimensions = 4, kMostAttributes = 16, kNameBytes = 128 };

struct bench_operator;

/* A step of a plan, without data. What a line leaves out has its usual value. */
typedef struct bench_case {
  char name[kNameBytes];
  const struct bench_operator* op;
  const lucid_step_kind* kind;
  lucid_shape inputs[kMostInputs], weight, bias, output; /* weight and bias have no dimensions where there is none */
  lucid_attribute attributes[kMostAttributes];           /* in the order of `kind` */
} bench_case;

/* All cases of a file; `name` is its own, for messages. Ends the program at the first line that is no case. */
bench_case* read_cases(FILE* file, const char* name, size_t* count);

/* The values of an attribute that the kind has. */
const int64_t* attribute(const bench_case* given, const char* name);

int64_t elements(const lucid_shape* shape);

/* Prints "lucid-bench-kernel: " and a sentence, and ends the program. */
void die(const char* format, ...);

#endif
