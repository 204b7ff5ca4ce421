// Compiled once per instruction set: this one's kernels, gathered into its table.
#include "conv2d_algorithms.h"
#include "cpu/kernels.h"
#include "isa.h"
#include "matrix_peak.h"
#include "vec.h"

namespace lucid::LUCID_ISA {

#define LUCID_KERNEL(name, Arguments) void name(const Arguments&, int64_t, int64_t);
LUCID_KERNELS(LUCID_KERNEL)
#undef LUCID_KERNEL
int64_t fma_peak(int64_t, float, float*);
float read_memory(const float*, int64_t);
extern const Conv2dAlgorithm conv2d_bfloat16[2];

extern const Kernels kernels;
const Kernels kernels = {
    .isa = kName,
    .required_features = kRequired,
    .conv2d = kConv2dAlgorithms,
    .conv2d_backward_weight = kConv2dBackwardWeightAlgorithms,
    .conv2d_bfloat16 = conv2d_bfloat16,
#define LUCID_KERNEL(name, Arguments) .name = name,
    LUCID_KERNELS(LUCID_KERNEL)
#undef LUCID_KERNEL
        .lanes = F32::kLanes,
    .fma_peak = fma_peak,
    .read_memory = read_memory,
    .matrix_peak = kMatrixPeak,
};

}  // namespace lucid::LUCID_ISA
