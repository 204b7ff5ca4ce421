/* The C ABI of lucid: the only header an embedder needs, and the only one that Python is built on.
 *
 * Every operator is one function that takes one plain `*_args` struct. A function checks its arguments, never prints,
 * never aborts and never throws; it reports through lucid_status, and lucid_last_error() says why in one sentence.
 * All functions are thread-safe. Pointers are borrowed for the length of the call only.
 *
 * Tensors are float32. `x` may have any strides (NCHW, channels-last, slices, negative steps) and is never written;
 * `y` may have any strides that do not make two elements share memory. Channels-last (channel stride 1) is fastest. */
#ifndef LUCID_H
#define LUCID_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LUCID_API __attribute__((visibility("default")))
#else
#define LUCID_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever a struct or the meaning of a field changes. */
#define LUCID_ABI_VERSION 1

typedef enum lucid_status {
  LUCID_OK = 0,
  LUCID_INVALID_ARGUMENT = 1, /* a shape, stride, dtype or pointer that the operator cannot accept */
  LUCID_UNSUPPORTED = 2,      /* valid, but not available on this device or in this build */
  LUCID_OUT_OF_MEMORY = 3
} lucid_status;

/* Why the last call on this thread failed; "" after a success. */
LUCID_API const char* lucid_last_error(void);

LUCID_API int32_t lucid_abi_version(void);
LUCID_API const char* lucid_version(void);    /* "0.1.0" */
LUCID_API const char* lucid_build_info(void); /* lines of "key: value": compiler, flags, instruction sets, OpenMP */

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* The memory layout and the codes are those of DLPack's DLTensor (https://dmlc.github.io/dlpack), so a pointer to one
 * can be passed as it is. */
typedef enum lucid_dtype_code {
  LUCID_INT = 0,
  LUCID_UINT = 1,
  LUCID_FLOAT = 2,
  LUCID_COMPLEX = 5,
  LUCID_BOOL = 6
} lucid_dtype_code;
typedef enum lucid_device_type { LUCID_CPU = 1, LUCID_CUDA = 2 } lucid_device_type;

typedef struct lucid_device {
  int32_t type; /* lucid_device_type */
  int32_t id;
} lucid_device;

typedef struct lucid_dtype {
  uint8_t code; /* lucid_dtype_code */
  uint8_t bits;
  uint16_t lanes; /* always 1 */
} lucid_dtype;

typedef struct lucid_tensor {
  void* data;
  lucid_device device;
  int32_t ndim;
  lucid_dtype dtype;
  const int64_t* shape;   /* [ndim] */
  const int64_t* strides; /* [ndim], in elements; NULL for a dense row-major tensor */
  uint64_t byte_offset;
} lucid_tensor;

/* ---- the machine ------------------------------------------------------------------------------------------------ */

/* The instruction set in use ("amx", "avx512", "avx2", "generic"), those that this processor can run (comma-separated,
 * best first), and a way to pin one (tests, bisection); NULL returns to the best. One that cannot run here is
 * LUCID_UNSUPPORTED. */
LUCID_API const char* lucid_isa(void);
LUCID_API const char* lucid_isas(void);
LUCID_API lucid_status lucid_set_isa(const char* name);

/* Threads that an operator may use. The default is min(processors this process may run on, cgroup CPU quota,
 * OMP_NUM_THREADS). In a child made by fork() every operator runs on the calling thread alone: libgomp's workers do not
 * survive a fork, and waiting for them would hang. */
LUCID_API int32_t lucid_num_threads(void);
LUCID_API lucid_status lucid_set_num_threads(int32_t threads);

/* 64-byte aligned memory from a cache of freed blocks: fresh pages cost 0.25 ms/MB in page faults, more than most
 * layers compute. NULL when there is none. lucid_release_memory() gives the cached blocks back to the system. */
LUCID_API void* lucid_alloc(size_t bytes);
LUCID_API void lucid_free(void* memory);
LUCID_API void lucid_release_memory(void);

/* The roofs under which every operator runs, measured with the instruction set and on the threads in use; each is the
 * best of some short trials, since whatever else the machine does can only slow one down.
 * lucid_measure_fma: 1e9 float32 operations a second, two a fused multiply-add, of independent chains in registers;
 * 20 trials of 1 to 2 ms.
 * lucid_measure_bandwidth: 1e9 bytes a second, reading 256 MiB in all and at least 16 MiB a thread, far more than its
 * L2 cache holds (what a large L3 cache keeps of it counts as memory); 10 trials, and gives cached memory back. */
LUCID_API lucid_status lucid_measure_fma(double* gflops);
LUCID_API lucid_status lucid_measure_bandwidth(double* gbytes_per_second);

/* ---- operators -------------------------------------------------------------------------------------------------- */

/* y[n, k] = bias[k] + sum over c, i, j of weight[k, c, i, j] * x[n, group(k) * C/groups + c, oh*stride + i*dilation -
 * padding, ...] with oh = (h + 2*padding - dilation*(kh - 1) - 1) / stride + 1. */
typedef struct lucid_conv2d_args {
  const lucid_tensor* x;      /* [n, c, h, w] */
  const lucid_tensor* weight; /* [k, c / groups, kh, kw] */
  const lucid_tensor* bias;   /* [k], or NULL */
  lucid_tensor* y;            /* [n, k, oh, ow] */
  int64_t stride[2], padding[2], dilation[2];
  int64_t groups;
  const char* algorithm; /* a name from lucid_conv2d_algorithms, or NULL for the best */
} lucid_conv2d_args;

LUCID_API lucid_status lucid_conv2d(const lucid_conv2d_args* args);
/* Checks all but `y` and gives its shape. */
LUCID_API lucid_status lucid_conv2d_output_shape(const lucid_conv2d_args* args, int64_t shape[4]);
/* The algorithms that accept this problem on the instruction set in use, comma-separated, best first; `y` is ignored.
 * The text belongs to the calling thread until its next call. */
LUCID_API lucid_status lucid_conv2d_algorithms(const lucid_conv2d_args* args, const char** names);

typedef enum lucid_pool_kind { LUCID_POOL_MAX = 0, LUCID_POOL_AVERAGE = 1 } lucid_pool_kind;

/* Windows that start in the padding are clipped; with ceil_mode a last window may hang over the edge, but must start
 * inside the image or its left padding. An average divides by the window clipped to the padded image
 * (count_include_pad) or to the image. */
typedef struct lucid_pool2d_args {
  const lucid_tensor* x;                                 /* [n, c, h, w] */
  lucid_tensor* y;                                       /* [n, c, oh, ow] */
  int32_t kind;                                          /* lucid_pool_kind */
  int64_t kernel[2], stride[2], padding[2], dilation[2]; /* dilation must be 1 for averages; padding <= kernel / 2 */
  int32_t ceil_mode, count_include_pad;
} lucid_pool2d_args;

LUCID_API lucid_status lucid_pool2d(const lucid_pool2d_args* args);
LUCID_API lucid_status lucid_pool2d_output_shape(const lucid_pool2d_args* args, int64_t shape[4]);

/* y[n, c] = mean over h, w of the sum over r of x[n, r * C + c, h, w]; radix 1 is global average pooling. */
typedef struct lucid_global_avg_pool2d_args {
  const lucid_tensor* x; /* [n, radix * c, h, w] */
  lucid_tensor* y;       /* [n, c] */
  int64_t radix;
} lucid_global_avg_pool2d_args;

LUCID_API lucid_status lucid_global_avg_pool2d(const lucid_global_avg_pool2d_args* args);

/* y = (x - mean) / sqrt(var + eps) * weight + bias per channel, then an optional ReLU (Ioffe & Szegedy 2015). */
typedef struct lucid_batch_norm_args {
  const lucid_tensor* x;      /* [n, c], [n, c, l] or [n, c, h, w] */
  lucid_tensor* y;            /* as x; may be the same memory */
  const lucid_tensor* weight; /* [c], or NULL for ones */
  const lucid_tensor* bias;   /* [c], or NULL for zeros */
  const lucid_tensor* mean;   /* [c] */
  const lucid_tensor* var;    /* [c] */
  double eps;
  int32_t relu;
} lucid_batch_norm_args;

LUCID_API lucid_status lucid_batch_norm(const lucid_batch_norm_args* args);

/* Mean and biased variance of every channel over the batch and the pixels. */
typedef struct lucid_batch_norm_statistics_args {
  const lucid_tensor* x; /* [n, c], [n, c, l] or [n, c, h, w] */
  lucid_tensor* mean;    /* [c] */
  lucid_tensor* var;     /* [c] */
} lucid_batch_norm_statistics_args;

LUCID_API lucid_status lucid_batch_norm_statistics(const lucid_batch_norm_statistics_args* args);

/* y[n, c] = sum over r of a[n, r, c] * x[n, r * C + c], where a is the softmax of the logits over r, or their sigmoid
 * when radix is 1 (Zhang et al. 2020, https://arxiv.org/abs/2004.08955, and its published code).
 * x is radix-major; the logits are cardinality-major, [n, cardinality, radix, C / cardinality], as a grouped 1x1
 * convolution gives them. */
typedef struct lucid_split_attention_args {
  const lucid_tensor* x;      /* [n, radix * c, h, w] */
  const lucid_tensor* logits; /* [n, radix * c] */
  lucid_tensor* y;            /* [n, c, h, w] */
  int64_t radix, cardinality;
} lucid_split_attention_args;

LUCID_API lucid_status lucid_split_attention(const lucid_split_attention_args* args);

/* y = x * weight^T + bias. */
typedef struct lucid_linear_args {
  const lucid_tensor* x;      /* [n, in] */
  const lucid_tensor* weight; /* [out, in] */
  const lucid_tensor* bias;   /* [out], or NULL */
  lucid_tensor* y;            /* [n, out] */
} lucid_linear_args;

LUCID_API lucid_status lucid_linear(const lucid_linear_args* args);

/* y = max(x, 0); NaN stays NaN. Up to 8 dimensions; y may be the same memory as x. */
typedef struct lucid_relu_args {
  const lucid_tensor* x;
  lucid_tensor* y;
} lucid_relu_args;

LUCID_API lucid_status lucid_relu(const lucid_relu_args* args);

/* y = a + b, all of one shape of up to 8 dimensions; y may be the same memory as a or b. */
typedef struct lucid_add_args {
  const lucid_tensor *a, *b;
  lucid_tensor* y;
} lucid_add_args;

LUCID_API lucid_status lucid_add(const lucid_add_args* args);

/* ---- plans ------------------------------------------------------------------------------------------------------ */

/* A plan is a network made ready for one input shape: weights packed for this machine's instruction set, activations in
 * one arena by lifetimes, all steps in one parallel region. It is immutable: any number of threads may run it at once,
 * each with an arena of its own. It keeps no pointer into its description. */
typedef struct lucid_plan lucid_plan;

typedef enum lucid_step_kind {
  LUCID_STEP_CONV2D = 0,            /* inputs x, and optionally a residual: y = conv2d(x) + bias + residual */
  LUCID_STEP_POOL2D = 1,            /* as lucid_pool2d */
  LUCID_STEP_GLOBAL_AVG_POOL2D = 2, /* as lucid_global_avg_pool2d: (n, radix * c, h, w) to (n, c) */
  LUCID_STEP_LINEAR = 3,            /* as lucid_linear, with groups: weight is [out, in / groups] */
  LUCID_STEP_SPLIT_ATTENTION = 4,   /* as lucid_split_attention: inputs x and logits */
  LUCID_STEP_BATCH_NORM = 5,        /* y = x * weight[c] + bias[c] */
  LUCID_STEP_ADD = 6,               /* y = a + b, of one shape */
  LUCID_STEP_RELU = 7,
  LUCID_STEP_SIGMOID = 8,
  LUCID_STEP_SOFTMAX = 9,   /* (n, c), over c */
  LUCID_STEP_FLATTEN = 10,  /* (n, c, h, w) to (n, c * h * w) in that order */
  LUCID_STEP_UNFLATTEN = 11 /* (n, c) to (n, c, 1, 1) */
} lucid_step_kind;

/* A value is what flows between steps: an image (n, c, h, w), or rows (n, c). */
typedef struct lucid_plan_value {
  int32_t rank; /* 4 or 2 */
  int64_t shape[4];
} lucid_plan_value;

typedef struct lucid_plan_step {
  int32_t kind;                 /* lucid_step_kind */
  int32_t input, other, output; /* values; `other` is the residual, the second summand or the logits, or -1 */
  const lucid_tensor* weight;   /* or NULL where the kind has none */
  const lucid_tensor* bias;     /* or NULL */
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t groups, radix, cardinality;
  int32_t pool_kind, ceil_mode, count_include_pad;
  int32_t relu; /* conv2d, linear, batch_norm, add: max(0, .) at the end */
} lucid_plan_step;

typedef struct lucid_plan_args {
  const lucid_plan_value* values;
  const lucid_plan_step* steps; /* in order of execution: a value is an input, or the output of one earlier step */
  const int32_t *inputs, *outputs;
  int32_t value_count, step_count, input_count, output_count;
  int32_t winograd; /* whether 3x3 convolutions of stride 1 may use Winograd's algorithms (Lavin & Gray 2015,
                       https://arxiv.org/abs/1509.09308): up to 3x faster, relative rms error up to 2.4e-6 */
} lucid_plan_args;

LUCID_API lucid_status lucid_plan_create(const lucid_plan_args* args, lucid_plan** plan);
LUCID_API void lucid_plan_destroy(lucid_plan* plan);

/* Inputs and outputs have the plan's shapes and any strides. `milliseconds` is NULL, or receives the time of each step.
 */
LUCID_API lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                      lucid_tensor* const* outputs, double* milliseconds);

/* How a step is computed ("dense", "winograd_4x4", "pool2d"). Belongs to the plan. */
LUCID_API const char* lucid_plan_algorithm(const lucid_plan* plan, int32_t step);
/* The part of a step's multiplications that the busiest of `threads` threads computes: 1 / threads at best, 0 for a
 * step that has none. */
LUCID_API double lucid_plan_largest_share(const lucid_plan* plan, int32_t step, int32_t threads);
/* Bytes of the packed weights, and of the activations of one run. */
LUCID_API int64_t lucid_plan_weight_bytes(const lucid_plan* plan);
LUCID_API int64_t lucid_plan_arena_bytes(const lucid_plan* plan);

#ifdef __cplusplus
}
#endif
#endif
