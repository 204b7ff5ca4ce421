// Where the channels and pixels of an image lie in memory.
#pragma once

#include <cstdint>

#include "core/bfloat16.h"
#include "core/geometry.h"
#include "lucid.h"

namespace lucid {

// A block of channels is a cache line: 16 of float32, 32 of a type of two bytes.
constexpr int64_t kBlockBytes = 64;
template <class Element>
constexpr int64_t kBlockOf = kBlockBytes / static_cast<int64_t>(sizeof(Element));

// Rows and columns of zeros around every image.
struct Halo {
  int64_t top = 0, left = 0, bottom = 0, right = 0;

  LUCID_INLINE bool empty() const { return top == 0 && left == 0 && bottom == 0 && right == 0; }
  LUCID_INLINE bool operator==(const Halo& o) const {
    return top == o.top && left == o.left && bottom == o.bottom && right == o.right;
  }
};

// The layout of an image in a plan: [C / block][N][top + H + bottom][left + W + right][block] of a dtype.
struct Layout {
  lucid_dtype dtype = {LUCID_FLOAT, 32, 1};
  int64_t block = kBlockOf<float>;
  Halo halo;

  LUCID_INLINE int64_t element_bytes() const { return dtype.bits / 8; }
};

// An image that is written, or read as it was written; strides in elements. Channel c of pixel (n, h, w) lies at
//   data + c / kBlock * block + c % kBlock + n * image + h * row + w * pixel.
// Channels-last without gaps is block = kBlock; the layout of a plan is pixel = kBlock.
template <class Element>
struct BlockedView {
  static constexpr int64_t kBlock = kBlockOf<Element>;
  Element* data;
  int64_t block, image, row, pixel;

  LUCID_INLINE Element* at(int64_t c, int64_t n, int64_t h, int64_t w) const {
    return data + c / kBlock * block + c % kBlock + n * image + h * row + w * pixel;
  }
  // How many channels from c on lie side by side.
  LUCID_INLINE int64_t contiguous(int64_t c) const { return block == kBlock ? INT64_MAX : kBlock - c % kBlock; }
  // Whether the pixels of `width` columns and `height` rows follow each other without gaps, image after image.
  LUCID_INLINE bool flat(int64_t height, int64_t width) const { return row == width * pixel && image == height * row; }
};
using OutputView = BlockedView<float>;

// An image of any strides: as BlockedView, but the channels of a block are `channel` elements apart. Where they are not
// contiguous, block = kBlock * channel.
template <class Element>
struct StridedView {
  static constexpr int64_t kBlock = kBlockOf<Element>;
  const Element* data;
  int64_t channel, block, image, row, pixel;

  LUCID_INLINE int64_t offset(int64_t c, int64_t n, int64_t h, int64_t w) const {
    return c / kBlock * block + c % kBlock * channel + n * image + h * row + w * pixel;
  }
  LUCID_INLINE bool blocked() const { return channel == 1 && pixel == kBlock; }
};
using InputView = StridedView<float>;

}  // namespace lucid
