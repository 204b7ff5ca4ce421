// What operators see of a lucid_tensor: checked once, then plain numbers.
#pragma once

#include <cstdint>

#include "lucid.h"

namespace lucid {

constexpr int kMaxDims = 8;

// A float32 tensor of four dimensions with strides in elements.
struct ImageView {
  float* data;
  int64_t n, c, h, w;
  int64_t stride_n, stride_c, stride_h, stride_w;

  // Channels-last without gaps: element (n, c, h, w) is data[((n * H + h) * W + w) * C + c].
  bool dense_channels_last() const;
};

// The first element, and the distance in elements between two along one dimension.
float* data_of(const lucid_tensor& tensor);
int64_t stride_of(const lucid_tensor& tensor, int dim);

// Checks of one argument; `op` and `name` open the message. Rank, dtype, device, alignment and null pointers are
// refused, as are shapes that are negative, or whose bytes or offsets do not fit into 63 bits.
lucid_status check_tensor(const char* op, const char* name, const lucid_tensor* tensor, int min_rank, int max_rank);

// A checked tensor of rank 4; of rank 3 (n, c, l) or 2 (n, c) with the missing pixels as ones.
lucid_status view_image(const char* op, const char* name, const lucid_tensor* tensor, int min_rank, ImageView* view);

// A checked vector of `size` elements; stride in elements.
struct VectorView {
  float* data;
  int64_t size, stride;
};
lucid_status view_vector(const char* op, const char* name, const lucid_tensor* tensor, int64_t size, VectorView* view);

}  // namespace lucid
