// conv2d_prepare: packs weights and bias for many calls of one convolution.
#include "ops/conv2d_weights.h"

#include <cstring>
#include <new>

#include "core/parallel.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "ops/conv2d.h"
#include "ops/device.h"
#include "ops/shapes.h"

namespace lucid {
namespace {

// Of two images, or none, they are the same.
bool same_geometry(Conv2dShape a, const Conv2dShape& b) {
  a.n = b.n;
  return std::memcmp(&a, &b, sizeof a) == 0;
}

lucid_status prepare_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape, lucid_conv2d_weights** prepared) {
  auto on_cuda = std::make_unique<CudaConv2dWeights>();
  LUCID_CHECK(prepare_conv2d_on_cuda(args, shape, on_cuda.get()));
  *prepared = new lucid_conv2d_weights{.isa = nullptr,
                                       .algorithm = nullptr,
                                       .shape = shape,
                                       .has_bias = args.bias != nullptr,
                                       .packed = Scratch<char>(0),
                                       .on_cuda = std::move(on_cuda)};
  return ok();
}

lucid_status prepare(const lucid_conv2d_args& args, lucid_conv2d_weights** prepared) {
  Conv2dShape shape;
  lucid_device device;
  const Conv2dAlgorithm* algorithm = nullptr;
  LUCID_CHECK(check_conv2d("conv2d", args, &shape));
  LUCID_CHECK(find_device("conv2d", args.context, {{"weight", args.weight}, {"bias", args.bias}}, &device));
  LUCID_CHECK(check_data("conv2d", "weight", args.weight, device));
  LUCID_CHECK(check_data("conv2d", "bias", args.bias, device));
  if (device.type == LUCID_CUDA) return prepare_on_cuda(args, shape, prepared);
  LUCID_CHECK(choose_conv2d(shape, {.winograd = args.winograd != 0}, args.algorithm, &algorithm));
  const int64_t panels = algorithm->panels(shape), bytes = algorithm->panel_bytes(shape);
  auto* made = new (std::nothrow) lucid_conv2d_weights{.isa = kernels().isa,
                                                       .algorithm = algorithm,
                                                       .shape = shape,
                                                       .has_bias = args.bias != nullptr,
                                                       .packed = Scratch<char>(panels * bytes),
                                                       .on_cuda = nullptr};
  if (made == nullptr || made->packed.data() == nullptr) {
    delete made;
    return fail(LUCID_OUT_OF_MEMORY, "conv2d: no memory for %lld bytes of weights",
                static_cast<long long>(panels * bytes));
  }
  const Conv2d problem = view_conv2d(args, shape);
  char* const packed = made->packed.data();
  parallel_for(panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) algorithm->prepare(problem, i, packed + i * bytes);
  });
  *prepared = made;
  return ok();
}

// On the device that the arguments are on.
lucid_status check_prepared_on_cuda(const CudaConv2dWeights& weights, const lucid_conv2d_args& args) {
  const lucid_device device = args.x->device;
  const lucid_dtype dtype = args.x->dtype;
  if (weights.device.id != device.id)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for %s, got weights for %s",
                DeviceText(device).c_str(), DeviceText(weights.device).c_str());
  if (weights.dtype.code != dtype.code || weights.dtype.bits != dtype.bits)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for the dtype of x, got weights for another");
  if (args.algorithm != nullptr && weights.algorithm != args.algorithm)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for algorithm '%s', got weights for '%s'",
                args.algorithm, weights.algorithm.c_str());
  return ok();
}

lucid_status check_prepared_on_cpu(const lucid_conv2d_weights& weights, const lucid_conv2d_args& args) {
  if (std::strcmp(weights.isa, kernels().isa) != 0)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for %s, got weights for %s", kernels().isa,
                weights.isa);
  if (args.algorithm != nullptr && std::strcmp(args.algorithm, weights.algorithm->name) != 0)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for algorithm '%s', got weights for '%s'",
                args.algorithm, weights.algorithm->name);
  return ok();
}

}  // namespace

lucid_status check_prepared(const lucid_conv2d_weights& weights, const lucid_conv2d_args& args,
                            const Conv2dShape& shape) {
  const bool on_cuda = args.x->device.type == LUCID_CUDA;
  if ((weights.on_cuda != nullptr) != on_cuda)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for %s, got weights for %s",
                DeviceText(args.x->device).c_str(), on_cuda ? "the CPU" : "CUDA");
  LUCID_CHECK(on_cuda ? check_prepared_on_cuda(*weights.on_cuda, args) : check_prepared_on_cpu(weights, args));
  if (!same_geometry(weights.shape, shape))
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: prepared must be packed for this geometry, got weights for another");
  if ((args.bias != nullptr) != weights.has_bias)
    return fail(LUCID_INVALID_ARGUMENT, "conv2d: bias must be given where prepared has one, got %s",
                args.bias != nullptr ? "one" : "NULL");
  return ok();
}

}  // namespace lucid

extern "C" lucid_status lucid_conv2d_prepare(const lucid_conv2d_args* args, lucid_conv2d_weights** weights) {
  using namespace lucid;
  if (weights == nullptr) return fail(LUCID_INVALID_ARGUMENT, "conv2d: the weights must have a place, got NULL");
  *weights = nullptr;
  return with_arguments("conv2d", args, [&](const lucid_conv2d_args& complete) { return prepare(complete, weights); });
}

extern "C" void lucid_conv2d_weights_destroy(lucid_conv2d_weights* weights) { delete weights; }
