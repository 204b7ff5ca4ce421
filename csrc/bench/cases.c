#include "bench/cases.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bench/operators.h"

static const int64_t kMostElements = (int64_t)1 << 40;

/* Where a line stands, and what is wrong with it. */
typedef struct place {
  const char* file;
  long line;
} place;

static void wrong(const place* at, const char* format, ...) {
  char reason[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(reason, sizeof reason, format, values);
  va_end(values);
  die("%s:%ld: %s", at->file, at->line, reason);
}

int64_t elements(const lucid_shape* shape) {
  int64_t count = 1;
  for (int d = 0; d < shape->ndim; ++d) count *= shape->sizes[d];
  return count;
}

const int64_t* attribute(const bench_case* given, const char* name) {
  int i = 0;
  while (strcmp(given->kind->attributes[i].name, name) != 0) ++i;
  return given->attributes[i].values;
}

/* Reads "3", "3x5" or longer; returns how many numbers there are, or 0 where the text is something else. */
static int numbers(const char* text, int most, int64_t* to) {
  for (int count = 0; count < most; ++count) {
    char* end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '-') return 0;
    to[count] = strtoll(text, &end, 10);
    if (end == text || to[count] > INT32_MAX || to[count] < -INT32_MAX) return 0;
    if (*end == '\0') return count + 1;
    if (*end != 'x') return 0;
    text = end + 1;
  }
  return 0;
}

static lucid_shape shape_of(const place* at, const char* what, const char* text) {
  lucid_shape shape = {.dtype = {LUCID_FLOAT, 32, 1}};
  shape.ndim = numbers(text, kMostDimensions, shape.sizes);
  if (shape.ndim == 0) wrong(at, "%s must be a shape such as 1x64x56x56, got '%s'", what, text);
  int64_t room = kMostElements;
  for (int d = 0; d < shape.ndim; ++d) {
    if (shape.sizes[d] < 1 || shape.sizes[d] > room)
      wrong(at, "%s must have positive sizes and at most 2^40 elements, got '%s'", what, text);
    room /= shape.sizes[d];
  }
  return shape;
}

static void read_inputs(const place* at, char* text, bench_case* to) {
  const int wanted = to->op->inputs;
  for (int i = 0; i < wanted; ++i) {
    char* rest = strchr(text, '+');
    if ((rest != NULL) != (i + 1 < wanted))
      wrong(at, "%s must have %d shape%s, with + between them, got '%s'", to->kind->name, wanted, &"s"[wanted == 1],
            text);
    if (rest != NULL) *rest++ = '\0';
    to->inputs[i] = shape_of(at, "an input", text);
    text = rest;
  }
}

static void read_attribute(const place* at, const char* key, const char* text, bench_case* to) {
  int i = 0;
  while (i < to->kind->attribute_count && strcmp(to->kind->attributes[i].name, key) != 0) ++i;
  /* A case is one operator, without the ReLU that a plan may fuse with it. */
  if (i == to->kind->attribute_count || strcmp(key, "relu") == 0) wrong(at, "%s has no '%s'", to->kind->name, key);
  lucid_attribute* found = &to->attributes[i];
  const int32_t type = to->kind->attributes[i].type;
  const bool flag = type == LUCID_ATTRIBUTE_BOOL;
  if (found->count != 0) wrong(at, "%s is given twice", key);
  if (flag && text != NULL) wrong(at, "%s takes no value, got '%s'", key, text);
  if (!flag && text == NULL) wrong(at, "%s must have a value", key);
  int64_t* values = found->values;
  values[0] = 1;
  const int given = flag ? 1 : numbers(text, 4, values);
  const int wanted = type == LUCID_ATTRIBUTE_PADDING ? 4 : type == LUCID_ATTRIBUTE_PAIR ? 2 : 1;
  if (given == 0 || given > wanted || given == 3)
    wrong(at, "%s must be %s, got '%s'", key, wanted == 1 ? "a number" : "numbers such as 1 or 1x2", text);
  /* One number is that of both dimensions, and two are those of both sides. */
  if (given == 1) values[1] = values[0];
  if (given <= 2) memcpy(values + 2, values, 2 * sizeof values[0]);
  found->count = wanted;
}

static void complete_attributes(const place* at, bench_case* to) {
  static const char* const kOnes[] = {"stride", "dilation", "groups", "radix", "cardinality"};
  static const char* const kRequired[] = {"kernel_size", "dim"};
  for (int i = 0; i < to->kind->attribute_count; ++i) {
    const lucid_attribute_kind* kind = &to->kind->attributes[i];
    lucid_attribute* attribute = &to->attributes[i];
    attribute->name = kind->name;
    if (attribute->count != 0) continue;
    for (size_t j = 0; j < sizeof kRequired / sizeof *kRequired; ++j)
      if (strcmp(kind->name, kRequired[j]) == 0) wrong(at, "%s needs %s", to->kind->name, kind->name);
    int64_t usual = 0;
    for (size_t j = 0; j < sizeof kOnes / sizeof *kOnes; ++j)
      if (strcmp(kind->name, kOnes[j]) == 0) usual = 1;
    attribute->count = kind->type == LUCID_ATTRIBUTE_PADDING ? 4 : kind->type == LUCID_ATTRIBUTE_PAIR ? 2 : 1;
    for (int v = 0; v < attribute->count; ++v) attribute->values[v] = usual;
  }
}

static void read_word(const place* at, char* word, bench_case* to) {
  char* text = strchr(word, '=');
  if (text != NULL) *text++ = '\0';
  if (strcmp(word, "name") == 0 && text != NULL) {
    if (text[0] == '\0' || strlen(text) >= kNameBytes || strpbrk(text, ",\"") != NULL)
      wrong(at, "name must have 1 to %d characters, without commas and quotes, got '%s'", kNameBytes - 1, text);
    strcpy(to->name, text);
  } else if (strcmp(word, "weight") == 0 && text != NULL && to->kind->weight != LUCID_ABSENT) {
    to->weight = shape_of(at, "weight", text);
  } else {
    read_attribute(at, word, text, to);
  }
}

/* The shape rule of the operator decides on the rest. */
static void check_case(const place* at, bench_case* to) {
  if (to->kind->weight != LUCID_ABSENT && to->weight.ndim == 0) wrong(at, "%s needs weight", to->kind->name);
  if (to->kind->bias != LUCID_ABSENT)
    to->bias = (lucid_shape){.dtype = to->weight.dtype, .ndim = 1, .sizes = {to->weight.sizes[0]}};
  const lucid_device cpu = {LUCID_CPU, 0};
  const lucid_tensor weight = {NULL, cpu, to->weight.ndim, to->weight.dtype, to->weight.sizes, NULL, 0};
  const lucid_tensor bias = {NULL, cpu, to->bias.ndim, to->bias.dtype, to->bias.sizes, NULL, 0};
  const lucid_plan_step step = {.kind = to->kind->name,
                                .input_count = to->op->inputs,
                                .attributes = to->attributes,
                                .attribute_count = to->kind->attribute_count,
                                .weight = weight.ndim != 0 ? &weight : NULL,
                                .bias = bias.ndim != 0 ? &bias : NULL};
  if (lucid_step_output_shape(&step, to->inputs, &to->output) != LUCID_OK) wrong(at, "%s", lucid_last_error());
}

static void read_case(const place* at, char* line, bench_case* to) {
  static const char kBlanks[] = " \t\r\n";
  memset(to, 0, sizeof *to);
  char* word = strtok(line, kBlanks);
  to->op = find_operator(word);
  if (to->op == NULL) wrong(at, "the operator must be one of %s, got '%s'", operator_names(), word);
  for (int32_t i = 0; (to->kind = lucid_step_kind_at(i)) != NULL; ++i)
    if (strcmp(to->kind->name, word) == 0) break;
  if (to->kind == NULL || to->kind->attribute_count > kMostAttributes) wrong(at, "this lucid has no %s", word);
  strcpy(to->name, word);
  word = strtok(NULL, kBlanks);
  if (word == NULL) wrong(at, "%s needs the shape of its input", to->kind->name);
  read_inputs(at, word, to);
  while ((word = strtok(NULL, kBlanks)) != NULL) read_word(at, word, to);
  complete_attributes(at, to);
  check_case(at, to);
}

bench_case* read_cases(FILE* file, const char* name, size_t* count) {
  bench_case* cases = NULL;
  size_t room = 0;
  char line[1024];
  place at = {name, 0};
  for (*count = 0; fgets(line, sizeof line, file) != NULL;) {
    ++at.line;
    if (strchr(line, '\n') == NULL && !feof(file)) wrong(&at, "a line must be a text of at most 1022 characters");
    const size_t blank = strspn(line, " \t\r\n");
    if (line[blank] == '\0') continue;
    if (*count == room) {
      room = 2 * room + 64;
      cases = (bench_case*)realloc(cases, room * sizeof *cases);
      if (cases == NULL) die("there is too little memory for the cases");
    }
    read_case(&at, line, &cases[(*count)++]);
  }
  if (ferror(file)) die("%s: must be a file that can be read", name);
  if (*count == 0) die("%s: must hold cases, as lucid bench kernel --list prints them", name);
  return cases;
}
