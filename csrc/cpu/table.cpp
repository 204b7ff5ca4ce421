// Compiled once per instruction set: this one's kernels, gathered into its table.
#include "cpu/kernels.h"
#include "isa.h"

namespace lucid::LUCID_ISA {

extern const Conv2dAlgorithm* const conv2d_algorithms[];
void batch_norm(const BatchNorm&, int64_t, int64_t);

extern const Kernels kernels;
const Kernels kernels = {
    .isa = kName,
    .required_features = kRequired,
    .conv2d = conv2d_algorithms,
    .batch_norm = batch_norm,
};

}  // namespace lucid::LUCID_ISA
