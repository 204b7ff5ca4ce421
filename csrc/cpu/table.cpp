// Compiled once per instruction set: this one's kernels, gathered into its table.
#include "conv2d_algorithms.h"
#include "cpu/kernels.h"
#include "isa.h"

namespace lucid::LUCID_ISA {

void batch_norm(const BatchNorm&, int64_t, int64_t);
void batch_norm_moments(const BatchNormStatistics&, int64_t, int64_t);
void batch_norm_combine(const BatchNormStatistics&, int64_t, int64_t);
void pool2d(const Pool2d&, int64_t, int64_t);
void global_avg_pool2d(const GlobalAvgPool2d&, int64_t, int64_t);
void split_attention_weights(const SplitAttention&, int64_t, int64_t);
void split_attention(const SplitAttention&, int64_t, int64_t);
void linear(const Linear&, int64_t, int64_t);
void relu(const Elementwise&, int64_t, int64_t);
void add(const Elementwise&, int64_t, int64_t);
int64_t fma_peak(int64_t, float, float*);
float read_memory(const float*, int64_t);

extern const Kernels kernels;
const Kernels kernels = {
    .isa = kName,
    .required_features = kRequired,
    .conv2d = kConv2dAlgorithms,
    .batch_norm = batch_norm,
    .batch_norm_moments = batch_norm_moments,
    .batch_norm_combine = batch_norm_combine,
    .pool2d = pool2d,
    .global_avg_pool2d = global_avg_pool2d,
    .split_attention_weights = split_attention_weights,
    .split_attention = split_attention,
    .linear = linear,
    .relu = relu,
    .add = add,
    .fma_peak = fma_peak,
    .read_memory = read_memory,
};

}  // namespace lucid::LUCID_ISA
