// The forward convolution: which algorithm computes it.
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "cuda/conv2d_algorithm.h"
#include "cuda/cuda_compat.h"
#include "cuda/kernels.h"

namespace lucid::cuda {
namespace {

// The one with this name, or the best if there is none given; null if it does not accept the shape.
const Conv2dAlgorithm* find(const char* name, const Conv2dShape& shape, Dtype dtype, bool tf32) {
  for (const Conv2dAlgorithm* algorithm : kConv2dAlgorithms)
    if ((name == nullptr || std::strcmp(name, algorithm->name) == 0) && algorithm->accepts(shape, dtype, tf32))
      return algorithm;
  return nullptr;
}

}  // namespace

const char* conv2d_algorithms(const Conv2dShape& shape, Dtype dtype, bool tf32) {
  static std::mutex mutex;
  static std::map<uint32_t, std::string> lists;  // by the set of algorithms; a text stays where it is
  uint32_t accepted = 0;
  std::string names;
  for (int i = 0; i < int(std::size(kConv2dAlgorithms)); ++i)
    if (kConv2dAlgorithms[i]->accepts(shape, dtype, tf32)) {
      accepted |= uint32_t{1} << i;
      names += (names.empty() ? "" : ",") + std::string(kConv2dAlgorithms[i]->name);
    }
  const std::lock_guard lock(mutex);
  return lists.try_emplace(accepted, names).first->second.c_str();
}

size_t conv2d_packed_bytes(const Conv2dPack& arguments) {
  const Conv2dAlgorithm* algorithm = find(arguments.algorithm, arguments.shape, arguments.dtype, arguments.tf32);
  return algorithm != nullptr ? algorithm->packed_bytes(arguments.shape, arguments.dtype) : 0;
}

Error conv2d_pack(const Conv2dPack& arguments, Stream stream) {
  const Conv2dAlgorithm* algorithm = find(arguments.algorithm, arguments.shape, arguments.dtype, arguments.tf32);
  return algorithm != nullptr ? algorithm->pack(arguments, stream) : cudaErrorInvalidValue;
}

Error conv2d(const Conv2d& arguments, Stream stream) {
  const Conv2dAlgorithm* algorithm = find(arguments.algorithm, arguments.shape, arguments.dtype, arguments.tf32);
  if (algorithm == nullptr) return cudaErrorInvalidValue;
  return arguments.shape.n != 0 ? algorithm->run(arguments, stream) : cudaSuccess;
}

}  // namespace lucid::cuda
