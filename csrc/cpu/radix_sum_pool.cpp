// Radix sum pooling: y[n][c] = mean over the pixels of the sum over r of x[n][r * C + c].
//
// Bound by reading x once. Sums are double: a deep ResNeSt's attention amplifies their error a hundred times.
#include "cpu/kernels.h"
#include "cpu/window_sum.h"

namespace lucid::LUCID_ISA {
namespace {

// How many channels from `channel` on lie side by side in every split.
template <class Element>
int64_t contiguous(const RadixSumPoolOf<Element>& p, int64_t channel, int64_t end) {
  int64_t count = end - channel < WindowSum::kChannels ? end - channel : WindowSum::kChannels;
  for (int64_t r = 0; r < p.radix; ++r) {
    const int64_t run = p.x.contiguous(r * p.c + channel);
    if (run < count) count = run;
  }
  return count;
}

// A share's blocks of one image are one range of channels.
template <class Element>
void pool(const RadixSumPoolOf<Element>& p, int64_t begin, int64_t end) {
  const int64_t blocks = p.channel_blocks();
  const double pixels = static_cast<double>(p.h * p.w);
  WindowSum sum;
  while (begin < end) {
    const int64_t image = begin / blocks, block = begin % blocks;
    const int64_t taken = blocks - block < end - begin ? blocks - block : end - begin;
    const int64_t last = (block + taken) * p.kChannels < p.c ? (block + taken) * p.kChannels : p.c;
    for (int64_t c = block * p.kChannels; c < last;) {
      const int64_t count = contiguous(p, c, last);
      sum.clear(count);
      for (int64_t r = 0; r < p.radix; ++r)
        sum.add(Window<Element>{p.x.at(r * p.c + c, 0, 0, 0) + image * p.x.image, p.h, p.w, p.x.row, p.x.pixel}, count);
      sum.store_mean(pixels, count, p.y + image * p.c + c);
      c += count;
    }
    begin += taken;
  }
}

}  // namespace

void radix_sum_pool(const RadixSumPool& p, int64_t begin, int64_t end) { pool(p, begin, end); }

void radix_sum_pool_bfloat16(const RadixSumPoolOf<Bfloat16>& p, int64_t begin, int64_t end) { pool(p, begin, end); }

void sum_rows(const SumRows& p, int64_t begin, int64_t end) {
  const int64_t images = p.images, width = p.radix * p.c;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t c = begin; c < end; ++c) {
      double total = 0.0;
      for (int64_t row = n * p.rows; row < (n + 1) * p.rows; ++row)
        for (int64_t r = 0; r < p.radix; ++r) total += static_cast<double>(p.sums[row * width + r * p.c + c]);
      p.y[n * p.c + c] = static_cast<float>(total / static_cast<double>(p.pixels));
    }
}

}  // namespace lucid::LUCID_ISA
