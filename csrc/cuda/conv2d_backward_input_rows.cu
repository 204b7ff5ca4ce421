// The gradient by x of a grouped 3x3 convolution with 16 or 32 channels a group, in float16 or bfloat16, on tensor
// cores.
//
// A block stages rows of dy with the pixels around them, as one line of pixels whose pitch leaves room for the columns
// that a window sees beside a row. Then every tap of every pixel is at a constant distance, so the product with a tap
// reads 16 neighbours of the line wherever they begin, and dy is staged once for nine taps. What is computed for the
// columns between two rows is thrown away: 2 of 9 for rows of 7. The weights of the group stay in shared memory for
// several tiles. Bound by memory.
#include "cuda/conv2d_backward.h"
#include "cuda/divisor.h"
#include "cuda/product_tile.h"

namespace lucid::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kFragments = 2;                    // of 16 pixels, a warp
constexpr int kLine = 16 * kFragments * kWarps;  // pixels that a block computes at most
constexpr int kStagingRow = 20, kStaging = 16 * kStagingRow;
constexpr int kMostPitch = kLine / 2;
constexpr int64_t kMostShared = 64 * 1024;  // what every device can have
constexpr int64_t kBlocks = 1024;           // more blocks than this share weights

// 16 more than the channels where that keeps the banks of shared memory further apart.
template <int kChannels>
constexpr int kPixel = kChannels == 16 ? 16 : kChannels + 16;

struct InputRows {
  GradientShape shape;
  const void *dy, *weight;  // the weights as [group][tap][output channel][input channel]
  void* dx;
  int taps;                         // of the window's three, in a row or a column of it, that a phase may see
  int rows, pitch, tiles_y, tiles;  // rows of a tile, tiles of an image, tiles of all phases and images
  int tiles_of_block;
  Divisor by_pitch;
};

// Rows of one image and phase.
struct RowTile {
  int image, row, phase_y, phase_x, height, width;
  int last_y, last_x;    // row and column of the window that the first row and column of the staged dy are seen through
  int first_y, first_x;  // of dy

  __device__ RowTile(const InputRows& p, int tile) {
    const GradientShape& s = p.shape;
    row = tile % p.tiles_y * p.rows, tile /= p.tiles_y;
    image = tile % s.n, tile /= s.n;
    phase_y = tile / s.stride_w, phase_x = tile % s.stride_w;
    height = (s.h - phase_y + s.stride_h - 1) / s.stride_h, width = (s.w - phase_x + s.stride_w - 1) / s.stride_w;
    const int y = phase_y + s.padding_top, x = phase_x + s.padding_left;
    last_y = s.stride_h == 1 || y % 2 == 0 ? 2 : 1, last_x = s.stride_w == 1 || x % 2 == 0 ? 2 : 1;
    first_y = row + (y - last_y) / s.stride_h, first_x = (x - last_x) / s.stride_w;
  }
};

template <class T, int kChannels>
__device__ void stage_weights(const InputRows& p, int group, T* weights) {
  constexpr int kChunks = kChannels / kChunk<T>;
  const T* from = static_cast<const T*>(p.weight) + int64_t{group} * 9 * kChannels * kChannels;
  for (int i = threadIdx.x; i < 9 * kChannels * kChunks; i += kThreads)
    *reinterpret_cast<uint4*>(weights + i / kChunks * kPixel<kChannels> + i % kChunks * kChunk<T>) =
        load_chunk(from + i * kChunk<T>);
}

template <class T, int kChannels>
__device__ void stage_dy(const InputRows& p, const RowTile& tile, int group, int pixels, T* line) {
  constexpr int kChunks = kChannels / kChunk<T>;
  const GradientShape& s = p.shape;
  for (int i = threadIdx.x; i < pixels * kChunks; i += kThreads) {
    const int pixel = i / kChunks, row = p.by_pitch.quotient(pixel), chunk = i % kChunks * kChunk<T>;
    const int y = tile.first_y + row, x = tile.first_x + p.by_pitch.remainder(pixel, row);
    const bool inside = row < p.rows + p.taps - 1 && static_cast<unsigned>(y) < static_cast<unsigned>(s.out_h) &&
                        static_cast<unsigned>(x) < static_cast<unsigned>(s.out_w);
    const T* from = static_cast<const T*>(p.dy) +
                    (int64_t{(tile.image * s.out_h + y) * s.out_w + x} * (s.groups * kChannels) + group * kChannels);
    *reinterpret_cast<uint4*>(line + pixel * kPixel<kChannels> + chunk) = load_chunk(inside ? from + chunk : nullptr);
  }
}

// Calls product(distance along the line, tap of the weights) for each tap that the tile's phase sees.
template <class Product>
__device__ void each_tap(const InputRows& p, const RowTile& tile, Product product) {
#pragma unroll 1
  for (int y = 0; y < p.taps; ++y)
#pragma unroll 1
    for (int x = 0; x < p.taps; ++x) {
      const int ky = tile.last_y - y * p.shape.stride_h, kx = tile.last_x - x * p.shape.stride_w;
      if (ky >= 0 && kx >= 0) product(y * p.pitch + x, ky * 3 + kx);
    }
}

template <class T, int kChannels>
class TensorRows {
 public:
  __device__ void multiply(const InputRows& p, const RowTile& tile, const T* line, const T* weights) {
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < kFragments * kColumns; ++i) nvcuda::wmma::fill_fragment(sum_[i / kColumns][i % kColumns], 0.0f);
    each_tap(p, tile, [&](int distance, int tap) {
#pragma unroll
      for (int k = 0; k < kChannels; k += 16) {
        Left left[kFragments];
#pragma unroll
        for (int i = 0; i < kFragments; ++i)
          nvcuda::wmma::load_matrix_sync(left[i], line + (16 * (warp + i * kWarps) + distance) * kPixel<kChannels> + k,
                                         kPixel<kChannels>);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          Right right;
          nvcuda::wmma::load_matrix_sync(right, weights + (tap * kChannels + k) * kPixel<kChannels> + 16 * j,
                                         kPixel<kChannels>);
#pragma unroll
          for (int i = 0; i < kFragments; ++i) nvcuda::wmma::mma_sync(sum_[i][j], left[i], right, sum_[i][j]);
        }
      }
    });
  }

  __device__ void store(int fragment, int column, float* own) const {
    nvcuda::wmma::store_matrix_sync(own, sum_[fragment][column], kStagingRow, nvcuda::wmma::mem_row_major);
  }

 private:
  static constexpr int kColumns = kChannels / 16;
  using Left = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, nvcuda::wmma::row_major>;
  using Right = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, nvcuda::wmma::row_major>;
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sum_[kFragments][kColumns];
};

// The same where a device has no tensor cores for T.
template <class T, int kChannels>
class PlainRows {
 public:
  __device__ void multiply(const InputRows& p, const RowTile& tile, const T* line, const T* weights) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum_[i] = 0.0f;
    each_tap(p, tile, [&](int distance, int tap) {
      for (int k = 0; k < kChannels; ++k)
#pragma unroll
        for (int i = 0; i < kSums; ++i) {
          const int pixel = 16 * (warp + i / (8 * kColumns) * kWarps) + place(i, lane) / 16 + distance;
          const int channel = i / 8 % kColumns * 16 + place(i, lane) % 16;
          sum_[i] = fmaf(to_float(line[pixel * kPixel<kChannels> + k]),
                         to_float(weights[(tap * kChannels + k) * kPixel<kChannels> + channel]), sum_[i]);
        }
    });
  }

  __device__ void store(int fragment, int column, float* own) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      if (i / 8 == fragment * kColumns + column) own[place(i, lane) / 16 * kStagingRow + place(i, lane) % 16] = sum_[i];
  }

 private:
  static constexpr int kColumns = kChannels / 16, kSums = kFragments * kColumns * 8;
  __device__ static int place(int i, int lane) { return i % 8 * 32 + lane; }
  float sum_[kSums];
};

template <class T, int kChannels>
__global__ void __launch_bounds__(kThreads) backward_input_rows3x3(const InputRows p) {
  LUCID_DYN_SHARED(T, shared);
  T* weights = shared;
  T* line = weights + 9 * kChannels * kPixel<kChannels>;
  const int pixels = kLine + (p.taps - 1) * (p.pitch + 1), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* own = reinterpret_cast<float*>(line + pixels * kPixel<kChannels>) + warp * kStaging;
  const GradientShape& s = p.shape;
  const int group = static_cast<int>(blockIdx.x % s.groups);
  const int begin = static_cast<int>(blockIdx.x / s.groups) * p.tiles_of_block;
  stage_weights<T, kChannels>(p, group, weights);
  std::conditional_t<kTensorCores<T>, TensorRows<T, kChannels>, PlainRows<T, kChannels>> rows;
#pragma unroll 1
  for (int i = begin; i < min(p.tiles, begin + p.tiles_of_block); ++i) {
    const RowTile tile(p, i);
    __syncthreads();
    stage_dy<T, kChannels>(p, tile, group, pixels, line);
    __syncthreads();
    rows.multiply(p, tile, line, weights);
#pragma unroll
    for (int part = 0; part < kFragments * (kChannels / 16); ++part) {
      const int fragment = part / (kChannels / 16), column = part % (kChannels / 16);
      rows.store(fragment, column, own);
      __syncwarp();
#pragma unroll
      for (int quad = lane; quad < 64; quad += 32) {
        const int m = 16 * (warp + fragment * kWarps) + quad / 4, row = p.by_pitch.quotient(m);
        const int y = tile.row + row, x = p.by_pitch.remainder(m, row);
        if (row >= p.rows || y >= tile.height || x >= tile.width) continue;
        const int pixel = (tile.image * s.h + y * s.stride_h + tile.phase_y) * s.w + x * s.stride_w + tile.phase_x;
        T* dx = static_cast<T*>(p.dx) + int64_t{pixel} * (s.groups * kChannels) + group * kChannels + 16 * column;
        store_quad(dx + quad % 4 * 4, load_quad(own + quad / 4 * kStagingRow + quad % 4 * 4));
      }
      __syncwarp();
    }
  }
}

int64_t taps(const Conv2dShape& s) { return s.stride_h == 1 ? 3 : 2; }
int64_t pitch(const Conv2dShape& s) { return ceil_div(s.w, s.stride_w) + taps(s) - 1; }

template <class T, int kChannels>
Error run(const Conv2dBackwardInput& arguments, const void* weight, Stream stream) {
  const Conv2dShape& s = arguments.shape;
  const int64_t height = ceil_div(s.h, s.stride_h), most_rows = kLine / pitch(s);
  const int64_t tiles_y = ceil_div(height, most_rows), tiles = s.stride_h * s.stride_w * s.n * tiles_y;
  const int64_t tiles_of_block = ceil_div(tiles * s.groups, kBlocks) < 4 ? ceil_div(tiles * s.groups, kBlocks) : 4;
  const int64_t blocks = s.groups * ceil_div(tiles, tiles_of_block);
  if (blocks > kMostGridBlocks || tiles > kMostPixels) return cudaErrorInvalidConfiguration;
  const InputRows p{GradientShape(s),
                    arguments.dy,
                    weight,
                    arguments.dx,
                    static_cast<int>(taps(s)),
                    static_cast<int>(ceil_div(height, tiles_y)),
                    static_cast<int>(pitch(s)),
                    static_cast<int>(tiles_y),
                    static_cast<int>(tiles),
                    static_cast<int>(tiles_of_block),
                    Divisor(pitch(s))};
  const int64_t pixels = kLine + (taps(s) - 1) * (pitch(s) + 1);
  const int64_t shared = (9 * kChannels + pixels) * kPixel<kChannels> * static_cast<int64_t>(sizeof(T)) +
                         kWarps * kStaging * static_cast<int64_t>(sizeof(float));
  static_assert((9 * kChannels + kLine + 2 * (kMostPitch + 1)) * kPixel<kChannels> * sizeof(T) +
                    kWarps * kStaging * 4 <=
                kMostShared);
  const auto kernel = backward_input_rows3x3<T, kChannels>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  if (error != cudaSuccess) return error;
  return launch(kernel,
                {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), static_cast<size_t>(shared),
                 static_cast<cudaStream_t>(stream)},
                p);
}

}  // namespace

bool accepts_input_rows(const Conv2dShape& s, Dtype dtype) {
  return dtype != Dtype::kFloat32 && s.kernel_h == 3 && s.kernel_w == 3 && s.dilation_h == 1 && s.dilation_w == 1 &&
         s.stride_h == s.stride_w && s.stride_h <= 2 && s.in_group == s.out_group &&
         (s.in_group == 16 || s.in_group == 32) && pitch(s) <= kMostPitch;
}

Error backward_input_rows(const Conv2dBackwardInput& arguments, const void* weight, Stream stream) {
  const bool narrow = arguments.shape.in_group == 16;
  if (arguments.dtype == Dtype::kFloat16)
    return narrow ? run<__half, 16>(arguments, weight, stream) : run<__half, 32>(arguments, weight, stream);
  return narrow ? run<__nv_bfloat16, 16>(arguments, weight, stream) : run<__nv_bfloat16, 32>(arguments, weight, stream);
}

}  // namespace lucid::cuda
