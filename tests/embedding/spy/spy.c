/* Stands before lucid_conv2d and lucid_split_attention, remembers the pointers of the last call, and calls lucid. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <lucid.h>

const void* spied[3]; /* x, weight or logits, y */

static void* next(const char* name) {
  static void* lucid;
  if (lucid == NULL) {
    Dl_info found;
    dladdr((void*)lucid_version, &found);
    lucid = dlopen(found.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  }
  return dlsym(lucid, name);
}

static void remember(const lucid_tensor* x, const lucid_tensor* other, const lucid_tensor* y) {
  spied[0] = x->data;
  spied[1] = other->data;
  spied[2] = y->data;
}

lucid_status lucid_conv2d(const lucid_conv2d_args* args) {
  remember(args->x, args->weight, args->y);
  return ((lucid_status (*)(const lucid_conv2d_args*))next("lucid_conv2d"))(args);
}

lucid_status lucid_split_attention(const lucid_split_attention_args* args) {
  remember(args->x, args->logits, args->y);
  return ((lucid_status (*)(const lucid_split_attention_args*))next("lucid_split_attention"))(args);
}
