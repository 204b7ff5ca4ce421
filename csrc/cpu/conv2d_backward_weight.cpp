// The gradient of a convolution's weights:
//
//   dweight[k][c][i][j] = sum over images and output pixels of dy[k] * x[c][the pixel under tap (i, j)]
//
// A product of matrices whose sum runs over pixels. x is packed as for conv2d (pack.h), so that the pixels under a tap
// lie side by side at any stride and the padding is zeros; dy likewise, in blocks of 16 channels of a pixel. A register
// tile then needs no transposition: channels of x are broadcast, those of dy are vectors. With 8 channels a group or
// fewer, a vector of dy meets permuted vectors of x instead, as in group_tile.h. Bound by FMAs while a chunk of rows is
// in L2 and one block of both in L1.
#include "blocking.h"
#include "cpu/conv2d_weight_task.h"
#include "cpu/integers.h"
#include "cpu/kernels.h"
#include "cpu/pack.h"
#include "cpu/permuted_channel.h"
#include "permute.h"
#include "vec.h"

namespace lucid::LUCID_ISA {
namespace {

constexpr int64_t kBlock = Conv2dBackwardWeight::kBlock, kLanes = F32::kLanes;

// How a thread's scratch memory is used; sizes in floats. Depends on the shape, but for how many blocks are together.
struct Blocking {
  bool pointwise;      // rows of all images numbered through, without those that a stride leaves out
  int64_t chunk_rows;  // of y, about a run of kRunTerms pixels
  PackedRows rows;
  int64_t x_plane, dy_plane;         // of a block
  int64_t taps_pitch, totals_pitch;  // of the sums of a tap, and of a block of dy
  int64_t dy, totals, bias, end;     // where they begin, behind x

  explicit Blocking(const Conv2dBackwardWeight& p) : pointwise(p.shape.taps() == 1), rows(p.shape, 1, kBlock) {
    const Conv2dShape& s = p.shape;
    chunk_rows = max(1, min(pointwise ? s.out_rows() : s.out_h, kRunTerms / s.out_w));
    rows = PackedRows(s, chunk_rows, kBlock);
    if (pointwise) rows.row_pitch = s.out_w * kBlock;
    dy_plane = odd_lines(chunk_rows * s.out_w * kBlock);
    x_plane = pointwise ? dy_plane : rows.plane;
    taps_pitch = (p.narrow() ? s.in_group : p.c_together * kBlock) * kBlock;
    totals_pitch = s.taps() * taps_pitch;
    dy = (p.narrow() ? p.k_together : p.c_together) * x_plane;
    totals = dy + p.k_together * dy_plane;
    bias = totals + p.k_together * totals_pitch;
    end = bias + p.k_together * kBlock;
  }
};

// The pixels of a run: of dy, and under a tap of x.
struct Run {
  const float *x, *dy;
  int64_t rows, columns, x_row, dy_row;
};

// totals[m][v] += sum over the pixels of x[m] * dy[v]; the vectors are `dy_vector` and `totals_vector` floats apart.
template <int kRows, int kVectors>
[[gnu::noinline]] void add_product(const Run& run, int64_t dy_vector, float* totals, int64_t totals_vector) {
  F32 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::zero();
  for (int64_t row = 0; row < run.rows; ++row) {
    const float *x = run.x + row * run.x_row, *dy = run.dy + row * run.dy_row;
    for (int64_t column = 0; column < run.columns; ++column, x += kBlock, dy += kBlock) {
      keep_order();
      F32 d[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) d[v] = F32::load(dy + v * dy_vector);
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        if (F32::kFoldsBroadcast && m % 2 == 1) {
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], x + m, d[v]);
        } else {
          const F32 all = F32::broadcast(x[m]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], all, d[v]);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* total = totals + m * kBlock + v * totals_vector;
      (F32::load(total) + sums[m][v]).store(total);
    }
}

// All of the first `channels` of a block of x, in tiles of at most kRows. Three take a tile of four, whose last row
// nobody reads: two of two and one rows would wait for their additions.
template <int kRows, int kVectors>
void add_block(Run run, int64_t channels, int64_t dy_vector, float* totals, int64_t totals_vector) {
  for (; channels > kRows / 2; channels -= kRows, run.x += kRows, totals += kRows * kBlock)
    add_product<kRows, kVectors>(run, dy_vector, totals, totals_vector);
  if constexpr (kRows > 1)
    if (channels > 0) add_block<kRows / 2, kVectors>(run, channels, dy_vector, totals, totals_vector);
}

// Rows of a tile that lie anywhere in x, and their places in the totals; `count` of them exist, the others repeat one.
template <int kRows>
struct Terms {
  int64_t count, x[kRows], total[kRows];
};

// As add_product, for terms of several taps: a tile of one tap's channels would be mostly empty where there are three.
template <int kRows, int kVectors>
[[gnu::noinline]] void add_terms(const Run& run, const Terms<kRows>& terms, int64_t dy_vector, float* totals,
                                 int64_t totals_vector) {
  F32 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[m][v] = F32::zero();
  for (int64_t row = 0; row < run.rows; ++row) {
    const float* dy = run.dy + row * run.dy_row;
    const float* x[kRows];
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) x[m] = run.x + row * run.x_row + terms.x[m];
    for (int64_t at = 0; at < run.columns * kBlock; at += kBlock) {
      keep_order();
      F32 d[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) d[v] = F32::load(dy + at + v * dy_vector);
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        const F32 all = F32::broadcast(x[m][at]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) accumulate(sums[m][v], all, d[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m) {
    if (m >= terms.count) break;
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* total = totals + terms.total[m] + v * totals_vector;
      (F32::load(total) + sums[m][v]).store(total);
    }
  }
}

// `kTaps` taps of narrow groups: sums of permutations kFirst, kFirst + 1, ... of x's channels by dy's.
template <int kGroup, int kTaps, int kFirst>
[[gnu::noinline]] void add_permuted(const Run& run, const int64_t* offsets, float* totals, int64_t taps_pitch) {
  constexpr int kCount = kGroup < 4 ? kGroup : 4;
  F32 sums[kTaps][kCount];
#pragma GCC unroll 3
  for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) sums[t][r] = F32::zero();
  for (int64_t row = 0; row < run.rows; ++row) {
    const float *x = run.x + row * run.x_row, *dy = run.dy + row * run.dy_row;
    for (int64_t column = 0; column < run.columns; ++column, x += kBlock, dy += kBlock) {
      const F32 d = F32::load(dy);
#pragma GCC unroll 3
      for (int t = 0; t < kTaps; ++t) {
        const float* pixel = x + offsets[t];
        accumulate(sums[t][0], load_permuted<kGroup, kFirst>(pixel), d);
        if constexpr (kCount > 1) accumulate(sums[t][1], load_permuted<kGroup, kFirst + 1>(pixel), d);
        if constexpr (kCount > 2) {
          accumulate(sums[t][2], load_permuted<kGroup, kFirst + 2>(pixel), d);
          accumulate(sums[t][3], load_permuted<kGroup, kFirst + 3>(pixel), d);
        }
      }
    }
  }
#pragma GCC unroll 3
  for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 4
    for (int r = 0; r < kCount; ++r) {
      float* total = totals + t * taps_pitch + (kFirst + r) * kBlock;
      (F32::load(total) + sums[t][r]).store(total);
    }
}

template <int kGroup, int kTaps>
void add_taps(const Run& run, const int64_t* offsets, float* totals, int64_t taps_pitch) {
  add_permuted<kGroup, kTaps, 0>(run, offsets, totals, taps_pitch);
  if constexpr (kGroup == 8) add_permuted<kGroup, kTaps, 4>(run, offsets, totals, taps_pitch);
}

// One vector of narrow groups: all taps, three of a row at once.
template <int kGroup>
void add_narrow(const Conv2dShape& s, const Blocking& b, const Run& run, float* totals) {
  if constexpr (kGroup <= kLanes) {
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w;) {
        int64_t offsets[3];
        const int64_t count = j + 3 <= s.kernel_w ? 3 : 1;
        for (int64_t t = 0; t < count; ++t) offsets[t] = b.pointwise ? 0 : b.rows.tap_offset(s, i, j + t, kBlock);
        float* at = totals + (i * s.kernel_w + j) * b.taps_pitch;
        (count == 3 ? add_taps<kGroup, 3> : add_taps<kGroup, 1>)(run, offsets, at, b.taps_pitch);
        j += count;
      }
  }
}

// The sum of dy over the pixels of a run.
void add_bias(const Run& run, float* total) {
  F32 sum = F32::zero();
  for (int64_t row = 0; row < run.rows; ++row)
    for (int64_t column = 0; column < run.columns; ++column)
      sum = sum + F32::load(run.dy + row * run.dy_row + column * kBlock);
  (F32::load(total) + sum).store(total);
}

// Rows [row, row + rows) of y, those of all images numbered through, and what they see of x.
void pack_chunk(const Conv2dBackwardWeight& p, const Blocking& b, const WeightTask& task, int64_t row, int64_t rows,
                float* scratch) {
  const Conv2dShape& s = p.shape;
  Conv2dShape y = s;  // dy as the input of a convolution that sees each of its pixels once
  y.h = s.out_h, y.w = s.out_w, y.stride_w = 1;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t image = (row + r) / s.out_h, line = (row + r) % s.out_h, at = r * s.out_w * kBlock;
    pack_pixels<kBlock>(y, p.dy, input_row(y, p.dy, image, line), task.k, task.outputs, 0, s.out_w, scratch + b.dy + at,
                        b.dy_plane);
    if (b.pointwise)
      pack_pixels<kBlock>(s, p.x, input_row(s, p.x, image, line * s.stride_h - s.padding_top), task.c, task.inputs,
                          -s.padding_left, s.out_w, scratch + at, b.x_plane);
  }
  if (!b.pointwise) pack_rows<kBlock>(s, p.x, b.rows, row / s.out_h, row % s.out_h, rows, task.c, task.inputs, scratch);
}

// The vectors [v, v + kVectors) of dy by all channels and taps of x.
template <int kRows, int kVectors>
void add_vectors(const Conv2dBackwardWeight& p, const Blocking& b, const WeightTask& task, const Run& run,
                 float* totals) {
  const Conv2dShape& s = p.shape;
  const bool split = kLanes == kBlock;  // whether the second vector lies in the next block
  const int64_t dy_vector = split ? b.dy_plane : kLanes, totals_vector = split ? b.totals_pitch : kLanes;
  if (!b.pointwise && s.in_group <= kRows / 2) {
    for (int64_t term = 0; term < s.terms(); term += kRows) {
      Terms<kRows> terms{.count = min(kRows, s.terms() - term), .x = {}, .total = {}};
      for (int64_t m = 0; m < terms.count; ++m) {
        const int64_t tap = (term + m) / s.in_group, c = (term + m) % s.in_group;
        terms.x[m] = b.rows.tap_offset(s, tap / s.kernel_w, tap % s.kernel_w, kBlock) + c;
        terms.total[m] = tap * b.taps_pitch + c * kBlock;
      }
      add_terms<kRows, kVectors>(run, terms, dy_vector, totals, totals_vector);
    }
    return;
  }
  for (int64_t c = 0; c < task.c_blocks; ++c)
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        Run part = run;
        part.x += c * b.x_plane + (b.pointwise ? 0 : b.rows.tap_offset(s, i, j, kBlock));
        add_block<kRows, kVectors>(part, min(kBlock, task.inputs - c * kBlock), dy_vector,
                                   totals + (i * s.kernel_w + j) * b.taps_pitch + c * kBlock * kBlock, totals_vector);
      }
}

void add_run(const Conv2dBackwardWeight& p, const Blocking& b, const WeightTask& task, const Run& run, float* scratch) {
  const int64_t vectors = ceil_div(task.outputs, kLanes);
  for (int64_t v = 0; v < vectors;) {
    const int64_t block = v * kLanes / kBlock, lane = v * kLanes % kBlock;
    Run part = run;
    part.dy += block * b.dy_plane + lane;
    float* totals = scratch + b.totals + block * b.totals_pitch + lane;
    int64_t count = 1;
    if (p.narrow()) {
      part.x += block * b.x_plane + lane;
      switch (p.shape.in_group) {
        case 1: add_narrow<1>(p.shape, b, part, totals); break;
        case 2: add_narrow<2>(p.shape, b, part, totals); break;
        case 4: add_narrow<4>(p.shape, b, part, totals); break;
        default: add_narrow<8>(p.shape, b, part, totals); break;
      }
    } else if (v + 2 <= vectors) {
      count = 2;
      add_vectors<kGradientRows, 2>(p, b, task, part, totals);
    } else {
      add_vectors<2 * kGradientRows, 1>(p, b, task, part, totals);
    }
    if (p.dbias != nullptr && task.c_block == 0)
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = (v + i) * kLanes;
        Run sum = run;
        sum.dy += at / kBlock * b.dy_plane + at % kBlock;
        add_bias(sum, scratch + b.bias + at);
      }
    v += count;
  }
}

// Where the weights of a tap lie side by side: a transposition of what exists of whole vectors; returns how many
// channels of each output it wrote.
int64_t write_transposed(const Conv2dBackwardWeight& p, const Blocking& b, const WeightTask& task, const float* scratch,
                         int64_t output) {
  if (p.narrow() || p.dweight_c != 1 || task.outputs - output < kLanes) return 0;
  const float* totals = scratch + b.totals + output / kBlock * b.totals_pitch + output % kBlock;
  float* out = p.dweight + (task.k + output) * p.dweight_k + task.c_block * kBlock;
  const int64_t channels = task.inputs / kLanes * kLanes;
  for (int64_t i = 0; i < p.shape.kernel_h; ++i)
    for (int64_t j = 0; j < p.shape.kernel_w; ++j, totals += b.taps_pitch)
      for (int64_t c = 0; c < channels; c += kLanes) {
        F32 rows[kLanes];
#pragma GCC unroll 16
        for (int lane = 0; lane < kLanes; ++lane) rows[lane] = F32::load(totals + (c + lane) * kBlock);
        transpose(rows);
#pragma GCC unroll 16
        for (int lane = 0; lane < kLanes; ++lane)
          rows[lane].store(out + lane * p.dweight_k + i * p.dweight_h + j * p.dweight_w + c);
      }
  return channels;
}

void write_totals(const Conv2dBackwardWeight& p, const Blocking& b, const WeightTask& task, const float* scratch) {
  const Conv2dShape& s = p.shape;
  const int64_t channels = p.narrow() ? s.in_group : task.inputs;
  for (int64_t o = 0, written = 0; o < task.outputs; ++o) {
    if (o % kLanes == 0) written = write_transposed(p, b, task, scratch, o);
    const float* totals = scratch + b.totals + o / kBlock * b.totals_pitch + o % kBlock;
    float* out = p.dweight + (task.k + o) * p.dweight_k + task.c_block * kBlock * p.dweight_c;
    for (int64_t c = written; c < channels; ++c) {
      const int64_t channel =
          p.narrow() ? permuted_channel(static_cast<int>(channels), static_cast<int>(c), static_cast<int>(o % kLanes))
                     : c;
      for (int64_t i = 0; i < s.kernel_h; ++i)
        for (int64_t j = 0; j < s.kernel_w; ++j)
          out[channel * p.dweight_c + i * p.dweight_h + j * p.dweight_w] =
              totals[(i * s.kernel_w + j) * b.taps_pitch + c * kBlock];
    }
    if (p.dbias != nullptr && task.c_block == 0) p.dbias[(task.k + o) * p.dbias_stride] = scratch[b.bias + o];
  }
}

bool accepts(const Conv2dShape&) { return true; }

int64_t scratch_bytes(const Conv2dBackwardWeight& p) { return Blocking(p).end * kFloatBytes; }

void run(const Conv2dBackwardWeight& p, int64_t begin, int64_t end) {
  const Conv2dShape& s = p.shape;
  const Blocking b(p);
  float* scratch = reinterpret_cast<float*>(p.scratch);
  for (int64_t index = begin; index < end; ++index) {
    const WeightTask task(p, index);
    __builtin_memset(scratch + b.totals, 0, static_cast<size_t>((b.end - b.totals) * kFloatBytes));
    for (int64_t row = 0; row < s.out_rows();) {
      const int64_t behind = b.pointwise ? s.out_rows() : (row / s.out_h + 1) * s.out_h;
      const int64_t rows = min(b.chunk_rows, behind - row);
      pack_chunk(p, b, task, row, rows, scratch);
      for (int64_t x = 0; x < s.out_w; x += kRunTerms)
        add_run(p, b, task,
                {.x = scratch + x * kBlock,
                 .dy = scratch + b.dy + x * kBlock,
                 .rows = rows,
                 .columns = min(kRunTerms, s.out_w - x),
                 .x_row = b.pointwise ? b.rows.row_pitch : s.stride_h * b.rows.row_pitch,
                 .dy_row = s.out_w * kBlock},
                scratch);
      row += rows;
    }
    write_totals(p, b, task, scratch);
  }
}

}  // namespace

extern const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_fma;
const Conv2dBackwardWeightAlgorithm conv2d_backward_weight_fma = {
    .block = kBlock,
    .most_outputs = 256,
    .most_terms = 512,
    .accepts = accepts,
    .scratch_bytes = scratch_bytes,
    .run = run,
};

}  // namespace lucid::LUCID_ISA
