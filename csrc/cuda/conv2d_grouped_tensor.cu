// Grouped 3x3 convolution in float16 or bfloat16 on tensor cores, with sums in float32: groups of up to 64 channels.
//
// Bound by memory. A block has a slab of up to 64 channels, whole groups, and a tile of an image or some whole images,
// whose pixels come to shared memory once, for all nine taps. A warp has 8 to 32 outputs of a group and fragments of
// sixteen pixels, rows of a product that may lie anywhere, as each lane says where its own does. A step is sixteen
// terms: channels of a tap, or the 8 channels of two taps, so that groups of 8 multiply no zeros but those of a tenth
// tap. Weights lie in the order of registers. Those of groups of up to 16 channels a warp holds all the time, others
// come from L1 or L2 a step ahead. Sums go from registers to memory: outputs are dealt to columns so that a lane has
// neighbours. Which pixel lies where is found once for all warps, as integers took longer than all else.
#include "cuda/conv2d_algorithm.h"
#include "cuda/conv2d_grouped_outputs.h"
#include "cuda/conv2d_grouped_tile.h"
#include "cuda/divisor.h"
#include "cuda/warp_matrix.h"

namespace lucid::cuda {
namespace {

using namespace grouped;

template <class T>
struct Problem {
  const T* x;
  const uint32_t* weights;  // [slab][chunk][step][four of a lane's words][lane][2 or 4], of two each
  Conv2dEpilogue<T> epilogue;
  Slabs slabs;
  ImageTile tile;
  Divisor by_slabs, by_across, by_down;          // blocks
  Divisor by_columns, by_rows, by_w, by_h;       // pixels of a tile, and its outputs
  Divisor by_vectors, by_in, by_chunks, by_out;  // threads, channels, warps, chunks
  int32_t n, h, w, out_h, out_w, padding_top, padding_left;
  int32_t groups, in_group, out_group, in_channels, out_channels;
  int32_t tap[kTaps];  // bytes from an output's first pixel
  bool aligned;        // vectors of x
  bool neighbours;     // a lane's outputs may be stored at once
};

struct Place {
  int image, h, w, slab;  // first output
};

template <class T>
__device__ __forceinline__ Place place_of_block(const Problem<T>& p) {
  const int block = int(blockIdx.x), tile = p.by_slabs.quotient(block), row = p.by_across.quotient(tile);
  const int images = p.by_down.quotient(row);
  return {images * p.tile.images, p.by_down.remainder(row, images) * p.tile.h,
          p.by_across.remainder(tile, row) * p.tile.w, p.by_slabs.remainder(block, tile)};
}

// Finds the pixels of x and y for all warps: a division costs as much as a load of sixteen bytes.
template <class T>
__device__ __forceinline__ void find_spots(const Problem<T>& p, const Place& place, Spot* inputs, Spot* outputs) {
  const ImageTile& tile = p.tile;
  const int top = place.h * tile.stride - p.padding_top, left = place.w * tile.stride - p.padding_left;
  const int input_count = tile.pixels(), output_count = tile.fragments() * kRows;
  for (int i = int(threadIdx.x); i < input_count; i += kThreads) {
    const int image_row = p.by_columns.quotient(i), column = p.by_columns.remainder(i, image_row);
    const int image = p.by_rows.quotient(image_row), row = p.by_rows.remainder(image_row, image);
    const int h = top + row, w = left + (column < tile.odd ? column * tile.stride : 2 * (column - tile.odd) + 1);
    const bool inside = unsigned(h) < unsigned(p.h) && unsigned(w) < unsigned(p.w) && place.image + image < p.n;
    inputs[i] = {image_row * tile.row_bytes + column * tile.pixel_bytes, inside ? (image * p.h + h) * p.w + w : -1};
  }
  for (int i = int(threadIdx.x); i < output_count; i += kThreads) {
    const int output = i < tile.outputs() ? i : 0;
    const int image_row = p.by_w.quotient(output), column = p.by_w.remainder(output, image_row);
    const int image = p.by_h.quotient(image_row), row = p.by_h.remainder(image_row, image);
    const int h = place.h + row, w = place.w + column;
    const bool exists = i == output && place.image + image < p.n && h < p.out_h && w < p.out_w;
    outputs[i] = {(image * tile.rows + row * tile.stride) * tile.row_bytes + column * tile.pixel_bytes,
                  exists ? (image * p.out_h + h) * p.out_w + w : -1};
  }
}

// `count` elements, and zeros behind them.
template <class T>
__device__ __forceinline__ void copy_some(T* to, const T* from, int count) {
  Elements<T, kVector> values{};
#pragma unroll
  for (int i = 0; i < kVector; ++i)
    if (i < count) values.at[i] = from[i];
  *reinterpret_cast<Elements<T, kVector>*>(to) = values;
}

// Every thread has eight channels of every so many pixels.
template <class T>
__device__ __forceinline__ void copy_tile(const Problem<T>& p, const Place& place, const Spot* inputs,
                                          unsigned char* pixels) {
  const int first = p.by_vectors.quotient(int(threadIdx.x)), step = p.slabs.copied;
  const int vector = p.by_vectors.remainder(int(threadIdx.x), first) * kVector;
  const int of_slab = p.by_in.quotient(vector), channel = p.by_in.remainder(vector, of_slab);
  const int group = place.slab * p.slabs.groups + of_slab, left = group < p.groups ? p.in_group - channel : 0;
  const int count = left < 0 ? 0 : left < kVector ? left : kVector;
  const T* x = p.x + int64_t{place.image} * p.h * p.w * p.in_channels + group * p.in_group + channel;
  if (first >= step) return;
  const int pixel_count = p.tile.pixels();
  for (int i = first; i < pixel_count; i += step) {
    const Spot spot = inputs[i];
    T* to = reinterpret_cast<T*>(pixels + spot.memory) + vector;
    const T* from = x + int64_t{spot.pixel} * p.in_channels;
    const int here = spot.pixel < 0 ? 0 : count;
    if (here == 0)
      *reinterpret_cast<Elements<T, kVector>*>(to) = {};
    else if (p.aligned)
      __pipeline_memcpy_async(to, from, kVector * sizeof(T));
    else
      copy_some(to, from, here);
  }
}

// A step's weights of a lane.
template <int kTiles>
__device__ __forceinline__ void load_weights(const uint32_t* from, uint32_t (&weights)[kTiles][2]) {
  constexpr int kWords = kTiles == 1 ? 2 : 4;
#pragma unroll
  for (int i = 0; i < 2 * kTiles; i += kWords) {
    const auto words = *reinterpret_cast<const Elements<uint32_t, kWords>*>(from + i * kWarp);
#pragma unroll
    for (int j = 0; j < kWords; ++j) weights[(i + j) / 2][j % 2] = words.at[j];
  }
}

// A warp's chunk of outputs, of which a lane has `count` neighbours from `channel` on.
template <int kTiles>
struct Outputs {
  int channel, count;
  float bias[2 * kTiles];
};

template <int kTiles, class T>
__device__ __forceinline__ Outputs<kTiles> outputs_of_lane(const Problem<T>& p, int group, int chunk) {
  Outputs<kTiles> own;
  const int column = chunk * 8 * kTiles + int(threadIdx.x) % 4 * 2 * kTiles;
  const int left = group < p.groups ? p.out_group - column : 0;
  own.channel = group * p.out_group + column;
  own.count = left < 0 ? 0 : left < 2 * kTiles ? left : 2 * kTiles;
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i)
    own.bias[i] = p.epilogue.bias != nullptr && i < own.count ? p.epilogue.bias[own.channel + i] : 0.0f;
  return own;
}

// spots: of the fragment's rows.
template <class T, int kTiles>
__device__ __forceinline__ void store(const Problem<T>& p, const Place& place, const Spot* spots,
                                      const float (&sums)[kTiles][4], const Outputs<kTiles>& own) {
  const int64_t first = int64_t{place.image} * p.out_h * p.out_w * p.out_channels + own.channel;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int pixel = spots[int(threadIdx.x) % kWarp / 4 + 8 * half].pixel;
    if (pixel < 0 || own.count == 0) continue;
    float values[2 * kTiles];
#pragma unroll
    for (int j = 0; j < 2 * kTiles; ++j) values[j] = sums[j / 2][2 * half + j % 2] + own.bias[j];
    store_neighbours(p.epilogue, p.neighbours, first + int64_t{pixel} * p.out_channels, own.count, values);
  }
}

// What a warp multiplies: fragments part, part + parts and so on, by the weights of its chunk.
struct Share {
  SharedAddress pixels;  // the lane's first terms of the group, of the tile's first pixel
  const uint32_t* weights;
  const Spot* spots;  // of the outputs
  int part, parts;
};

// Groups whose weights a warp holds: of 8 channels, with two taps in a step, and of 16.
template <int kTiles, class T>
__device__ __forceinline__ void multiply_held(const Problem<T>& p, const Place& place, const Share& own,
                                              const Outputs<kTiles>& outputs) {
  constexpr int kSteps = kHeldSteps<kTiles>;
  constexpr bool kTwoTaps = kTiles == 1;
  const int lane = threadIdx.x % kWarp;
  uint32_t weights[kSteps][kTiles][2];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) load_weights(own.weights + step * kWarp * 2 * kTiles, weights[step]);
  const int fragments = p.tile.fragments();
  for (int fragment = own.part; fragment < fragments; fragment += own.parts) {
    const Spot* spots = own.spots + fragment * kRows;
    const SharedAddress row = own.pixels + spots[lane % kRows].memory;
    float sums[kTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      int tap = p.tap[kTwoTaps ? 2 * step : step];
      const bool last = kTwoTaps && 2 * step + 1 == kTaps;
      if (kTwoTaps && !last && lane >= kRows) tap = p.tap[2 * step + 1];
      uint32_t rows[4];
      load_matrices(rows, row + tap);
      if (last) rows[2] = rows[3] = 0;  // zero weights would make a NaN of an infinity
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) multiply_matrices<T>(sums[tile], rows, weights[step][tile]);
    }
    store(p, place, spots, sums, outputs);
  }
}

// Larger groups: some fragments at once, and weights a step ahead of the products.
template <int kTiles, class T>
__device__ __forceinline__ void multiply_many(const Problem<T>& p, const Place& place, const Share& own,
                                              const Outputs<kTiles>& outputs) {
  const int lane = threadIdx.x % kWarp, fragments = p.tile.fragments();
  for (int first = own.part; first < fragments; first += own.parts * kFragments) {
    SharedAddress row[kFragments];
    int count = 0;
#pragma unroll
    for (int i = 0; i < kFragments; ++i) {
      const int fragment = first + i * own.parts;
      if (fragment < fragments) row[i] = own.pixels + own.spots[fragment * kRows + lane % kRows].memory, ++count;
    }
    float sums[kFragments][kTiles][4] = {};
    uint32_t now[kTiles][2], next[kTiles][2];
    const uint32_t* weights = own.weights;
    load_weights(weights, next);
    for (int tap = 0; tap < kTaps; ++tap)
      for (int channel = 0; channel < p.slabs.in; channel += kTerms) {
        memcpy(now, next, sizeof now);
        weights += kWarp * 2 * kTiles;
        if (tap + 1 < kTaps || channel + kTerms < p.slabs.in) load_weights(weights, next);
        const int offset = p.tap[tap] + channel * int(sizeof(T));
#pragma unroll
        for (int i = 0; i < kFragments; ++i) {
          if (i >= count) continue;
          uint32_t rows[4];
          load_matrices(rows, row[i] + offset);
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) multiply_matrices<T>(sums[i][tile], rows, now[tile]);
        }
      }
#pragma unroll
    for (int i = 0; i < kFragments; ++i)
      if (i < count) store(p, place, own.spots + (first + i * own.parts) * kRows, sums[i], outputs);
  }
}

template <class T, int kTiles>
__global__ void __launch_bounds__(kThreads, 2) grouped_tensor_3x3(Problem<T> p) {
  if constexpr (kHasTensorCores<T>) {
    LUCID_DYN_SHARED(unsigned char, pixels);
    Spot* inputs = reinterpret_cast<Spot*>(pixels + p.tile.pixel_memory());
    Spot* spots = inputs + p.tile.pixels();
    const Place place = place_of_block(p);
    find_spots(p, place, inputs, spots);
    __syncthreads();
    copy_tile(p, place, inputs, pixels);
    __pipeline_commit();
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int part = p.by_chunks.quotient(warp), chunk = p.by_chunks.remainder(warp, part);
    const int of_slab = p.by_out.quotient(chunk), group = place.slab * p.slabs.groups + of_slab;
    const auto outputs = outputs_of_lane<kTiles>(p, group, p.by_out.remainder(chunk, of_slab));
    const int second = kTiles > 1 && lane >= kRows ? kVector : 0;
    const Share own{shared_address(pixels) + (of_slab * p.slabs.in + second) * int(sizeof(T)),
                    p.weights + (place.slab * p.slabs.chunks + chunk) * p.slabs.chunk_words() + lane * kLoaded<kTiles>,
                    spots, part, p.slabs.parts};
    __pipeline_wait_prior(0);
    __syncthreads();
    if (group >= p.groups) return;
    if constexpr (kHeldSteps<kTiles> > 0)
      multiply_held(p, place, own, outputs);
    else
      multiply_many(p, place, own, outputs);
  }
}

template <class T>
__global__ void pack_slabs(Conv2dShape shape, Slabs slabs, int64_t count, const T* weight, T* weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t loaded = slabs.tiles == 1 ? 2 : 4;  // words of a lane side by side
  const int64_t words = i / 2, lane = words / loaded % kWarp, loads = words / loaded / kWarp;
  const int64_t tile = (loads * loaded + words % loaded) / 2 % slabs.tiles;
  const int64_t all_steps = words / slabs.step_words(), step = all_steps % slabs.steps;
  const int64_t all_chunks = all_steps / slabs.steps, chunk = all_chunks % slabs.chunks;
  const int64_t of_slab = chunk / slabs.chunks_of_group();
  // The place in the right matrix of a product, as warp_matrix.h has it.
  const int64_t term = lane % 4 * 2 + words % 2 * 8 + i % 2, column = lane / 4;
  const int64_t in_step = slabs.eight() ? term % kVector : step % (slabs.in / kTerms) * kTerms + term;
  const int64_t tap = slabs.eight() ? step * 2 + term / kVector : step / (slabs.in / kTerms);
  const int64_t out =
      chunk % slabs.chunks_of_group() * 8 * slabs.tiles + column / 2 * 2 * slabs.tiles + tile * 2 + column % 2;
  const int64_t group = all_chunks / slabs.chunks * slabs.groups + of_slab;
  const bool exists = group < shape.groups && in_step < shape.in_group && out < shape.out_group && tap < kTaps;
  weights[i] = exists ? weight[((group * shape.out_group + out) * shape.in_group + in_step) * kTaps + tap] : T(0.0f);
}

template <class T>
Problem<T> problem_of(const Conv2d& arguments, const Slabs& slabs, const ImageTile& tile) {
  const Conv2dShape& s = arguments.shape;
  const size_t neighbours = size_t(2 * slabs.tiles) * sizeof(T);
  Problem<T> p{.x = static_cast<const T*>(arguments.x),
               .weights = static_cast<const uint32_t*>(arguments.packed),
               .epilogue = epilogue_of<T>(arguments),
               .slabs = slabs,
               .tile = tile,
               .by_slabs = Divisor(slabs.count),
               .by_across = Divisor(tile.across),
               .by_down = Divisor(tile.down),
               .by_columns = Divisor(tile.columns),
               .by_rows = Divisor(tile.rows),
               .by_w = Divisor(tile.w),
               .by_h = Divisor(tile.h),
               .by_vectors = Divisor(slabs.vectors()),
               .by_in = Divisor(slabs.in),
               .by_chunks = Divisor(slabs.chunks),
               .by_out = Divisor(slabs.chunks_of_group()),
               .n = int32_t(s.n),
               .h = int32_t(s.h),
               .w = int32_t(s.w),
               .out_h = int32_t(s.out_h),
               .out_w = int32_t(s.out_w),
               .padding_top = int32_t(s.padding_top),
               .padding_left = int32_t(s.padding_left),
               .groups = int32_t(s.groups),
               .in_group = int32_t(s.in_group),
               .out_group = int32_t(s.out_group),
               .in_channels = int32_t(s.in_channels()),
               .out_channels = int32_t(s.out_channels()),
               .tap = {},
               .aligned = is_aligned(arguments.x, kVector * sizeof(T)) && s.in_group % kVector == 0,
               .neighbours = s.out_group % (2 * slabs.tiles) == 0 && is_aligned(arguments.y, neighbours) &&
                             is_aligned(arguments.residual, neighbours)};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      p.tap[i * 3 + j] = i * tile.row_bytes + (tile.stride == 1 ? j : j % 2 * tile.odd + j / 2) * tile.pixel_bytes;
  return p;
}

template <class T>
Error run_dtype(const Conv2d& arguments, Stream stream) {
  const Slabs slabs(arguments.shape);
  const ImageTile tile = best_image_tile(arguments.shape, slabs);
  const int64_t blocks = blocks_of(arguments.shape, slabs, tile);
  if (blocks > kMostBlocks) return cudaErrorInvalidConfiguration;
  const Problem<T> p = problem_of<T>(arguments, slabs, tile);
  const LaunchConfig config{dim3(unsigned(blocks)), dim3(kThreads), size_t(tile.shared()),
                            static_cast<cudaStream_t>(stream)};
  if (slabs.tiles == 1) return launch(grouped_tensor_3x3<T, 1>, config, p);
  return slabs.tiles == 2 ? launch(grouped_tensor_3x3<T, 2>, config, p) : launch(grouped_tensor_3x3<T, 4>, config, p);
}

Error run(const Conv2d& arguments, Stream stream) {
  return arguments.dtype == Dtype::kFloat16 ? run_dtype<__half>(arguments, stream)
                                            : run_dtype<__nv_bfloat16>(arguments, stream);
}

// Groups of 4 channels are left to conv2d_grouped: half of the terms would be zeros, and no vector is of one group.
// Those of 56x56x128 are predicted to take 1.7 times the roofline there on an H100, in float16.
bool accepts(const Conv2dShape& s, Dtype dtype, bool) {
  return dtype != Dtype::kFloat32 && has_tensor_cores(dtype) && s.groups > 1 && s.kernel_h == 3 && s.kernel_w == 3 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.stride_h == s.stride_w && s.stride_h <= 2 &&
         s.in_group >= kVector && s.in_group <= kSlab && s.out_group >= kVector && s.out_group <= kSlab &&
         s.n < INT32_MAX && kMostImages * s.h * s.w < INT32_MAX && kMostImages * s.out_h * s.out_w < INT32_MAX &&
         s.in_channels() < INT32_MAX && s.out_channels() < INT32_MAX;
}

size_t packed_bytes(const Conv2dShape& shape, Dtype) { return size_t(Slabs(shape).weights()) * 2; }

template <class T>
Error pack_dtype(const Conv2dPack& arguments, Stream stream) {
  const Slabs slabs(arguments.shape);
  const int64_t count = slabs.weights();
  return launch(pack_slabs<T>, threads_for(count, kThreads, stream), arguments.shape, slabs, count,
                static_cast<const T*>(arguments.weight), static_cast<T*>(arguments.packed));
}

Error pack(const Conv2dPack& arguments, Stream stream) {
  return arguments.dtype == Dtype::kFloat16 ? pack_dtype<__half>(arguments, stream)
                                            : pack_dtype<__nv_bfloat16>(arguments, stream);
}

}  // namespace

const Conv2dAlgorithm conv2d_grouped_tensor = {"grouped_tensor_3x3", accepts, packed_bytes, pack, run};

}  // namespace lucid::cuda
