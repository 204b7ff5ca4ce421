/* A plug-in's host: opens and closes the library around calls that use several threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static const char* path;

static void* open_call_close(void* argument) {
  double rate = 0.0;
  int ok = 0;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return NULL;
  int32_t (*set_num_threads)(int32_t) = (int32_t (*)(int32_t))dlsym(library, "lucid_set_num_threads");
  int32_t (*fma_peak)(double*) = (int32_t (*)(double*))dlsym(library, "lucid_fma_peak");
  if (set_num_threads != NULL && fma_peak != NULL) ok = set_num_threads(3) == 0 && fma_peak(&rate) == 0 && rate > 0.0;
  return dlclose(library) == 0 && ok ? argument : NULL;
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  path = arguments[1];
  for (int i = 0; i < 4; ++i) {
    pthread_t thread;
    void* done = NULL;
    if (open_call_close(&path) == NULL) return 3;
    usleep(2000); /* its threads wake up, if they still wait awake */
    if (pthread_create(&thread, NULL, open_call_close, &path) != 0) return 4;
    pthread_join(thread, &done);
    if (done == NULL) return 5;
    usleep(2000);
  }
  puts("passed");
  return 0;
}
