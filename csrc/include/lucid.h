/* The C ABI of lucid: the only header an embedder needs, and the only one that Python is built on.
 *
 * Every operator is one function that takes one plain `*_args` struct. A function checks its arguments, never prints,
 * never aborts and never throws; it reports through lucid_status, and lucid_last_error() says why in one sentence.
 * All functions are thread-safe. Pointers are borrowed for the length of the call only.
 *
 * Every `*_args` begins with its size as the caller knows it, sizeof(lucid_<op>_args); 0 is the size that it has in ABI
 * version 2, so a struct cleared with memset works. Fields are added at the end only, and zero means what there was
 * before them: a program compiled against an older header runs with a newer library. A program compiled against a newer
 * one is LUCID_UNSUPPORTED as soon as it sets a field that this library does not know.
 *
 * lucid_<op>_output_shape() is the operator's shape rule: it checks shapes, dtypes and attributes on any device, reads
 * no data, and gives the output's shape; `y` and all data pointers may be NULL. Sizes must be positive, but for the
 * batch: an `n` of 0 gives an output with n = 0.
 *
 * Tensors are float32; on a CUDA device also float16 or bfloat16, all of a call alike, but that vectors (bias,
 * statistics, weights of batch_norm) may be float32 beside them. All tensors of a call are on one device.
 * `x` may have any strides (NCHW, channels-last, slices, negative steps) and is never written; `y` may have any strides
 * that do not make two elements share memory. Channels-last (channel stride 1) is fastest. */
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

/* Raised whenever a field changes its place or its meaning; a field added at the end of a struct does neither. */
#define LUCID_ABI_VERSION 2

typedef enum lucid_status {
  LUCID_OK = 0,
  LUCID_INVALID_ARGUMENT = 1, /* a shape, stride, dtype, pointer or file that cannot be accepted */
  LUCID_UNSUPPORTED = 2,      /* valid, but not available on this device or in this build */
  LUCID_OUT_OF_MEMORY = 3,
  LUCID_DEVICE_ERROR = 4 /* CUDA failed */
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
  LUCID_BFLOAT = 4,
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

/* A tensor without memory: the result of a shape rule, or a value of a plan. */
typedef struct lucid_shape {
  lucid_dtype dtype;
  int32_t ndim;
  int64_t sizes[8]; /* the first ndim count */
} lucid_shape;

/* The host's threads, memory and stream; zeros, or a NULL context, are the library's own.
 *
 * parallel_for(host, tasks, task, data) calls task(data, i) for each i from 0 to tasks - 1, in any order, on any
 * threads that there are, even one after another on the calling one, and returns when all are done. With it, work is
 * cut into `threads` tasks, or into lucid_num_threads() where that is 0, and the library's own threads rest. A plan
 * calls it once a step. Without it, the call runs on at most `threads` of the library's own, the caller among them:
 * with 1, as many calls at once as there are processors do not wait for each other. 0 is lucid_num_threads(), of which
 * there are never more. Results are the same to the last bit.
 *
 * allocate(host, bytes) gives memory of any alignment, or NULL, which ends in LUCID_OUT_OF_MEMORY; deallocate(host,
 * memory) takes it back. Arenas, scratch memory and packed weights come from there, in the calling thread; what is made
 * with such a context needs `host` until it is destroyed. Descriptions, some kilobytes a plan, are the library's own.
 *
 * A call on CUDA is enqueued on `stream`, a cudaStream_t; NULL is the default stream. There `tf32` allows conv2d to
 * round the factors of float32 products to TF32, which has 10 bits of fraction; the CPU ignores it. On the CPU `stream`
 * must be NULL, and anything else is LUCID_UNSUPPORTED. */
typedef struct lucid_context {
  size_t size;
  void (*parallel_for)(void* host, int64_t tasks, void (*task)(void* data, int64_t index), void* data);
  void* (*allocate)(void* host, size_t bytes);
  void (*deallocate)(void* host, void* memory);
  void* host; /* handed to the three functions */
  void* stream;
  int32_t tf32;
  int64_t threads; /* from 0 to 1024; CUDA ignores it */
} lucid_context;

/* ---- the machine ------------------------------------------------------------------------------------------------ */

/* The instruction set in use ("amx", "avx512_bf16", "avx512", "avx2", "neon", "generic"), those that this processor can
 * run (comma-separated, best first), and a way to pin one (tests, bisection); NULL returns to the best. One that cannot
 * run here is LUCID_UNSUPPORTED. "avx512_bf16" is "avx512" but for plans in bfloat16. */
LUCID_API const char* lucid_isa(void);
LUCID_API const char* lucid_isas(void);
LUCID_API lucid_status lucid_set_isa(const char* name);

/* Threads that an operator may use. The default is min(processors this thread may run on, cgroup CPU quota,
 * OMP_NUM_THREADS), counted when it is asked for; a chosen number may be larger. Either is at most OMP_THREAD_LIMIT,
 * and what the system gave when it gave no more. All calling threads share one pool of workers; a child made by fork()
 * starts its own. */
LUCID_API int32_t lucid_num_threads(void);
LUCID_API lucid_status lucid_set_num_threads(int32_t threads);

/* 64-byte aligned memory from a cache of freed blocks: fresh pages cost 0.25 ms/MB in page faults, more than most
 * layers compute. NULL when there is none. lucid_release_memory() gives the cached blocks back to the system. */
LUCID_API void* lucid_alloc(size_t bytes);
LUCID_API void lucid_free(void* memory);
LUCID_API void lucid_release_memory(void);

/* The roofs under which every operator runs, measured with the instruction set and on the threads in use; each is the
 * best of some short trials, since whatever else the machine does can only slow one down.
 * lucid_fma_peak: 1e9 float32 operations a second, two a fused multiply-add, of independent chains in registers;
 * 20 trials of 1 to 2 ms.
 * lucid_matrix_peak: the same of products of bfloat16 on the matrix unit, two a multiply-add; 0 where the instruction
 * set has no such unit. A product of float32 takes six of them.
 * lucid_memory_bandwidth: 1e9 bytes a second, reading 256 MiB in all and at least 16 MiB a thread, far more than its
 * L2 cache holds (what a large L3 cache keeps of it counts as memory); 10 trials, and gives cached memory back. */
LUCID_API lucid_status lucid_fma_peak(double* gflops);
LUCID_API lucid_status lucid_matrix_peak(double* gflops);
LUCID_API lucid_status lucid_memory_bandwidth(double* gbytes_per_second);

/* ---- CUDA ------------------------------------------------------------------------------------------------------- */

/* The kernels for CUDA are in a library of their own, which a process opens once: until then, and where that fails, a
 * tensor on CUDA is LUCID_UNSUPPORTED. Calls on CUDA are enqueued on a stream and return before they are done, but for
 * copies to the host; an error is reported by the call that is there when it is found. After one that the device cannot
 * recover from, every call is LUCID_DEVICE_ERROR. The device that the calling thread works on stays as it was. */
LUCID_API lucid_status lucid_cuda_load(const char* path);
/* Why there is no CUDA device, or "" where there is one. Belongs to the calling thread until its next call. */
LUCID_API const char* lucid_cuda_why_not(void);
LUCID_API const char* lucid_cuda_version(void); /* that of the library: "0.1.0, CUDA 13.0"; "" before one is open */
LUCID_API lucid_status lucid_cuda_device_count(int32_t* count); /* 0 before a library is open */

typedef struct lucid_cuda_properties {
  char name[256];
  int64_t memory, shared_memory_per_block, l2_bytes;
  int32_t major, minor, multiprocessors, clock_khz, memory_clock_khz, memory_bus_bits;
  int32_t simulation; /* whether the library is that for tests, which computes on the CPU */
} lucid_cuda_properties;

LUCID_API lucid_status lucid_cuda_device_properties(int32_t device, lucid_cuda_properties* properties);

/* Memory of a device, aligned to 256 bytes, from a cache of freed blocks. The stream may use it at once, and is the one
 * in whose order it is taken again after lucid_cuda_free, for which lucid_cuda_use names all other streams that used
 * it. A stream of the host's own must not be destroyed while it may be used, nor before lucid_cuda_release_memory(). */
LUCID_API lucid_status lucid_cuda_alloc(int32_t device, size_t bytes, void* stream, void** memory);
LUCID_API void lucid_cuda_use(void* memory, void* stream);
LUCID_API void lucid_cuda_free(void* memory);
/* Bytes in blocks that are in use, and in those and the cached ones; and a way to give the cached ones back. */
LUCID_API lucid_status lucid_cuda_memory(int32_t device, int64_t* allocated, int64_t* reserved);
LUCID_API void lucid_cuda_release_memory(void);

/* The device whose memory a pointer is of; -1 for the host's. */
LUCID_API lucid_status lucid_cuda_device_of(const void* memory, int32_t* device);

/* Both pointers may be of any device or of the host. A copy from the host may return before it is done but has read
 * its memory; one to the host is done. */
LUCID_API lucid_status lucid_cuda_copy(void* to, const void* from, size_t bytes, void* stream);
/* y = x, in the dtype and the strides of y, on one device; x is broadcast to the shape of y. */
LUCID_API lucid_status lucid_cuda_convert(const lucid_tensor* x, const lucid_tensor* y, void* stream);

typedef enum lucid_cuda_function {
  LUCID_CUDA_ADD = 0,
  LUCID_CUDA_SUBTRACT = 1,
  LUCID_CUDA_MULTIPLY = 2,
  LUCID_CUDA_DIVIDE = 3,
  LUCID_CUDA_MAXIMUM = 4,
  LUCID_CUDA_MINIMUM = 5
} lucid_cuda_function;

/* y = function(a, b), then a ReLU where `relu`; a and b are broadcast to the shape of y, whose memory may be theirs
 * where it has the same strides. All of one floating dtype. */
LUCID_API lucid_status lucid_cuda_elementwise(int32_t function, const lucid_tensor* a, const lucid_tensor* b,
                                              const lucid_tensor* y, int32_t relu, void* stream);

LUCID_API lucid_status lucid_cuda_synchronize(int32_t device);
/* Streams that do not wait for the default stream. One is done before it is destroyed. */
LUCID_API lucid_status lucid_cuda_stream_create(int32_t device, void** stream);
LUCID_API lucid_status lucid_cuda_stream_destroy(int32_t device, void* stream);
LUCID_API lucid_status lucid_cuda_stream_synchronize(int32_t device, void* stream);
/* What is given to `stream` from now on comes behind what `other` has been given so far. */
LUCID_API lucid_status lucid_cuda_stream_wait(int32_t device, void* stream, void* other);
LUCID_API lucid_status lucid_cuda_event_create(int32_t device, void** event);
LUCID_API lucid_status lucid_cuda_event_destroy(int32_t device, void* event);
LUCID_API lucid_status lucid_cuda_event_record(int32_t device, void* event, void* stream);
/* The time between two events that were recorded, after a wait for the second. */
LUCID_API lucid_status lucid_cuda_event_milliseconds(int32_t device, void* begin, void* end, float* milliseconds);

/* ---- operators -------------------------------------------------------------------------------------------------- */

/* Weights and bias, packed for many calls of one convolution. */
typedef struct lucid_conv2d_weights lucid_conv2d_weights;

/* y[n, k] = bias[k] + sum over c, i, j of weight[k, c, i, j] * x[n, group(k) * C/groups + c, oh*stride + i*dilation -
 * top, ...] with oh = (h + top + bottom - dilation*(kh - 1) - 1) / stride + 1. */
typedef struct lucid_conv2d_args {
  size_t size;
  const lucid_tensor* x;      /* [n, c, h, w] */
  const lucid_tensor* weight; /* [k, c / groups, kh, kw] */
  const lucid_tensor* bias;   /* [k], or NULL */
  lucid_tensor* y;            /* [n, k, oh, ow] */
  int64_t stride[2];
  int64_t padding[2];       /* rows above and below, columns on the left and on the right */
  int64_t extra_padding[2]; /* more rows below, more columns on the right; negative for fewer */
  int64_t dilation[2];
  int64_t groups;
  const char* algorithm;                /* a name from lucid_conv2d_algorithms, or NULL for the best */
  const lucid_conv2d_weights* prepared; /* or NULL; else weight and bias are asked for their shapes only */
  const lucid_context* context;
  int32_t winograd; /* whether windows of 3x3 and stride 1 may be computed by Winograd's algorithms (Lavin & Gray 2015,
                       https://arxiv.org/abs/1509.09308): up to 3x faster, relative rms error up to 1.2e-6, and what is
                       no number spreads over a tile; CUDA has none of these, and ignores it */
} lucid_conv2d_args;

LUCID_API lucid_status lucid_conv2d(const lucid_conv2d_args* args);
LUCID_API lucid_status lucid_conv2d_output_shape(const lucid_conv2d_args* args, lucid_shape* y);
/* The algorithms that accept this problem on the instruction set in use, comma-separated, best first; `y` is ignored.
 * The text belongs to the calling thread until its next call. */
LUCID_API lucid_status lucid_conv2d_algorithms(const lucid_conv2d_args* args, const char** names);

/* Packs the weights and the bias of `args`, of whose x only the shape is asked. The object is immutable, keeps no
 * pointer into its arguments, and serves any number of calls at once that have the same instruction set, algorithm and
 * geometry but for the batch; others are refused. */
LUCID_API lucid_status lucid_conv2d_prepare(const lucid_conv2d_args* args, lucid_conv2d_weights** weights);
LUCID_API void lucid_conv2d_weights_destroy(lucid_conv2d_weights* weights);

/* Gradients of conv2d, from that of its y: dx[n, c, h, w] is the sum of weight * dy over all windows that see the
 * pixel. */
typedef struct lucid_conv2d_backward_input_args {
  size_t size;
  const lucid_tensor* dy;                                               /* [n, k, oh, ow] */
  const lucid_tensor* weight;                                           /* [k, c / groups, kh, kw] */
  lucid_tensor* dx;                                                     /* [n, c, h, w] */
  int64_t stride[2], padding[2], extra_padding[2], dilation[2], groups; /* as for conv2d */
  int64_t input_size[2]; /* h and w, of which a stride leaves several that give the same oh and ow */
  int32_t winograd;      /* as for conv2d */
  const lucid_context* context;
} lucid_conv2d_backward_input_args;

LUCID_API lucid_status lucid_conv2d_backward_input(const lucid_conv2d_backward_input_args* args);
LUCID_API lucid_status lucid_conv2d_backward_input_output_shape(const lucid_conv2d_backward_input_args* args,
                                                                lucid_shape* dx);

/* dweight[k, c, i, j] is the sum of dy[n, k, oh, ow] * x[n, ., oh*stride + i*dilation - top, ...] over all images and
 * pixels, where x is 0 in the padding; dbias[k] that of dy[n, k, oh, ow]. Zeros for an empty batch. Where the
 * instruction set is "amx", the matrix unit computes dweight of groups whose channels in and out are multiples of 32,
 * unless there are few pixels: every float32 as a sum of three bfloat16, as exact as sums in float32 are. There an
 * infinity gives NaN, and what is no number at the sides of an image may reach all taps of its channel. */
typedef struct lucid_conv2d_backward_weight_args {
  size_t size;
  const lucid_tensor* dy;                                                               /* [n, k, oh, ow] */
  const lucid_tensor* x;                                                                /* [n, c, h, w] */
  lucid_tensor* dweight;                                                                /* [k, c / groups, kh, kw] */
  lucid_tensor* dbias;                                                                  /* [k], or NULL */
  int64_t kernel_size[2], stride[2], padding[2], extra_padding[2], dilation[2], groups; /* as for conv2d */
  const lucid_context* context;
} lucid_conv2d_backward_weight_args;

LUCID_API lucid_status lucid_conv2d_backward_weight(const lucid_conv2d_backward_weight_args* args);
LUCID_API lucid_status lucid_conv2d_backward_weight_output_shape(const lucid_conv2d_backward_weight_args* args,
                                                                 lucid_shape* dweight);

/* The largest value of each window; NaN if it holds one. Windows that start in the padding are clipped, so that padding
 * never wins; with ceil_mode a last window may hang over the edge, but must start inside the image or its left padding.
 */
typedef struct lucid_max_pool2d_args {
  size_t size;
  const lucid_tensor* x; /* [n, c, h, w] */
  lucid_tensor* y;       /* [n, c, oh, ow] */
  lucid_tensor* indices; /* int64, as y: where in its channel, at row * w + column, the value was first; or NULL */
  int64_t kernel_size[2], stride[2];
  int64_t padding[2];       /* as for conv2d; at most half of kernel_size on each side */
  int64_t extra_padding[2]; /* as for conv2d */
  int64_t dilation[2];
  int32_t ceil_mode;
  const lucid_context* context;
} lucid_max_pool2d_args;

LUCID_API lucid_status lucid_max_pool2d(const lucid_max_pool2d_args* args);
LUCID_API lucid_status lucid_max_pool2d_output_shape(const lucid_max_pool2d_args* args, lucid_shape* y);

/* The sum of each window, divided by divisor_override, or if that is 0 by the size of the window clipped to the padded
 * image (count_include_pad) or to the image. Windows are those of max_pool2d without dilation. */
typedef struct lucid_avg_pool2d_args {
  size_t size;
  const lucid_tensor* x; /* [n, c, h, w] */
  lucid_tensor* y;       /* [n, c, oh, ow] */
  int64_t kernel_size[2], stride[2];
  int64_t padding[2];       /* as for conv2d; at most half of kernel_size on each side */
  int64_t extra_padding[2]; /* as for conv2d */
  int32_t ceil_mode, count_include_pad;
  int64_t divisor_override;
  const lucid_context* context;
} lucid_avg_pool2d_args;

LUCID_API lucid_status lucid_avg_pool2d(const lucid_avg_pool2d_args* args);
LUCID_API lucid_status lucid_avg_pool2d_output_shape(const lucid_avg_pool2d_args* args, lucid_shape* y);

/* y[n, c, i, j] = mean of x[n, c] over rows floor(i*h / oh) to ceil((i + 1)*h / oh), and columns likewise. */
typedef struct lucid_adaptive_avg_pool2d_args {
  size_t size;
  const lucid_tensor* x; /* [n, c, h, w] */
  lucid_tensor* y;       /* [n, c, oh, ow] */
  int64_t output_size[2];
  const lucid_context* context;
} lucid_adaptive_avg_pool2d_args;

LUCID_API lucid_status lucid_adaptive_avg_pool2d(const lucid_adaptive_avg_pool2d_args* args);
LUCID_API lucid_status lucid_adaptive_avg_pool2d_output_shape(const lucid_adaptive_avg_pool2d_args* args,
                                                              lucid_shape* y);

/* y[n, c] = mean over h, w of the sum over r of x[n, r * C + c, h, w]; radix 1 is global average pooling. */
typedef struct lucid_radix_sum_pool_args {
  size_t size;
  const lucid_tensor* x; /* [n, radix * c, h, w] */
  lucid_tensor* y;       /* [n, c] */
  int64_t radix;
  const lucid_context* context;
} lucid_radix_sum_pool_args;

LUCID_API lucid_status lucid_radix_sum_pool(const lucid_radix_sum_pool_args* args);
LUCID_API lucid_status lucid_radix_sum_pool_output_shape(const lucid_radix_sum_pool_args* args, lucid_shape* y);

/* y = (x - mean) / sqrt(var + eps) * weight + bias per channel (Ioffe & Szegedy 2015), plus an optional residual, then
 * an optional ReLU: how a residual block ends. */
typedef struct lucid_batch_norm_args {
  size_t size;
  const lucid_tensor* x;      /* [n, c], [n, c, l] or [n, c, h, w] */
  lucid_tensor* y;            /* as x; may be the same memory */
  const lucid_tensor* weight; /* [c], or NULL for ones */
  const lucid_tensor* bias;   /* [c], or NULL for zeros */
  const lucid_tensor* mean;   /* [c] */
  const lucid_tensor* var;    /* [c] */
  double eps;
  int32_t relu;
  const lucid_context* context;
  const lucid_tensor* residual; /* as x, or NULL */
} lucid_batch_norm_args;

LUCID_API lucid_status lucid_batch_norm(const lucid_batch_norm_args* args);
LUCID_API lucid_status lucid_batch_norm_output_shape(const lucid_batch_norm_args* args, lucid_shape* y);

/* Mean and biased variance of every channel over the batch, which must not be empty, and the pixels. */
typedef struct lucid_batch_norm_statistics_args {
  size_t size;
  const lucid_tensor* x; /* [n, c], [n, c, l] or [n, c, h, w] */
  lucid_tensor* mean;    /* [c] */
  lucid_tensor* var;     /* [c] */
  const lucid_context* context;
} lucid_batch_norm_statistics_args;

LUCID_API lucid_status lucid_batch_norm_statistics(const lucid_batch_norm_statistics_args* args);
/* The shape of `mean`, which is that of `var`. */
LUCID_API lucid_status lucid_batch_norm_statistics_output_shape(const lucid_batch_norm_statistics_args* args,
                                                                lucid_shape* mean);

/* y[n, c] = sum over r of a[n, r, c] * x[n, r * C + c], where a is the softmax of the logits over r, or their sigmoid
 * when radix is 1 (Zhang et al. 2020, https://arxiv.org/abs/2004.08955, and its published code).
 * x is radix-major; the logits are cardinality-major, [n, cardinality, radix, C / cardinality], as a grouped 1x1
 * convolution gives them. */
typedef struct lucid_split_attention_args {
  size_t size;
  const lucid_tensor* x;      /* [n, radix * c, h, w] */
  const lucid_tensor* logits; /* [n, radix * c] */
  lucid_tensor* y;            /* [n, c, h, w] */
  int64_t radix, cardinality;
  const lucid_context* context;
} lucid_split_attention_args;

LUCID_API lucid_status lucid_split_attention(const lucid_split_attention_args* args);
LUCID_API lucid_status lucid_split_attention_output_shape(const lucid_split_attention_args* args, lucid_shape* y);

/* y = x * weight^T + bias. With groups, each slice of x meets its own rows of the weight. */
typedef struct lucid_linear_args {
  size_t size;
  const lucid_tensor* x;      /* [n, in] */
  const lucid_tensor* weight; /* [out, in / groups] */
  const lucid_tensor* bias;   /* [out], or NULL */
  lucid_tensor* y;            /* [n, out] */
  int64_t groups;
  const lucid_context* context;
} lucid_linear_args;

LUCID_API lucid_status lucid_linear(const lucid_linear_args* args);
LUCID_API lucid_status lucid_linear_output_shape(const lucid_linear_args* args, lucid_shape* y);

/* y = max(x, 0); NaN stays NaN. Up to 8 dimensions; y may be the same memory as x. */
typedef struct lucid_relu_args {
  size_t size;
  const lucid_tensor* x;
  lucid_tensor* y;
  const lucid_context* context;
} lucid_relu_args;

LUCID_API lucid_status lucid_relu(const lucid_relu_args* args);
LUCID_API lucid_status lucid_relu_output_shape(const lucid_relu_args* args, lucid_shape* y);

/* y = 1 / (1 + exp(-x)). Up to 8 dimensions; y may be the same memory as x. */
typedef struct lucid_sigmoid_args {
  size_t size;
  const lucid_tensor* x;
  lucid_tensor* y;
  const lucid_context* context;
} lucid_sigmoid_args;

LUCID_API lucid_status lucid_sigmoid(const lucid_sigmoid_args* args);
LUCID_API lucid_status lucid_sigmoid_output_shape(const lucid_sigmoid_args* args, lucid_shape* y);

/* y = a + b, all of one shape of up to 8 dimensions; y may be the same memory as a or b. */
typedef struct lucid_add_args {
  size_t size;
  const lucid_tensor *a, *b;
  lucid_tensor* y;
  const lucid_context* context;
} lucid_add_args;

LUCID_API lucid_status lucid_add(const lucid_add_args* args);
LUCID_API lucid_status lucid_add_output_shape(const lucid_add_args* args, lucid_shape* y);

/* y = a * b: every channel of an image times its own factor. y may be the same memory as a. */
typedef struct lucid_mul_args {
  size_t size;
  const lucid_tensor* a; /* [n, c, h, w] */
  const lucid_tensor* b; /* [n, c] */
  lucid_tensor* y;       /* [n, c, h, w] */
  const lucid_context* context;
} lucid_mul_args;

LUCID_API lucid_status lucid_mul(const lucid_mul_args* args);
LUCID_API lucid_status lucid_mul_output_shape(const lucid_mul_args* args, lucid_shape* y);

/* y = exp(x) / sum of exp(x) along `dim`, or the logarithm of that. Up to 8 dimensions; the result does not depend on
 * the strides. */
typedef struct lucid_softmax_args {
  size_t size;
  const lucid_tensor* x;
  lucid_tensor* y; /* as x; may be the same memory */
  int32_t dim;     /* from -ndim to ndim - 1; a negative one counts from the last */
  int32_t log;
  const lucid_context* context;
} lucid_softmax_args;

LUCID_API lucid_status lucid_softmax(const lucid_softmax_args* args);
LUCID_API lucid_status lucid_softmax_output_shape(const lucid_softmax_args* args, lucid_shape* y);

typedef enum lucid_reduction { LUCID_NONE = 0, LUCID_SUM = 1, LUCID_MEAN = 2 } lucid_reduction;

/* The loss of a row of logits: minus the sum over its classes of weight * q * log softmax(x), where q is
 * (1 - label_smoothing) * target + label_smoothing / classes. A class index is a target of 1 at that class. What q or
 * the weight makes 0 is left out, so that a class masked by minus infinity gives no NaN. A row whose index is
 * ignore_index has no loss. The mean divides the sum by the weights of the classes that the indices name, or by the
 * number of rows where targets are probabilities; it is NaN where there is none. Another index than that of a class is
 * LUCID_INVALID_ARGUMENT on the CPU; on CUDA, where it is found too late, it makes the loss NaN. */
typedef struct lucid_cross_entropy_args {
  size_t size;
  const lucid_tensor* x;      /* [n, classes, ...], or [classes]; sizes may be 0, but not the classes */
  const lucid_tensor* target; /* int64 [n, ...] or []: class indices; or as x, perhaps in float32: probabilities */
  const lucid_tensor* weight; /* [classes], or NULL for ones */
  lucid_tensor* y;            /* [n, ...] or [] of losses; [] for their sum or mean */
  int64_t ignore_index;
  double label_smoothing; /* from 0 to 1 */
  int32_t reduction;      /* lucid_reduction */
  const lucid_context* context;
} lucid_cross_entropy_args;

LUCID_API lucid_status lucid_cross_entropy(const lucid_cross_entropy_args* args);
LUCID_API lucid_status lucid_cross_entropy_output_shape(const lucid_cross_entropy_args* args, lucid_shape* y);

/* ---- gradients -------------------------------------------------------------------------------------------------- */

/* Of each operator: dy is the gradient of what it gave, dx that of what it was given, and the other arguments are its
 * own. lucid_<op>_backward_output_shape() gives the shape of dx. Sums over the batch and the pixels are cut into blocks
 * by the shape alone, so that results do not depend on the number of threads. */

/* With `training` the statistics are those of this x, as lucid_batch_norm_statistics gives them, and x moves them:
 * dx = scale * (g - mean of g - (x - mean) / (var + eps) * mean of g * (x - mean)), scale = weight / sqrt(var + eps)
 * (Ioffe & Szegedy 2015); else they are constants, and dx = scale * g. Behind a fused ReLU `y` is what batch_norm gave,
 * and g is dy where y is positive or NaN, else 0; without y it is dy. g is also the gradient of a residual. */
typedef struct lucid_batch_norm_backward_args {
  size_t size;
  const lucid_tensor* dy;     /* as x */
  const lucid_tensor* x;      /* [n, c], [n, c, l] or [n, c, h, w] */
  const lucid_tensor* y;      /* as x, or NULL */
  const lucid_tensor* weight; /* [c], or NULL for ones */
  const lucid_tensor* mean;   /* [c] */
  const lucid_tensor* var;    /* [c] */
  lucid_tensor* dx;           /* as x */
  lucid_tensor* dweight;      /* [c] of float32: sum of g * (x - mean) / sqrt(var + eps) */
  lucid_tensor* dbias;        /* [c] of float32: sum of g */
  lucid_tensor* dresidual;    /* as x: g; or NULL */
  double eps;
  int32_t training;
  const lucid_context* context;
} lucid_batch_norm_backward_args;

LUCID_API lucid_status lucid_batch_norm_backward(const lucid_batch_norm_backward_args* args);
LUCID_API lucid_status lucid_batch_norm_backward_output_shape(const lucid_batch_norm_backward_args* args,
                                                              lucid_shape* dx);

/* dx = dy where y is positive or NaN, else 0. dx may be the same memory as dy. */
typedef struct lucid_relu_backward_args {
  size_t size;
  const lucid_tensor* dy;
  const lucid_tensor* y; /* what relu gave */
  lucid_tensor* dx;
  const lucid_context* context;
} lucid_relu_backward_args;

LUCID_API lucid_status lucid_relu_backward(const lucid_relu_backward_args* args);
LUCID_API lucid_status lucid_relu_backward_output_shape(const lucid_relu_backward_args* args, lucid_shape* dx);

/* dx = dy * y * (1 - y). dx may be the same memory as dy. */
typedef struct lucid_sigmoid_backward_args {
  size_t size;
  const lucid_tensor* dy;
  const lucid_tensor* y; /* what sigmoid gave */
  lucid_tensor* dx;
  const lucid_context* context;
} lucid_sigmoid_backward_args;

LUCID_API lucid_status lucid_sigmoid_backward(const lucid_sigmoid_backward_args* args);
LUCID_API lucid_status lucid_sigmoid_backward_output_shape(const lucid_sigmoid_backward_args* args, lucid_shape* dx);

/* dx = y * (dy - sum of dy * y) along `dim`; with `log`, dx = dy - exp(y) * sum of dy. dx may be the same memory as dy.
 */
typedef struct lucid_softmax_backward_args {
  size_t size;
  const lucid_tensor* dy;
  const lucid_tensor* y; /* what softmax gave */
  lucid_tensor* dx;
  int32_t dim, log;
  const lucid_context* context;
} lucid_softmax_backward_args;

LUCID_API lucid_status lucid_softmax_backward(const lucid_softmax_backward_args* args);
LUCID_API lucid_status lucid_softmax_backward_output_shape(const lucid_softmax_backward_args* args, lucid_shape* dx);

/* dx = dy * (softmax(x) * sum of weight * q - weight * q) along the classes, divided as the mean divides; 0 in a row
 * that is ignored, NaN in one whose index is of no class, on CUDA. */
typedef struct lucid_cross_entropy_backward_args {
  size_t size;
  const lucid_tensor* dy;                  /* as cross_entropy's y */
  const lucid_tensor *x, *target, *weight; /* as for cross_entropy, like the fields behind dx */
  lucid_tensor* dx;                        /* as x */
  int64_t ignore_index;
  double label_smoothing;
  int32_t reduction;
  const lucid_context* context;
} lucid_cross_entropy_backward_args;

LUCID_API lucid_status lucid_cross_entropy_backward(const lucid_cross_entropy_backward_args* args);
LUCID_API lucid_status lucid_cross_entropy_backward_output_shape(const lucid_cross_entropy_backward_args* args,
                                                                 lucid_shape* dx);

/* dx is the sum of dy over the windows whose index is that of the pixel; an index that is not of its window counts for
 * none. */
typedef struct lucid_max_pool2d_backward_args {
  size_t size;
  const lucid_tensor* dy;      /* [n, c, oh, ow] */
  const lucid_tensor* indices; /* int64, as dy: those of max_pool2d */
  lucid_tensor* dx;            /* [n, c, h, w] */
  int64_t image_size[2];       /* h and w */
  int64_t kernel_size[2], stride[2];
  int64_t padding[2], extra_padding[2];
  int64_t dilation[2];
  int32_t ceil_mode;
  const lucid_context* context;
} lucid_max_pool2d_backward_args;

LUCID_API lucid_status lucid_max_pool2d_backward(const lucid_max_pool2d_backward_args* args);
LUCID_API lucid_status lucid_max_pool2d_backward_output_shape(const lucid_max_pool2d_backward_args* args,
                                                              lucid_shape* dx);

/* dx is the sum of dy over the windows that cover the pixel, each divided as avg_pool2d divides. */
typedef struct lucid_avg_pool2d_backward_args {
  size_t size;
  const lucid_tensor* dy; /* [n, c, oh, ow] */
  lucid_tensor* dx;       /* [n, c, h, w] */
  int64_t image_size[2];  /* h and w */
  int64_t kernel_size[2], stride[2];
  int64_t padding[2], extra_padding[2];
  int32_t ceil_mode, count_include_pad;
  int64_t divisor_override;
  const lucid_context* context;
} lucid_avg_pool2d_backward_args;

LUCID_API lucid_status lucid_avg_pool2d_backward(const lucid_avg_pool2d_backward_args* args);
LUCID_API lucid_status lucid_avg_pool2d_backward_output_shape(const lucid_avg_pool2d_backward_args* args,
                                                              lucid_shape* dx);

typedef struct lucid_adaptive_avg_pool2d_backward_args {
  size_t size;
  const lucid_tensor* dy; /* [n, c, oh, ow] */
  lucid_tensor* dx;       /* [n, c, h, w] */
  int64_t image_size[2];  /* h and w */
  const lucid_context* context;
} lucid_adaptive_avg_pool2d_backward_args;

LUCID_API lucid_status lucid_adaptive_avg_pool2d_backward(const lucid_adaptive_avg_pool2d_backward_args* args);
LUCID_API lucid_status
lucid_adaptive_avg_pool2d_backward_output_shape(const lucid_adaptive_avg_pool2d_backward_args* args, lucid_shape* dx);

/* dx[n, r * C + c, h, w] = dy[n, c] / (h * w). */
typedef struct lucid_radix_sum_pool_backward_args {
  size_t size;
  const lucid_tensor* dy; /* [n, c] */
  lucid_tensor* dx;       /* [n, radix * c, h, w] */
  int64_t image_size[2];  /* h and w */
  int64_t radix;
  const lucid_context* context;
} lucid_radix_sum_pool_backward_args;

LUCID_API lucid_status lucid_radix_sum_pool_backward(const lucid_radix_sum_pool_backward_args* args);
LUCID_API lucid_status lucid_radix_sum_pool_backward_output_shape(const lucid_radix_sum_pool_backward_args* args,
                                                                  lucid_shape* dx);

/* dx[n, r * C + c] = a[n, r, c] * dy[n, c]. With s[r] = sum over the pixels of dy * x[r], dlogits = a[r] * (s[r] - sum
 * over q of a[q] * s[q]), or a * (1 - a) * s when radix is 1. */
typedef struct lucid_split_attention_backward_args {
  size_t size;
  const lucid_tensor* dy;     /* [n, c, h, w] */
  const lucid_tensor* x;      /* [n, radix * c, h, w] */
  const lucid_tensor* logits; /* [n, radix * c] */
  lucid_tensor* dx;           /* as x */
  lucid_tensor* dlogits;      /* as logits */
  int64_t radix, cardinality;
  const lucid_context* context;
} lucid_split_attention_backward_args;

LUCID_API lucid_status lucid_split_attention_backward(const lucid_split_attention_backward_args* args);
LUCID_API lucid_status lucid_split_attention_backward_output_shape(const lucid_split_attention_backward_args* args,
                                                                   lucid_shape* dx);

/* ---- updates ---------------------------------------------------------------------------------------------------- */

/* The step of an optimizer for one parameter, in place. All tensors of a call have one shape of up to 8 dimensions and
 * one dtype; those that are changed share no memory with the others. There is no output, and no shape rule to ask. */

/* With g = gradient + weight_decay * parameter, momentum_buffer = momentum * momentum_buffer + (1 - dampening) * g, or
 * g in the first step, when it is not read; then parameter -= lr * momentum_buffer, or lr * (g + momentum *
 * momentum_buffer) with `nesterov` (Sutskever et al. 2013, in the form of PyTorch), or lr * g without a buffer. */
typedef struct lucid_sgd_update_args {
  size_t size;
  lucid_tensor* parameter;       /* changed */
  const lucid_tensor* gradient;  /* as parameter */
  lucid_tensor* momentum_buffer; /* as parameter, changed; or NULL, if momentum is 0 */
  double lr, momentum, dampening, weight_decay;
  int32_t nesterov, is_first_step;
  const lucid_context* context;
} lucid_sgd_update_args;

LUCID_API lucid_status lucid_sgd_update(const lucid_sgd_update_args* args);

/* parameter *= 1 - lr * weight_decay; exp_avg = beta1 * exp_avg + (1 - beta1) * gradient; exp_avg_sq likewise of the
 * gradient's square, with beta2. Then parameter -= lr * m / (sqrt(v) + eps), where m = exp_avg / (1 - beta1^step) and
 * v = exp_avg_sq / (1 - beta2^step) (Loshchilov & Hutter 2019). */
typedef struct lucid_adamw_update_args {
  size_t size;
  lucid_tensor* parameter;      /* changed */
  const lucid_tensor* gradient; /* as parameter */
  lucid_tensor* exp_avg;        /* as parameter, changed; zeros before the first step */
  lucid_tensor* exp_avg_sq;     /* the same */
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step; /* which this is: 1 the first */
  const lucid_context* context;
} lucid_adamw_update_args;

LUCID_API lucid_status lucid_adamw_update(const lucid_adamw_update_args* args);

/* average = decay * average + (1 - decay) * parameter. */
typedef struct lucid_average_update_args {
  size_t size;
  lucid_tensor* average;         /* changed */
  const lucid_tensor* parameter; /* as average */
  double decay;
  const lucid_context* context;
} lucid_average_update_args;

LUCID_API lucid_status lucid_average_update(const lucid_average_update_args* args);

/* ---- plans ------------------------------------------------------------------------------------------------------ */

/* A plan is a network made ready for one input shape: weights packed for this machine's instruction set, activations in
 * one arena by lifetimes, all steps in one parallel region. It is immutable: any number of threads may run it at once,
 * each with an arena of its own. It keeps no pointer into its description. */
typedef struct lucid_plan lucid_plan;

/* An attribute of a step, by name: an int or a bool (one value), a pair (height, width: two), or a padding (top, left,
 * bottom, right: four). */
typedef struct lucid_attribute {
  const char* name;
  int32_t count;
  int64_t values[4];
} lucid_attribute;

typedef enum lucid_attribute_type {
  LUCID_ATTRIBUTE_INT = 0,
  LUCID_ATTRIBUTE_BOOL = 1,
  LUCID_ATTRIBUTE_PAIR = 2,
  LUCID_ATTRIBUTE_PADDING = 3
} lucid_attribute_type;

typedef struct lucid_attribute_kind {
  const char* name;
  int32_t type; /* lucid_attribute_type */
} lucid_attribute_kind;

typedef enum lucid_presence { LUCID_ABSENT = 0, LUCID_OPTIONAL = 1, LUCID_REQUIRED = 2 } lucid_presence;

/* The parts that a step of a kind must have. A kind is the operator of its name, but for
 *   conv2d      inputs x, and optionally a residual: y = conv2d(x) + bias + residual
 *   batch_norm  y = x * weight[c] + bias[c]: statistics are folded into them
 *   flatten     [n, c, h, w] to [n, c * h * w] in that order
 *   unflatten   [n, c] to [n, c, 1, 1]
 * and `relu` is max(0, .) at the end. */
typedef struct lucid_step_kind {
  const char* name;
  int32_t fewest_inputs, most_inputs;
  const lucid_attribute_kind* attributes; /* every step has all of them */
  int32_t attribute_count;
  int32_t weight, bias; /* lucid_presence */
} lucid_step_kind;

/* The kinds of steps, from index 0 on; NULL behind the last. */
LUCID_API const lucid_step_kind* lucid_step_kind_at(int32_t index);

typedef struct lucid_plan_step {
  const char* kind;
  const int32_t* inputs; /* values */
  int32_t input_count;
  int32_t output; /* a value */
  const lucid_attribute* attributes;
  int32_t attribute_count;
  const lucid_tensor *weight, *bias; /* or NULL */
} lucid_plan_step;

/* The shape rule of a step. Of `step`, inputs and output are not read: inputs[i] is the shape of its input i. Weights
 * need no data. */
LUCID_API lucid_status lucid_step_output_shape(const lucid_plan_step* step, const lucid_shape* inputs, lucid_shape* y);

/* An input of photographs: uint8 at the caller's, in the plan the float32 (v / 255 - mean[c]) / std[c], rounded after
 * each operation, and to the plan's dtype at the end. Padding is 0 behind it. Pointers are borrowed like others. */
typedef struct lucid_pixels {
  const float *mean, *std; /* [c], finite, and std positive; or NULL both: the input is float32 */
} lucid_pixels;

/* A value is an image [n, c, h, w] or rows [n, c] that flow between steps. Steps are in order of execution: a value is
 * an input, or the output of one earlier step. */
typedef struct lucid_plan_args {
  size_t size;
  const lucid_shape* values;
  const lucid_plan_step* steps;
  const int32_t *inputs, *outputs;
  int32_t value_count, step_count, input_count, output_count;
  int32_t winograd; /* whether 3x3 convolutions of stride 1 may use Winograd's algorithms (Lavin & Gray 2015,
                       https://arxiv.org/abs/1509.09308): up to 3x faster, relative rms error up to 1.2e-6; CUDA
                       has none of these, and ignores it */
  const lucid_context* context; /* its threads are those that a call will have. Its stream does not matter: on CUDA a
                                   plan that is made is ready for every one */
  lucid_device device;          /* zeros are the CPU; weights of the description are there in any case */
  lucid_dtype dtype; /* of the activations and weights in the plan: float32 (zeros are, too) or bfloat16, on CUDA also
                        float16. Vectors, and the values that a caller sees, stay float32; on the CPU so do values
                        (n, c). In bfloat16 there, a value that is not finite may spread over its pixel's channels */
  int32_t tf32;      /* as in a lucid_context, for all runs of the plan */
  const lucid_pixels* pixels; /* [input_count], or NULL: all inputs are float32. For images, on the CPU: on CUDA it is
                                 LUCID_UNSUPPORTED */
} lucid_plan_args;

LUCID_API lucid_status lucid_plan_create(const lucid_plan_args* args, lucid_plan** plan);
LUCID_API void lucid_plan_destroy(lucid_plan* plan);

/* A plan from a file that plan.save() wrote in Python. The file is safetensors
 * (https://huggingface.co/docs/safetensors): the length of a header in 8 bytes, little-endian; the header, JSON, which
 * for each tensor has {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, and texts as
 *   "__metadata__": {"format": "lucid-plan", "version": "2", "graph": TEXT, "checksum": CRC-32 of TEXT};
 * then the tensors, row-major and little-endian, without gaps.
 * TEXT is JSON:
 *   {"inputs": {NAME: [sizes]}, "nodes": [{"kind": "conv2d", "inputs": [NAMES], "output": NAME,
 *    "attributes": {NAME: true, 1, [1, 1] or [1, 1, 1, 1]}, "weights": {"weight": CRC-32, "bias": CRC-32}}],
 *    "outputs": [NAMES], "as_tuple": bool, "winograd": bool, "dtype": "float32", "float16" or "bfloat16",
 *    "pixels": {NAME: {"mean": CRC-32, "std": CRC-32}}}
 * (float32 if there is no dtype, and no input of uint8 if there are no pixels).
 * A node is a lucid_plan_step; its tensors are named OUTPUT.weight and OUTPUT.bias, those of lucid_pixels NAME.mean and
 * NAME.std. A checksum is CRC-32 as zlib has it, in 8 hexadecimal digits. Weights are folded, and packed for no machine
 * in particular.
 *
 * Whatever the file holds, nothing worse than an error happens: it is checked whole, with all checksums, before a plan
 * is made of it. LUCID_INVALID_ARGUMENT says what is wrong with it. */
typedef struct lucid_plan_load_args {
  size_t size;
  lucid_device device; /* as in lucid_plan_args, like those that follow */
  lucid_dtype dtype;   /* zeros: that of the file */
  int32_t tf32;
  const lucid_context* context;
} lucid_plan_load_args;

/* `args` may be NULL: on the CPU, in the dtype of the file. */
LUCID_API lucid_status lucid_plan_load(const char* path, const lucid_plan_load_args* args, lucid_plan** plan);
/* The same from memory that holds such a file, aligned or not; the plan keeps no pointer into it. */
LUCID_API lucid_status lucid_plan_load_buffer(const void* data, size_t bytes, const lucid_plan_load_args* args,
                                              lucid_plan** plan);

/* Name and shape of an input or an output; either pointer may be NULL. The name belongs to the plan, and is "" if the
 * plan was not loaded from a file. The dtype in the shape is what the caller's tensor must have: float32, or uint8 for
 * an input of pixels. */
LUCID_API int32_t lucid_plan_input_count(const lucid_plan* plan);
LUCID_API int32_t lucid_plan_output_count(const lucid_plan* plan);
LUCID_API lucid_status lucid_plan_input(const lucid_plan* plan, int32_t index, const char** name, lucid_shape* shape);
LUCID_API lucid_status lucid_plan_output(const lucid_plan* plan, int32_t index, const char** name, lucid_shape* shape);
/* The number of steps, of which lucid_plan_run gives the times. */
LUCID_API int32_t lucid_plan_step_count(const lucid_plan* plan);

/* Inputs and outputs are float32, but for inputs of pixels, which are uint8; they are on the plan's device, and have
 * its shapes and any strides. `milliseconds` is NULL, or receives the time of each step. */
LUCID_API lucid_status lucid_plan_run(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                      lucid_tensor* const* outputs, double* milliseconds);
/* The same, on the stream of a context. On CUDA a run is enqueued when the function returns, or is over if it was
 * measured. From the second run on, the steps are one launch of a CUDA graph, where they can be captured as one; each
 * stream and each thread that enqueues at the same time has a graph and an arena of its own, up to eight. A stream that
 * has been used must be synchronised before it is destroyed. */
LUCID_API lucid_status lucid_plan_run_on(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                         lucid_tensor* const* outputs, double* milliseconds,
                                         const lucid_context* context);

/* The same in memory of the caller's, on the CPU: all that a run needs but some bytes an input and an output. Runs at
 * the same time need an arena each. */
LUCID_API lucid_status lucid_plan_run_in(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                         lucid_tensor* const* outputs, double* milliseconds,
                                         const lucid_context* context, void* arena, size_t bytes);
/* Size and alignment of an arena for runs with this context, on the number of threads that there is now. */
LUCID_API lucid_status lucid_plan_arena_size(const lucid_plan* plan, const lucid_context* context, size_t* bytes,
                                             size_t* alignment);

/* As lucid_plan_run_on, and measures how long threads wait for each other; each pointer receives a number a step, or is
 * NULL. All are means over the threads that ran, in milliseconds, with 0 <= barriers[i] <= waiting[i] <=
 * milliseconds[i]: `waiting` is from a thread's arrival at the barrier behind the step to its leaving, and `barriers`
 * the part of it that is after the last arrival; the rest of it is that shares were uneven. Both are 0 on one thread,
 * on threads of the host, where there is no barrier, and on CUDA. */
LUCID_API lucid_status lucid_plan_profile(const lucid_plan* plan, const lucid_tensor* const* inputs,
                                          lucid_tensor* const* outputs, double* milliseconds, double* waiting,
                                          double* barriers, const lucid_context* context);

/* How a step is computed ("dense", "winograd_4x4", "max_pool2d"), or "" for one on an empty batch, which is left out.
 * Belongs to the plan. */
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
