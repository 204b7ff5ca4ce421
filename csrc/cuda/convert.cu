// y = x in another dtype, or in the order of another memory: images between NCHW and NHWC, views to dense arrays.
//
// Bound by memory. Runs that both have in one order go by 16 bytes; two orders meet in a tile of shared memory, which
// is read along one and written along the other; what is left, and what begins or ends as an integer, goes element by
// element in the order of y.
#include "cuda/kernels.h"
#include "cuda/strided.h"

namespace lucid::cuda {
namespace {

constexpr int kThreads = 256;

using Loop = StridedLoop<2>;
using Shape = StridedShape<2>;

// An element on its way through a register. One of 16 bits that keeps its dtype keeps its bits, those of a NaN too.
struct Single {
  Dtype x_dtype, y_dtype;
  bool bits;

  __device__ __forceinline__ float load(const void* x, int64_t index) const {
    if (bits) return __uint_as_float(static_cast<const uint16_t*>(x)[index]);
    return load_element(x_dtype, x, index);
  }
  __device__ __forceinline__ void store(void* y, int64_t index, float value) const {
    if (bits)
      static_cast<uint16_t*>(y)[index] = static_cast<uint16_t>(__float_as_uint(value));
    else
      store_element(y_dtype, y, index, value);
  }
  __device__ __forceinline__ void move(const void* x, int64_t from, void* y, int64_t to) const {
    store(y, to, load(x, from));
  }
};

// Sixteen bytes without a change of dtype.
struct Sixteen {
  int64_t size;  // of an element

  __device__ __forceinline__ void move(const void* x, int64_t from, void* y, int64_t to) const {
    *reinterpret_cast<uint4*>(static_cast<char*>(y) + to * size) =
        *reinterpret_cast<const uint4*>(static_cast<const char*>(x) + from * size);
  }
};

// Eight elements to another dtype.
struct Eight {
  static constexpr int kWidth = 8;
  Dtype x_dtype, y_dtype;

  __device__ __forceinline__ void move(const void* x, int64_t from, void* y, int64_t to) const {
    float values[kWidth];
    if (x_dtype == Dtype::kFloat32)
      load_floats(static_cast<const float*>(x), from, values);
    else
      EightHalves{x_dtype}.load(x, from, values);
    if (y_dtype == Dtype::kFloat32) {
#pragma unroll
      for (int i = 0; i < kWidth; i += 4) {
        const float four[4] = {values[i], values[i + 1], values[i + 2], values[i + 3]};
        FourFloats{}.store(y, to + i, four);
      }
    } else {
      EightHalves{y_dtype}.store(y, to, values);
    }
  }
};

__device__ __forceinline__ int64_t load_integer(Dtype dtype, const void* x, int64_t index) {
  switch (dtype) {
    case Dtype::kBool:
    case Dtype::kUint8: return static_cast<const uint8_t*>(x)[index];
    case Dtype::kInt8: return static_cast<const int8_t*>(x)[index];
    case Dtype::kInt16: return static_cast<const int16_t*>(x)[index];
    case Dtype::kInt32: return static_cast<const int32_t*>(x)[index];
    default: return static_cast<const int64_t*>(x)[index];
  }
}

__device__ __forceinline__ void store_integer(Dtype dtype, void* y, int64_t index, int64_t value) {
  switch (dtype) {
    case Dtype::kBool: static_cast<uint8_t*>(y)[index] = value != 0; return;
    case Dtype::kUint8:
    case Dtype::kInt8: static_cast<uint8_t*>(y)[index] = static_cast<uint8_t>(value); return;
    case Dtype::kInt16: static_cast<int16_t*>(y)[index] = static_cast<int16_t>(value); return;
    case Dtype::kInt32: static_cast<int32_t*>(y)[index] = static_cast<int32_t>(value); return;
    default: static_cast<int64_t*>(y)[index] = value;
  }
}

// The whole part, as far as an integer of so many bits has it.
__device__ __forceinline__ int64_t whole_part(float value, int bits, bool is_signed) {
  const int64_t high = INT64_MAX >> (is_signed ? 64 - bits : 63 - bits), low = is_signed ? -high - 1 : 0;
  if (value != value) return 0;
  // As floats these limits are powers of two, or below 2^24.
  if (value <= static_cast<float>(low)) return low;
  return value >= static_cast<float>(high) ? high : static_cast<int64_t>(value);
}

// An element of which x or y is an integer.
struct Whole {
  Dtype x_dtype, y_dtype;

  __device__ __forceinline__ void move(const void* x, int64_t from, void* y, int64_t to) const {
    if (x_dtype >= Dtype::kBool) {
      const int64_t value = load_integer(x_dtype, x, from);
      if (y_dtype >= Dtype::kBool)
        store_integer(y_dtype, y, to, value);
      else
        store_element(y_dtype, y, to, static_cast<float>(value));
      return;
    }
    const float value = load_element(x_dtype, x, from);
    switch (y_dtype) {
      case Dtype::kBool: store_integer(y_dtype, y, to, value != 0.0f); return;
      case Dtype::kUint8: store_integer(y_dtype, y, to, whole_part(value, 8, false)); return;
      case Dtype::kInt8: store_integer(y_dtype, y, to, whole_part(value, 8, true)); return;
      case Dtype::kInt16: store_integer(y_dtype, y, to, whole_part(value, 16, true)); return;
      case Dtype::kInt32: store_integer(y_dtype, y, to, whole_part(value, 32, true)); return;
      default: store_integer(y_dtype, y, to, whole_part(value, 64, true));
    }
  }
};

template <class Mover>
__global__ void __launch_bounds__(kThreads)
    convert_units(const void* x, void* y, Loop loop, uint32_t count, Mover mover) {
  const uint32_t unit = blockIdx.x * kThreads + threadIdx.x;
  if (unit >= count) return;
  int64_t offsets[2];
  loop.locate(unit, offsets);
  mover.move(x, offsets[1], y, offsets[0]);
}

template <class Mover>
Error launch_units(const Convert& p, const Shape& shape, int64_t width, Stream stream, Mover mover) {
  return shape.for_each_part(
      [&](const Shape& part, const int64_t (&offsets)[2]) {
        const int64_t count = part.count() / width;
        return launch_blocks(convert_units<Mover>, blocks_of(count, kThreads), kThreads, 0, stream,
                             static_cast<const char*>(p.x) + offsets[1] * size_of(p.x_dtype),
                             static_cast<char*>(p.y) + offsets[0] * size_of(p.y_dtype), part.units(width),
                             static_cast<uint32_t>(count), mover);
      },
      {0, 0});
}

constexpr int kTile = 32, kTileRows = kThreads / kTile;

// Elements between two orders: x is contiguous along dimension `across`, y along the last one. `tiles` has tiles for
// elements in these two.
__global__ void __launch_bounds__(kThreads)
    transpose_tiles(const void* x, void* y, Loop loop, Loop tiles, int32_t across, Single mover) {
  LUCID_SHARED(float, tile, [kTile][kTile + 1]);
  const int last = loop.dims - 1;
  uint32_t rest = blockIdx.x, first_column = 0, first_row = 0;
  int64_t x_offset = 0, y_offset = 0;
  for (int d = last; d >= 0; --d) {
    const uint32_t index = rest % tiles.size[d];
    rest /= tiles.size[d];
    if (d == last) first_column = index * kTile;
    if (d == across) first_row = index * kTile;
    y_offset += static_cast<int64_t>(index) * tiles.stride[0][d];
    x_offset += static_cast<int64_t>(index) * tiles.stride[1][d];
  }
  const uint32_t columns = loop.size[last] - first_column, rows = loop.size[across] - first_row;
  const uint32_t lane = threadIdx.x % kTile, warp = threadIdx.x / kTile;
#pragma unroll
  for (uint32_t column = warp; column < kTile; column += kTileRows)
    if (column < columns && lane < rows)
      tile[column][lane] = mover.load(x, x_offset + column * loop.stride[1][last] + lane * loop.stride[1][across]);
  __syncthreads();
#pragma unroll
  for (uint32_t row = warp; row < kTile; row += kTileRows)
    if (row < rows && lane < columns)
      mover.store(y, y_offset + row * loop.stride[0][across] + lane * loop.stride[0][last], tile[lane][row]);
}

// The dimension along which x is contiguous while y is not, if tiles of the two are worth their name; or -1.
int transposed_dimension(const Shape& shape) {
  constexpr int64_t kWorthwhile = kTile / 4;
  const int last = shape.dims - 1;
  if (shape.stride[0][last] != 1 || shape.size[last] < kWorthwhile) return -1;
  for (int d = 0; d < last; ++d)
    if (shape.stride[1][d] == 1 && shape.size[d] >= kWorthwhile) return d;
  return -1;
}

Error launch_tiles(const Convert& p, const Shape& shape, Stream stream, Single mover) {
  return shape.for_each_part(
      [&](const Shape& part, const int64_t (&offsets)[2]) -> Error {
        const int last = part.dims - 1, across = transposed_dimension(part);
        if (across < 0) return launch_units(p, part, 1, stream, mover);
        Shape tiles = part;
        for (const int d : {across, last}) {
          tiles.size[d] = blocks_of(part.size[d], kTile);
          for (auto& strides : tiles.stride) strides[d] *= kTile;
        }
        return launch_blocks(transpose_tiles, tiles.count(), kThreads, 0, stream,
                             static_cast<const char*>(p.x) + offsets[1] * size_of(p.x_dtype),
                             static_cast<char*>(p.y) + offsets[0] * size_of(p.y_dtype), part.units(1), tiles.units(1),
                             across, mover);
      },
      {0, 0});
}

}  // namespace

Error convert(const Convert& p, Stream stream) {
  Shape shape;
  for (int d = 0; d < p.dims; ++d) shape.add(p.size[d], {p.y_stride[d], p.x_stride[d]});
  if (shape.count() == 0) return cudaSuccess;
  shape.simplify();
  const bool aligned = are_aligned({p.x, p.y}), same = p.x_dtype == p.y_dtype;
  if (same && aligned && shape.runs(width_of(p.x_dtype), false))
    return launch_units(p, shape, width_of(p.x_dtype), stream, Sixteen{size_of(p.x_dtype)});
  if (!is_floating(p.x_dtype) || !is_floating(p.y_dtype))
    return launch_units(p, shape, 1, stream, Whole{p.x_dtype, p.y_dtype});
  if (!same && aligned && shape.runs(Eight::kWidth, false))
    return launch_units(p, shape, Eight::kWidth, stream, Eight{p.x_dtype, p.y_dtype});
  const Single mover{p.x_dtype, p.y_dtype, same && p.x_dtype != Dtype::kFloat32};
  if (transposed_dimension(shape) >= 0) return launch_tiles(p, shape, stream, mover);
  return launch_units(p, shape, 1, stream, mover);
}

}  // namespace lucid::cuda
