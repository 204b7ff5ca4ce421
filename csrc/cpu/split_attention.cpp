// Split attention: y[c] = sum over r of a[r][c] * x[r][c], where a is the softmax of the logits over r, or their
// sigmoid when there is one split.
//
// The weights are few (radix * c an image), and take one exponential each, in double: a weight's error is that of a
// whole channel, which a global pooling does not average out. The sum is bound by memory, reading radix values for each
// that it writes.
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/lanes.h"

namespace lucid::LUCID_ISA {
namespace {

// Weights of one channel: its logits are `width` floats apart, its weights c.
void softmax(const float* logits, int64_t width, float* weights, int64_t c, int64_t radix) {
  float largest = logits[0];
  for (int64_t r = 1; r < radix; ++r)
    if (logits[r * width] > largest) largest = logits[r * width];
  double total = 0.0;
  for (int64_t r = 0; r < radix; ++r) {
    const double power = exp(static_cast<double>(logits[r * width]) - static_cast<double>(largest));
    weights[r * c] = static_cast<float>(power);
    total += power;
  }
  for (int64_t r = 0; r < radix; ++r) weights[r * c] = static_cast<float>(weights[r * c] / total);
}

// How many channels from c on lie side by side, in y and in every split of x.
template <class Element>
int64_t contiguous(const SplitAttentionOf<Element>& p, int64_t c) {
  int64_t count = p.last - c;
  if (p.y.contiguous(c) < count) count = p.y.contiguous(c);
  for (int64_t r = 0; r < p.radix; ++r)
    if (p.x.contiguous(r * p.c + c) < count) count = p.x.contiguous(r * p.c + c);
  return count;
}

// A row of pixels of `count` channels; x is that row in every split, `x_offset` from its first pixel.
template <class Element>
void sum_row(const SplitAttentionOf<Element>& p, const float* weights, int64_t c, int64_t count, int64_t x_offset,
             Element* y) {
  const Element* first = p.x.at(c, 0, 0, 0) + x_offset;
  for (int64_t column = 0; column < p.w; ++column)
    for_each_vector(count, [&](int64_t i, auto lanes) {
      const int64_t pixel = column * p.x.pixel + i;
      F32 sum = lanes.load(first + pixel) * lanes.load(weights + i);
      for (int64_t r = 1; r < p.radix; ++r)
        sum = fma(lanes.load(p.x.at(r * p.c + c, 0, 0, 0) + x_offset + pixel), lanes.load(weights + r * p.c + i), sum);
      lanes.store(sum, y + column * p.y.pixel + i);
    });
}

template <class Element>
void sum_splits(const SplitAttentionOf<Element>& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t image = row / p.h, x_offset = image * p.x.image + row % p.h * p.x.row;
    const int64_t y_offset = image * p.y.image + row % p.h * p.y.row;
    for (int64_t c = p.first; c < p.last;) {
      const int64_t count = contiguous(p, c);
      sum_row(p, p.weights + image * p.radix * p.c + c, c, count, x_offset, p.y.at(c, 0, 0, 0) + y_offset);
      c += count;
    }
  }
}

}  // namespace

void split_attention_weights(const SplitAttention& p, int64_t begin, int64_t end) {
  const int64_t width = p.c / p.cardinality;
  while (begin < end) {  // what the share has of one group's channels
    const int64_t image = begin / p.c, channel = begin % p.c, group = channel / width, first = channel % width;
    const float* logits = p.logits + (image * p.c + group * width) * p.radix + first;
    float* weights = p.weights + image * p.radix * p.c + channel;
    const int64_t count = width - first < end - begin ? width - first : end - begin;
    for (int64_t i = 0; i < count; ++i)
      if (p.radix == 1)
        weights[i] = static_cast<float>(1.0 / (1.0 + exp(-static_cast<double>(logits[i]))));
      else
        softmax(logits + i, width, weights + i, p.c, p.radix);
    begin += count;
  }
}

void split_attention(const SplitAttention& p, int64_t begin, int64_t end) { sum_splits(p, begin, end); }

void split_attention_bfloat16(const SplitAttentionOf<Bfloat16>& p, int64_t begin, int64_t end) {
  sum_splits(p, begin, end);
}

}  // namespace lucid::LUCID_ISA
