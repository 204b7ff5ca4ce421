#include "ops/conv2d_cuda.h"

#include <sstream>

#include "core/arguments.h"
#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/staging.h"
#include "ops/conv2d_weights.h"

namespace lucid {
namespace {

// The algorithm that a call names, or the best.
lucid_status choose(const lucid_conv2d_args& args, const Conv2dShape& shape, std::string* chosen) {
  const char* names = nullptr;
  LUCID_CHECK(conv2d_algorithms_on_cuda(args, shape, &names));
  std::istringstream list(names);
  while (std::getline(list, *chosen, ','))
    if (args.algorithm == nullptr || *chosen == args.algorithm) return ok();
  return fail(LUCID_INVALID_ARGUMENT, "conv2d: algorithm '%s' does not exist or does not accept this problem on cuda",
              args.algorithm);
}

lucid_status pack(const cuda::Call& call, const lucid_conv2d_args& args, const Conv2dShape& shape,
                  const char* algorithm, cuda::Memory* packed) {
  cuda::Input weight;
  LUCID_CHECK(weight.stage(call, *args.weight, cuda::Order::kRowMajor));
  cuda::Conv2dPack p{.shape = shape,
                     .dtype = cuda::dtype_of(args.weight->dtype),
                     .algorithm = algorithm,
                     .tf32 = allows_tf32(args.context),
                     .weight = weight.data(),
                     .packed = nullptr};
  LUCID_CHECK(packed->allocate(call.op(), call.device(), call->conv2d_packed_bytes(p), call.stream()));
  p.packed = packed->data();
  return call.check(call->conv2d_pack(p, call.stream()));
}

}  // namespace

lucid_status conv2d_algorithms_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape, const char** names) {
  LUCID_CHECK(cuda::check_device("conv2d", "x", args.x->device.id));
  *names = cuda::backend()->conv2d_algorithms(shape, cuda::dtype_of(args.x->dtype), allows_tf32(args.context));
  if (*names != nullptr && **names != '\0') return ok();
  return fail(LUCID_UNSUPPORTED, "conv2d: no algorithm on cuda accepts this problem");
}

lucid_status run_conv2d_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape) {
  const cuda::Call call("conv2d", args.x->device.id, stream_of(args.context));
  std::string algorithm;
  cuda::Memory packed;
  cuda::Input x, bias;
  cuda::Output y;
  LUCID_CHECK(call.begin());
  cuda::Conv2d p{.shape = shape,
                 .dtype = cuda::dtype_of(args.x->dtype),
                 .algorithm = nullptr,
                 .tf32 = allows_tf32(args.context),
                 .x = nullptr,
                 .packed = nullptr,
                 .bias = nullptr,
                 .residual = nullptr,
                 .relu = false,
                 .y = nullptr};
  if (args.prepared != nullptr) {
    const CudaConv2dWeights& weights = *args.prepared->on_cuda;
    p.algorithm = weights.algorithm.c_str();
    p.tf32 = weights.tf32;
    p.packed = weights.packed.data();
    p.bias = static_cast<const float*>(weights.bias.data());
  } else {
    LUCID_CHECK(choose(args, shape, &algorithm));
    LUCID_CHECK(pack(call, args, shape, algorithm.c_str(), &packed));
    LUCID_CHECK(bias.stage_vector(call, args.bias));
    p.algorithm = algorithm.c_str();
    p.packed = packed.data();
    p.bias = bias.floats();
  }
  LUCID_CHECK(x.stage(call, *args.x, cuda::Order::kChannelsLast));
  LUCID_CHECK(y.stage(call, *args.y, cuda::Order::kChannelsLast));
  p.x = x.data();
  p.y = y.data();
  LUCID_CHECK(call.check(call->conv2d(p, call.stream())));
  return y.finish(call);
}

lucid_status prepare_conv2d_on_cuda(const lucid_conv2d_args& args, const Conv2dShape& shape,
                                    CudaConv2dWeights* weights) {
  const cuda::Call call("conv2d", args.weight->device.id, stream_of(args.context));
  LUCID_CHECK(call.begin());
  weights->device = args.weight->device;
  weights->dtype = args.weight->dtype;
  weights->tf32 = allows_tf32(args.context);
  LUCID_CHECK(choose(args, shape, &weights->algorithm));
  LUCID_CHECK(pack(call, args, shape, weights->algorithm.c_str(), &weights->packed));
  if (args.bias != nullptr) {
    const size_t bytes = static_cast<size_t>(shape.out_channels()) * sizeof(float);
    LUCID_CHECK(weights->bias.allocate(call.op(), call.device(), bytes, call.stream()));
    lucid_tensor floats = *args.bias;
    floats.data = weights->bias.data();
    floats.byte_offset = 0;
    floats.dtype = kFloat32;
    floats.strides = nullptr;
    LUCID_CHECK(cuda::convert(call, *args.bias, floats));
  }
  return call.check(call->stream_synchronize(call.stream()));
}

}  // namespace lucid
