/* Arrays that numpy.save wrote (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): version 1, in
 * C order, of float32 or of uint8, which becomes float32 as it is. */
#ifndef NPY_H
#define NPY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kNpyMostDimensions = 8 };

typedef struct npy_array {
  int32_t ndim;
  int64_t shape[kNpyMostDimensions];
  float* data; /* for free() */
} npy_array;

/* Reads a shape such as "(1, 3, 224, 224)"; returns the number of elements, or -1 where the text is something else. */
static int64_t npy_read_shape(const char* text, npy_array* array) {
  int64_t count = 1;
  if (*text++ != '(') return -1;
  for (array->ndim = 0; *text != ')'; ++array->ndim) {
    char* end;
    const int64_t size = strtoll(text, &end, 10);
    if (array->ndim == kNpyMostDimensions || end == text || size < 0) return -1;
    if (count != 0 && size > ((int64_t)1 << 40) / count) return -1; /* more than any memory */
    array->shape[array->ndim] = size;
    count *= size;
    text = end + strspn(end, ", ");
  }
  return count;
}

static const char* npy_read_file(FILE* file, npy_array* array) {
  static const char kOther[] = "must be an array that numpy.save wrote";
  unsigned char start[10]; /* "\x93NUMPY", the version in two bytes, the length of the header in two */
  char header[1024];
  if (fread(start, 1, sizeof start, file) != sizeof start || memcmp(start, "\x93NUMPY\x01", 7) != 0) return kOther;
  const size_t length = start[8] + 256u * start[9];
  if (length >= sizeof header || fread(header, 1, length, file) != length) return kOther;
  header[length] = '\0';

  const int bytes = strstr(header, "'descr': '|u1'") != NULL;
  if (!bytes && strstr(header, "'descr': '<f4'") == NULL) return "the array must be of float32 or uint8";
  if (strstr(header, "'fortran_order': False") == NULL) return "the array must be in C order";
  const char* key = strstr(header, "'shape': ");
  const int64_t count = key != NULL ? npy_read_shape(key + strlen("'shape': "), array) : -1;
  if (count < 0) return kOther;

  float* data = array->data = (float*)malloc((size_t)count * sizeof(float) + 1); /* NULL is never that of 0 elements */
  if (data == NULL) return "there is too little memory for the array";
  if (fread(data, bytes ? 1 : sizeof(float), (size_t)count, file) != (size_t)count || fgetc(file) != EOF)
    return "must hold the array that it describes";
  if (bytes) /* from the last on, since a float takes the place of four bytes */
    for (int64_t i = count; i-- > 0;) data[i] = ((const unsigned char*)data)[i];
  return NULL;
}

/* NULL, or what is wrong with the file. */
static const char* npy_read(const char* path, npy_array* array) {
  array->data = NULL;
  FILE* file = fopen(path, "rb");
  if (file == NULL) return "must be a file that can be read";
  const char* problem = npy_read_file(file, array);
  fclose(file);
  return problem;
}

#endif
