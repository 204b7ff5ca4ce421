/* lucid-run plan.lucid image.npy: the five largest outputs of a network, as "index value", best first.
 *
 * The plan is one that Python saved, of one input and one output; the array is one of numpy.save, prepared as the
 * network was trained. A batch gives five lines an image. */
#include <lucid.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "npy.h"

static void die(const char* what, const char* reason) {
  fprintf(stderr, "lucid-run: %s: %s\n", what, reason);
  exit(1);
}

static void check(lucid_status status) {
  if (status != LUCID_OK) die("lucid", lucid_last_error());
}

/* Forgets what it has printed. */
static void print_largest(float* y, int64_t count) {
  for (int shown = 0; shown < 5 && shown < count; ++shown) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; ++i)
      if (y[i] > y[best]) best = i;
    printf("%lld %.9g\n", (long long)best, y[best]);
    y[best] = -INFINITY;
  }
}

int main(int argc, char** argv) {
  lucid_plan* plan;
  lucid_shape shape;
  npy_array images;
  if (argc != 3) die("usage", "lucid-run plan.lucid image.npy");
  check(lucid_plan_load(argv[1], NULL, &plan));
  if (lucid_plan_input_count(plan) != 1 || lucid_plan_output_count(plan) != 1)
    die(argv[1], "must be a plan of one input and one output");
  check(lucid_plan_output(plan, 0, NULL, &shape));
  const char* problem = npy_read(argv[2], &images);
  if (problem != NULL) die(argv[2], problem);

  int64_t each = 1; /* outputs of an image */
  for (int d = 1; d < shape.ndim; ++d) each *= shape.sizes[d];
  float* outputs = (float*)malloc((size_t)(shape.sizes[0] * each) * sizeof(float) + 1);
  if (outputs == NULL) die("memory", "there is too little for the outputs");

  const lucid_device cpu = {LUCID_CPU, 0};
  const lucid_tensor x = {images.data, cpu, images.ndim, {LUCID_FLOAT, 32, 1}, images.shape, NULL, 0};
  lucid_tensor y = {outputs, cpu, shape.ndim, shape.dtype, shape.sizes, NULL, 0};
  const lucid_tensor* const inputs[] = {&x};
  lucid_tensor* const results[] = {&y};
  check(lucid_plan_run(plan, inputs, results, NULL)); /* which also compares the shapes */

  for (int64_t i = 0; i < shape.sizes[0]; ++i) print_largest(outputs + i * each, each);
  lucid_plan_destroy(plan);
  free(images.data);
  free(outputs);
  return 0;
}
