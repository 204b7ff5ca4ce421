// Linear layer: y[n][o] = bias[o] + sum over i of x[n][i] * weight[o][i], with both operands as they lie.
//
// Bound by reading the weights when there are few rows, and by FMAs when there are many. A tile of rows by outputs
// keeps one vector of partial sums for each of its results: every result adds its products in the same order, whatever
// tile it is in, and needs no packing. A lane adds up kRunTerms products, and then the runs. Rows of x and y are those
// of all groups side by side.
#include "blocking.h"
#include "cpu/conv2d_problem.h"
#include "cpu/integers.h"
#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// One vector of each row times one of each output.
template <int kRows, int kOutputs, class Element, class Lanes>
[[gnu::always_inline]] inline void add_products(F32 (&sums)[kRows][kOutputs], const LinearOf<Element>& p,
                                                const float* x, const Element* weight, Lanes lanes) {
  F32 rows[kRows];
#pragma GCC unroll 4
  for (int n = 0; n < kRows; ++n) rows[n] = lanes.load(x + n * p.groups * p.in);
#pragma GCC unroll 4
  for (int o = 0; o < kOutputs; ++o) {
    const F32 w = lanes.load(weight + o * p.in);
#pragma GCC unroll 4
    for (int n = 0; n < kRows; ++n) accumulate(sums[n][o], rows[n], w);
  }
}

// The products of the inputs [begin, end), a run at most.
template <int kRows, int kOutputs, class Element>
[[gnu::always_inline]] inline void add_run(F32 (&sums)[kRows][kOutputs], const LinearOf<Element>& p, const float* x,
                                           const Element* weight, int64_t begin, int64_t end) {
#pragma GCC unroll 4
  for (int n = 0; n < kRows; ++n)
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) sums[n][o] = F32::zero();
  int64_t i = begin;
  for (; i + F32::kLanes <= end; i += F32::kLanes) add_products(sums, p, x + i, weight + i, Whole{});
  if (i < end) add_products(sums, p, x + i, weight + i, Part{end - i});
}

// `output` is one of all groups, the others of the tile are in the same.
template <int kRows, int kOutputs, class Element>
void dot_tile(const LinearOf<Element>& p, int64_t group, int64_t row, int64_t output) {
  const float* x = p.x + (row * p.groups + group) * p.in;
  const Element* weight = p.weight + output * p.in;
  constexpr int64_t kRun = kRunTerms * F32::kLanes;
  F32 sums[kRows][kOutputs];
  add_run(sums, p, x, weight, 0, min(p.in, kRun));
  for (int64_t i = kRun; i < p.in; i += kRun) {
    F32 run[kRows][kOutputs];
    add_run(run, p, x, weight, i, min(p.in, i + kRun));
    for (int n = 0; n < kRows; ++n)
      for (int o = 0; o < kOutputs; ++o) sums[n][o] = sums[n][o] + run[n][o];
  }
#pragma GCC unroll 4
  for (int n = 0; n < kRows; ++n)
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) {
      const float bias = p.bias != nullptr ? p.bias[(output + o) * p.bias_stride] : 0.0f;
      const float value = sum(sums[n][o]) + bias;
      p.y[(row + n) * p.groups * p.outputs + output + o] = p.relu && value < 0.0f ? 0.0f : value;
    }
}

template <int kOutputs, class Element>
void dot_rows(const LinearOf<Element>& p, int64_t group, int64_t row, int64_t end, int64_t output) {
  for (; row + kDotRows <= end; row += kDotRows) dot_tile<kDotRows, kOutputs>(p, group, row, output);
  for (; row < end; ++row) dot_tile<1, kOutputs>(p, group, row, output);
}

template <class Element>
void multiply(const LinearOf<Element>& p, int64_t begin, int64_t end) {
  const int64_t row_blocks = p.row_blocks(), output_blocks = (p.outputs + p.kOutputs - 1) / p.kOutputs;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row = task % row_blocks * p.kRows, block = task / row_blocks, group = block / output_blocks;
    const int64_t row_end = row + p.kRows < p.rows ? row + p.kRows : p.rows;
    const int64_t output = group * p.outputs + block % output_blocks * p.kOutputs, last = (group + 1) * p.outputs;
    if (output + p.kOutputs <= last)
      dot_rows<p.kOutputs>(p, group, row, row_end, output);
    else
      for (int64_t o = output; o < last; ++o) dot_rows<1>(p, group, row, row_end, o);
  }
}

}  // namespace

void linear(const Linear& p, int64_t begin, int64_t end) { multiply(p, begin, end); }

void linear_bfloat16(const LinearOf<Bfloat16>& p, int64_t begin, int64_t end) { multiply(p, begin, end); }

}  // namespace lucid::LUCID_ISA
