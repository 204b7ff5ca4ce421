#include "plan/launch.h"

#include <algorithm>

#include "plan/steps.h"

namespace lucid::plan {
namespace {

// Of images in channels-last order, and of rows, which are images of one pixel: in the order of their memory, and as
// n, h, w, c of a tensor of the caller's.
FourSizes sizes(const Value& v) { return {v.n, v.h, v.w, v.c}; }
Strided strided(const Value& v, const Call& call) {
  return {call.at(v), call.dtype, {v.h * v.w * v.c, v.w * v.c, v.c, 1}};
}
Strided strided(const lucid_tensor& tensor) {
  const ImageView v = view_image(tensor);
  return {v.data, cuda::Dtype::kFloat32, {v.stride_n, v.stride_h, v.stride_w, v.stride_c}};
}

}  // namespace

void* Call::at(const Value& value) const { return arena + value.offset; }

cuda::Convert conversion(const FourSizes& size, const Strided& x, const Strided& y) {
  cuda::Convert p{.x = x.data,
                  .y = y.data,
                  .x_dtype = x.dtype,
                  .y_dtype = y.dtype,
                  .dims = 4,
                  .size = {},
                  .x_stride = {},
                  .y_stride = {}};
  std::copy(size.begin(), size.end(), p.size);
  std::copy(x.stride.begin(), x.stride.end(), p.x_stride);
  std::copy(y.stride.begin(), y.stride.end(), p.y_stride);
  return p;
}

Constant vector_constant(const lucid_tensor* tensor) {
  return {.values = dense_copy(tensor), .is_vector = true, .packed_for = {}};
}

Constant matrix_constant(const lucid_tensor* tensor) { return {.values = dense_copy(tensor), .packed_for = {}}; }

Constant conv2d_constant(const lucid_tensor* weight, const Conv2dShape& shape) {
  return {.values = dense_copy(weight), .packed_for = shape};
}

std::unique_ptr<Launch> import_launch(int input, const Value& y) {
  const auto enqueue = [input, &y](const Call& call) {
    return call.cuda.convert(conversion(sizes(y), strided(*call.inputs[input]), strided(y, call)), call.stream);
  };
  return std::make_unique<Launch>(Launch{.algorithm = "import", .enqueue = enqueue, .constants = {}});
}

std::unique_ptr<Launch> export_launch(const Value& x, int output) {
  const auto enqueue = [&x, output](const Call& call) {
    return call.cuda.convert(conversion(sizes(x), strided(x, call), strided(*call.outputs[output])), call.stream);
  };
  return std::make_unique<Launch>(Launch{.algorithm = "export", .enqueue = enqueue, .constants = {}});
}

}  // namespace lucid::plan
