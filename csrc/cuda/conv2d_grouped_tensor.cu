// Grouped 3x3 convolution in float16 or bfloat16 on tensor cores, with sums in float32: groups of up to 64 channels.
//
// Bound by memory. A block has a slab of up to 64 channels, whole groups, each filled up to a multiple of 16 by zeros,
// and a tile of an image, whose pixels come to shared memory once, for all nine taps. Sixteen neighbours in that memory
// are the rows of a fragment, across the ends of the tile's rows: what is computed there for columns that do not exist
// is dropped. With a stride of 2 the tile lies as four planes, of even and odd rows and columns, so that outputs that
// are neighbours read neighbours. A warp has sixteen output channels and up to four fragments of pixels; its weights
// come straight from the L2 cache, a fragment ahead of the products. Of images as small as 7x7 a block has two: those
// are 36 KB of weights at 32 channels a group, for 6 KB of pixels of an image.
#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_epilogue.h"
#include "cuda/conv2d_launch.h"

namespace lucid::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int kFragment = 16, kMatrix = kFragment * kFragment, kWarp = 32, kTaps = 9, kQuad = 4, kVector = 8;
constexpr int kSlab = 64, kSlabWarps = kSlab / kFragment;  // channels, and warps side by side
constexpr int kWarpRows = 2, kMostFragments = 4;           // warps one below the other, and fragments of each
constexpr int kThreads = kSlabWarps * kWarpRows * kWarp;
constexpr int kPixelStride = kSlab + 16;  // elements: a multiple of 32 bytes, as fragments want
constexpr int kResultStride = kFragment + 4;
constexpr int kMostPixels = kWarpRows * kMostFragments * kFragment;
constexpr size_t kMostShared = 64 * 1024;  // of the oldest of the devices

int round_up(int64_t value, int64_t multiple) { return int((value + multiple - 1) / multiple * multiple); }

// How a group's channels fill fragments, and how many groups a slab has.
struct Slabs {
  int in, out, groups, count;  // channels of a group with zeros, groups of a slab, slabs

  explicit Slabs(const Conv2dShape& shape) : in(round_up(shape.in_group, kFragment)) {
    out = round_up(shape.out_group, kFragment);
    groups = kSlab / (in > out ? in : out);
    count = int((shape.groups + groups - 1) / groups);
  }
  int64_t weights() const { return int64_t{kSlabWarps} * kTaps * (in / kFragment) * kMatrix; }  // of a slab
};

// Outputs that a block computes, `h` rows of `w`, and how its pixels lie in shared memory: `planes` of `rows` of
// `pitch`.
struct ImageTile {
  int h, w, down, across;  // size, and how many of them an image has
  int stride, rows, pitch;
  int images;  // whole ones, one behind the other: 1, or one of each row of warps

  int plane() const { return rows * pitch; }
  int fragments() const { return (h * pitch + kFragment - 1) / kFragment; }
  int image() const { return stride * stride * plane(); }
  // Rows of the last fragments and taps reach behind the last plane, where anything may stand: a row of a product sees
  // its own row of pixels alone, and those rows are dropped.
  int pixels() const { return images * image() + 2 * pitch + kFragment + 2; }
  size_t shared() const { return size_t(pixels()) * kPixelStride * 2; }
};

template <class T>
struct Problem {
  Conv2dShape shape;
  const T* x;
  const T* weights;  // [slab][sixteen outputs][tap][sixteen inputs][16][16]
  Conv2dEpilogue<T> epilogue;
  Slabs slabs;
  ImageTile tile;
  int32_t tap[kTaps];    // pixels from an output's first tap
  int32_t image_pixels;  // of the tile of an image
  bool aligned;          // x
};

struct Place {
  int64_t image;
  int h, w, slab;  // first output
};

// Fragments of a warp: where the first lies and how far the next, in pixels of its image's tile.
struct Fragments {
  int64_t image;
  int memory;  // where the image's tile lies
  int first, step, count;
};

template <class T>
__device__ __forceinline__ Place place_of_block(const Problem<T>& p) {
  const unsigned slabs = unsigned(p.slabs.count), down = unsigned(p.tile.down), across = unsigned(p.tile.across);
  const unsigned tile = blockIdx.x / slabs, row = tile / across;
  return {int64_t{row / down} * p.tile.images, int(row % down) * p.tile.h, int(tile % across) * p.tile.w,
          int(blockIdx.x % slabs)};
}

// Rows of warps share an image's fragments in turn, or have an image each. The last image may have no neighbour.
template <class T>
__device__ __forceinline__ Fragments fragments_of_warp(const Problem<T>& p, const Place& place, int fragments) {
  const int row = int(threadIdx.x) / (kSlabWarps * kWarp);
  if (p.tile.images == kWarpRows) {
    const int64_t image = place.image + row;
    return {image, row * p.image_pixels, 0, kFragment, image < p.shape.n ? fragments : 0};
  }
  const int count = row >= fragments ? 0 : (fragments - row + kWarpRows - 1) / kWarpRows;
  return {place.image, 0, row * kFragment, kWarpRows * kFragment, count};
}

template <class T>
__device__ __forceinline__ void copy_vector(T* to, const T* from, int count, bool aligned) {
  if (count == kVector && aligned) {
    __pipeline_memcpy_async(to, from, kVector * sizeof(T));
    return;
  }
  Elements<T, kVector> values{};
#pragma unroll
  for (int i = 0; i < kVector; ++i)
    if (i < count) values.at[i] = from[i];
  *reinterpret_cast<Elements<T, kVector>*>(to) = values;
}

// Every thread has eight channels of every so many pixels, counted along the rows of the tile of an image.
template <class T>
__device__ __forceinline__ void copy_tile(const Problem<T>& p, const Place& place, int64_t image, T* pixels) {
  const Conv2dShape& s = p.shape;
  const int vectors = p.slabs.groups * p.slabs.in / kVector, step = kThreads / vectors;
  const int vector = int(threadIdx.x) % vectors * kVector, first = int(threadIdx.x) / vectors;
  const int64_t group = place.slab * p.slabs.groups + vector / p.slabs.in;
  const int channel = vector % p.slabs.in, left = group < s.groups ? int(s.in_group) - channel : 0;
  const int count = left < 0 ? 0 : left < kVector ? left : kVector;
  const int stride = p.tile.stride, width = p.tile.pitch * stride, height = p.tile.rows * stride;
  const int step_rows = step / width, step_columns = step - step_rows * width;
  const int64_t top = place.h * stride - s.padding_top, left_column = place.w * stride - s.padding_left;
  const T* x = p.x + image * s.h * s.w * s.groups * s.in_group + group * s.in_group + channel;
  if (first >= step) return;
  for (int row = first / width, column = first % width; row < height;) {
    const int64_t h = top + row, w = left_column + column;
    const int plane = stride == 1 ? 0 : (row & 1) * 2 + (column & 1);
    const int place_in_plane = (row >> (stride - 1)) * p.tile.pitch + (column >> (stride - 1));
    const bool inside = image < s.n && h >= 0 && h < s.h && w >= 0 && w < s.w;
    copy_vector(pixels + (plane * p.tile.rows * p.tile.pitch + place_in_plane) * kPixelStride + vector,
                x + (h * s.w + w) * s.groups * s.in_group, inside ? count : 0, p.aligned);
    row += step_rows, column += step_columns;
    if (column >= width) column -= width, ++row;
  }
}

using Sums = wmma::fragment<wmma::accumulator, kFragment, kFragment, kFragment, float>[kMostFragments];
template <class T>
using Weights = wmma::fragment<wmma::matrix_b, kFragment, kFragment, kFragment, T, wmma::row_major>;

// pixels: the image's, first input channel of the warp's group.
template <class T>
__device__ __forceinline__ void multiply(const Problem<T>& p, const T* pixels, const T* weights, const Fragments& own,
                                         Sums& sums) {
  pixels += own.first * kPixelStride;
  const int step = own.step * kPixelStride;
  const int blocks = p.slabs.in / kFragment;
  Weights<T> now, next;
  wmma::load_matrix_sync(next, weights, kFragment);
  for (int tap = 0; tap < kTaps; ++tap)
    for (int block = 0; block < blocks; ++block) {
      now = next;
      weights += kMatrix;
      if (tap + 1 < kTaps || block + 1 < blocks) wmma::load_matrix_sync(next, weights, kFragment);
      const T* from = pixels + p.tap[tap] * kPixelStride + block * kFragment;
#pragma unroll
      for (int i = 0; i < kMostFragments; ++i) {
        if (i >= own.count) continue;
        wmma::fragment<wmma::matrix_a, kFragment, kFragment, kFragment, T, wmma::row_major> rows;
        wmma::load_matrix_sync(rows, from + i * step, kPixelStride);
        wmma::mma_sync(sums[i], rows, now, sums[i]);
      }
    }
}

// result: memory of the warp's own. The outputs that a tile, an image and a group have are stored.
template <class T>
__device__ __forceinline__ void store(const Problem<T>& p, const Place& place, const Sums& sums, const Fragments& own,
                                      int output, float* result) {
  const int lane = threadIdx.x % kWarp, quad = lane % kQuad * kQuad;
  const int64_t group = place.slab * p.slabs.groups + output / p.slabs.out, column = output % p.slabs.out + quad;
  const int64_t left = group < p.shape.groups ? p.shape.out_group - column : 0;
  const int count = left < 0 ? 0 : left < kQuad ? int(left) : kQuad;
  const int64_t channel = group * p.shape.out_group + column;
  float bias[kQuad];
  load_bias(p.epilogue, channel, count, bias);
#pragma unroll
  for (int i = 0; i < kMostFragments; ++i) {
    if (i >= own.count) continue;
    wmma::store_matrix_sync(result, sums[i], kResultStride, wmma::mem_row_major);
    __syncwarp();
#pragma unroll
    for (int m = lane / kQuad; m < kFragment; m += kWarp / kQuad) {
      const int at = own.first + i * own.step + m, row = at / p.tile.pitch;
      const int h = place.h + row, w = place.w + at - row * p.tile.pitch;
      const bool exists = row < p.tile.h && w < place.w + p.tile.w && h < p.shape.out_h && w < p.shape.out_w;
      if (exists && count > 0)
        finish(p.epilogue, bias, (own.image * p.shape.out_h + h) * p.shape.out_w + w, channel, count,
               result + m * kResultStride + quad);
    }
    __syncwarp();
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 3) grouped_tensor_3x3(Problem<T> p, int fragments) {
  if constexpr (kHasTensorCores<T>) {
    LUCID_DYN_SHARED(unsigned char, shared);
    T* pixels = reinterpret_cast<T*>(shared);
    const Place place = place_of_block(p);
    const int warp = threadIdx.x / kWarp, output = warp % kSlabWarps * kFragment;
    Fragments own = fragments_of_warp(p, place, fragments);
    if (output >= p.slabs.groups * p.slabs.out) own.count = 0;  // behind the last output
    for (int i = 0; i < p.tile.images; ++i)
      copy_tile(p, place, place.image + i, pixels + i * p.image_pixels * kPixelStride);
    __pipeline_commit();
    Sums sums;
#pragma unroll
    for (auto& sum : sums) wmma::fill_fragment(sum, 0.0f);
    __pipeline_wait_prior(0);
    __syncthreads();
    if (own.count > 0) {
      const int64_t blocks = kTaps * (p.slabs.in / kFragment);
      const T* weights = p.weights + (int64_t(place.slab) * kSlabWarps + output / kFragment) * blocks * kMatrix;
      multiply(p, pixels + own.memory * kPixelStride + output / p.slabs.out * p.slabs.in, weights, own, sums);
    }
    __syncthreads();
    float* result = reinterpret_cast<float*>(shared) + warp * kFragment * kResultStride;
    store(p, place, sums, own, output, result);
  }
}

template <class T>
__global__ void pack_slabs(Conv2dShape shape, Slabs slabs, int64_t slab_weights, int64_t count, const T* weight,
                           T* weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t blocks = slabs.in / kFragment, matrix = i / kMatrix, slab = i / slab_weights;
  const int64_t tap = matrix / blocks % kTaps,
                output = matrix / (blocks * kTaps) % kSlabWarps * kFragment + i % kFragment;
  const int64_t in = matrix % blocks * kFragment + i / kFragment % kFragment, out = output % slabs.out;
  const int64_t of_slab = output / slabs.out, group = slab * slabs.groups + of_slab;
  const bool exists = of_slab < slabs.groups && group < shape.groups && in < shape.in_group && out < shape.out_group;
  weights[i] = exists ? weight[((group * shape.out_group + out) * shape.in_group + in) * kTaps + tap] : T(0.0f);
}

// The tile with the least work: fragments that are multiplied and pixels that are copied.
ImageTile best_image_tile(const Conv2dShape& shape) {
  const int stride = int(shape.stride_h);
  ImageTile best{};
  int64_t least = 0;
  for (int64_t across = 1; across <= shape.out_w; ++across) {
    ImageTile tile{};
    tile.stride = stride;
    tile.images = 1;
    tile.w = int((shape.out_w + across - 1) / across);
    tile.pitch = tile.w + (stride == 1 ? 2 : 1);
    if (tile.pitch > kMostPixels) continue;
    for (int64_t h = kMostPixels / tile.pitch; h > 0; --h) {
      tile.down = int((shape.out_h + h - 1) / h);
      tile.h = int((shape.out_h + tile.down - 1) / tile.down);
      tile.rows = tile.h + (stride == 1 ? 2 : 1);
      if (tile.shared() <= kMostShared) break;
      tile.h = 0;
    }
    if (tile.h == 0) continue;
    tile.across = int((shape.out_w + tile.w - 1) / tile.w);
    const int64_t work = int64_t{tile.down} * tile.across * (tile.fragments() * kFragment + tile.pixels());
    if (best.h == 0 || work < least) best = tile, least = work;
    if (tile.w <= kFragment) break;
  }
  return best;
}

// An image for each row of warps, where whole images fit and no multiprocessor is left without a block.
void add_images(const Conv2dShape& shape, int slabs, ImageTile& tile) {
  ImageTile more = tile;
  more.images = kWarpRows;
  const int64_t blocks = (shape.n + kWarpRows - 1) / kWarpRows * slabs;
  if (tile.down * tile.across == 1 && tile.fragments() <= kMostFragments && more.shared() <= kMostShared &&
      shape.n > 1 && blocks >= multiprocessors())
    tile = more;
}

template <class T>
Error run_dtype(const Conv2d& arguments, Stream stream) {
  const Conv2dShape& shape = arguments.shape;
  const Slabs slabs(shape);
  const auto* x = static_cast<const T*>(arguments.x);
  ImageTile tile = best_image_tile(shape);
  add_images(shape, slabs.count, tile);
  Problem<T> p{shape,
               x,
               static_cast<const T*>(arguments.packed),
               epilogue_of<T>(arguments),
               slabs,
               tile,
               {},
               tile.image(),
               is_aligned(x, kVector * sizeof(T)) && shape.in_group % kVector == 0};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int plane = tile.stride == 1 ? 0 : i % 2 * 2 + j % 2;
      p.tap[i * 3 + j] = plane * tile.plane() + i / tile.stride * tile.pitch + j / tile.stride;
    }
  const size_t result = kThreads / kWarp * kFragment * kResultStride * sizeof(float);
  const size_t shared = tile.shared() > result ? tile.shared() : result;
  const int64_t blocks = (shape.n + tile.images - 1) / tile.images * tile.down * tile.across * slabs.count;
  if (blocks > kMostBlocks) return cudaErrorInvalidConfiguration;
  const auto kernel = grouped_tensor_3x3<T>;
  const Error error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
  if (error != 0) return error;
  return launch(kernel, {dim3(unsigned(blocks)), dim3(kThreads), shared, static_cast<cudaStream_t>(stream)}, p,
                tile.fragments());
}

Error run(const Conv2d& arguments, Stream stream) {
  return arguments.dtype == Dtype::kFloat16 ? run_dtype<__half>(arguments, stream)
                                            : run_dtype<__nv_bfloat16>(arguments, stream);
}

// Groups of 8 channels are computed with three zeros for each product, which is still the faster way by the peaks of
// the data sheets. 28x28x256 in groups of 8, an image: fragments are 16128 loads of eight cycles (512 bytes, two rows a
// bank) and so 0.56, 0.85 and 0.40 us on an H100, A100 and RTX 4090, and products 0.19, 0.37 and 0.70 us (116 MFLOP; an
// H100 at 62 % of its peak, as is assumed). The FMA units alone take 0.43, 1.48 and 0.35 us, before float16 becomes
// float32; memory 0.24, 0.39 and 0.80. Two groups in one fragment would be half the loads, but a NaN or an infinity of
// one, times zero, would reach the other. Groups of 4 channels are left to conv2d_grouped: 56x56x128 is 15 zeros for
// each product, 0.75 us on an H100, against 0.43 of its FMA units. Groups that fill the columns of a tile of
// conv2d_tensor are left to that.
bool accepts(const Conv2dShape& s, Dtype dtype, bool) {
  return dtype != Dtype::kFloat32 && has_tensor_cores(dtype) && s.groups > 1 && s.kernel_h == 3 && s.kernel_w == 3 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.stride_h == s.stride_w && s.stride_h <= 2 &&
         s.in_group >= kVector && s.in_group <= kSlab && s.out_group >= kVector && s.out_group <= kSlab &&
         !(s.out_group == kSlab && s.in_group >= kSlab / 2);
}

int64_t weights_of(const Conv2dShape& shape) { return Slabs(shape).count * Slabs(shape).weights(); }

size_t packed_bytes(const Conv2dShape& shape, Dtype) { return size_t(weights_of(shape)) * 2; }

template <class T>
Error pack_dtype(const Conv2dPack& arguments, Stream stream) {
  const Slabs slabs(arguments.shape);
  const int64_t count = weights_of(arguments.shape);
  return launch(pack_slabs<T>, threads_for(count, kThreads, stream), arguments.shape, slabs, slabs.weights(), count,
                static_cast<const T*>(arguments.weight), static_cast<T*>(arguments.packed));
}

Error pack(const Conv2dPack& arguments, Stream stream) {
  return arguments.dtype == Dtype::kFloat16 ? pack_dtype<__half>(arguments, stream)
                                            : pack_dtype<__nv_bfloat16>(arguments, stream);
}

}  // namespace

const Conv2dAlgorithm conv2d_grouped_tensor = {"grouped_tensor_3x3", accepts, packed_bytes, pack, run};

}  // namespace lucid::cuda
