/* lucid-run plan.lucid image.npy: the five largest outputs of a network, as "index value", best first.
 *
 * The plan is one that Python saved, of one input; the array is one of numpy.save, prepared as the network was trained.
 * uint8 becomes float32 as it is. A batch gives five lines an image. */
#include <lucid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kShown = 5 };

static void die(const char* what, const char* reason) {
  fprintf(stderr, "lucid-run: %s: %s\n", what, reason);
  exit(1);
}

static void check(lucid_status status) {
  if (status != LUCID_OK) die("lucid", lucid_last_error());
}

static size_t elements(const lucid_shape* shape) {
  size_t count = 1;
  for (int d = 0; d < shape->ndim; ++d) count *= (size_t)shape->sizes[d];
  return count;
}

static float* floats(size_t count) {
  float* memory = (float*)malloc(count * sizeof(float) + 1);
  if (memory == NULL) die("memory", "there is too little for the inputs and outputs");
  return memory;
}

/* Compares "(1, 3, 224, 224)" of a header with the shape that the plan takes. */
static void check_shape(const char* path, const char* text, const lucid_shape* shape) {
  char wanted[256];
  int length = sprintf(wanted, "(");
  for (int d = 0; d < shape->ndim; ++d)
    length += sprintf(wanted + length, d == 0 ? "%lld" : ", %lld", (long long)shape->sizes[d]);
  strcpy(wanted + length, ")");
  if (text != NULL && strncmp(text, wanted, strlen(wanted)) == 0) return;
  char reason[512];
  sprintf(reason, "the array must have the shape %s that the plan takes", wanted);
  die(path, reason);
}

static float* read_npy(const char* path, const lucid_shape* shape) {
  unsigned char start[10];
  char header[1024];
  FILE* file = fopen(path, "rb");
  if (file == NULL) die(path, "must be a file that can be read");
  const size_t got = fread(start, 1, sizeof start, file);
  const size_t length = got == sizeof start ? start[8] + 256u * start[9] : sizeof header;
  /* Version 1 is what numpy.save writes for any array with less than thousands of fields. */
  if (length >= sizeof header || memcmp(start, "\x93NUMPY\x01", 7) != 0 || fread(header, 1, length, file) != length)
    die(path, "must be an array that numpy.save wrote");
  header[length] = '\0';
  const int bytes = strstr(header, "'descr': '|u1'") != NULL;
  if (!bytes && strstr(header, "'descr': '<f4'") == NULL) die(path, "the array must be of float32 or uint8");
  if (strstr(header, "'fortran_order': False") == NULL) die(path, "the array must be in C order");
  const char* key = strstr(header, "'shape': ");
  check_shape(path, key != NULL ? key + strlen("'shape': ") : NULL, shape);

  const size_t count = elements(shape), size = bytes ? 1 : sizeof(float);
  float* x = floats(count);
  if (fread(x, size, count, file) != count || fgetc(file) != EOF) die(path, "must hold the array that it describes");
  fclose(file);
  if (bytes) /* from the last on, since a float takes the place of four bytes */
    for (size_t i = count; i-- > 0;) x[i] = ((const unsigned char*)x)[i];
  return x;
}

static void print_largest(const float* y, size_t count) {
  size_t shown[kShown], done = 0;
  for (; done < kShown && done < count; ++done) {
    size_t best = count;
    for (size_t i = 0; i < count; ++i) {
      size_t earlier = 0;
      while (earlier < done && shown[earlier] != i) ++earlier;
      if (earlier == done && (best == count || y[i] > y[best])) best = i;
    }
    shown[done] = best;
    printf("%zu %.9g\n", best, y[best]);
  }
}

static lucid_tensor tensor(float* data, const lucid_shape* shape) {
  lucid_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.device.type = LUCID_CPU;
  t.ndim = shape->ndim;
  t.dtype = shape->dtype;
  t.shape = shape->sizes;
  return t;
}

int main(int argc, char** argv) {
  lucid_plan* plan;
  lucid_shape input, output;
  if (argc != 3) die("usage", "lucid-run plan.lucid image.npy");
  check(lucid_plan_load(argv[1], NULL, &plan));
  if (lucid_plan_input_count(plan) != 1 || lucid_plan_output_count(plan) != 1)
    die(argv[1], "must be a plan of one input and one output");
  check(lucid_plan_input(plan, 0, NULL, &input));
  check(lucid_plan_output(plan, 0, NULL, &output));
  float* x = read_npy(argv[2], &input);
  float* y = floats(elements(&output));
  const lucid_tensor given = tensor(x, &input);
  lucid_tensor made = tensor(y, &output);
  const lucid_tensor* inputs[] = {&given};
  lucid_tensor* outputs[] = {&made};
  check(lucid_plan_run(plan, inputs, outputs, NULL));
  const size_t images = (size_t)output.sizes[0], each = images > 0 ? elements(&output) / images : 0;
  for (size_t i = 0; i < images; ++i) print_largest(y + i * each, each);
  lucid_plan_destroy(plan);
  free(x);
  free(y);
  return 0;
}
