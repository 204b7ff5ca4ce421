/* Stands before lucid_conv2d, lucid_split_attention and lucid_plan_run, remembers the pointers of the last call, and
 * calls lucid. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <lucid.h>

const void* spied[3]; /* x; weight, logits or for a plan x again; y */

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

lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs, lucid_tensor* const* outputs,
                            double* milliseconds) {
  typedef lucid_status (*Run)(const lucid_plan*, const lucid_tensor* const*, lucid_tensor* const*, double*);
  remember(inputs[0], inputs[0], outputs[0]);
  return ((Run)next("lucid_plan_run"))(plan, inputs, outputs, milliseconds);
}
