// Compiled once per instruction set: this one's kernels, gathered into its table. One that extends another, LUCID_BASE,
// has but convolutions in bfloat16 of its own.
#include "conv2d_algorithms.h"
#include "conv2d_bfloat16_algorithms.h"
#include "cpu/kernels.h"
#include "isa.h"
#include "matrix_peak.h"
#include "vec.h"

namespace lucid {
namespace LUCID_BASE {

#define LUCID_KERNEL(name, Arguments) void name(const Arguments&, int64_t, int64_t);
LUCID_KERNELS(LUCID_KERNEL)
#undef LUCID_KERNEL
int64_t fma_peak(int64_t, float, float*);
float read_memory(const float*, int64_t);

}  // namespace LUCID_BASE

namespace LUCID_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    .isa = kName,
    .required_features = kRequired,
    .conv2d = LUCID_BASE::kConv2dAlgorithms,
    .conv2d_backward_weight = LUCID_BASE::kConv2dBackwardWeightAlgorithms,
    .conv2d_bfloat16 = kConv2dBfloat16Algorithms,
    .conv2d_bfloat16_narrow = &conv2d_bfloat16_narrow,
#define LUCID_KERNEL(name, Arguments) .name = LUCID_BASE::name,
    LUCID_KERNELS(LUCID_KERNEL)
#undef LUCID_KERNEL
        .lanes = F32::kLanes,
    .fma_peak = LUCID_BASE::fma_peak,
    .read_memory = LUCID_BASE::read_memory,
    .matrix_peak = kMatrixPeak,
};

}  // namespace LUCID_ISA
}  // namespace lucid
