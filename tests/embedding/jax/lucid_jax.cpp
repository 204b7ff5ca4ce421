// lucid's operators and plans as handlers of XLA's foreign function interface
// (https://docs.jax.dev/en/latest/ffi.html). Arrays have JAX's usual order: images (n, h, w, c), filters
// (kh, kw, in, out). lucid reads and writes them where they are, by strides; XLA allocates the results.
#include <lucid.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Pair = ffi::Span<const int64_t>;

// A dense array whose dimension order[i] is the i-th of lucid's tensor.
class Permuted {
 public:
  Permuted(void* data, ffi::Span<const int64_t> dimensions, std::initializer_list<int> order) {
    int64_t dense[8];
    int64_t stride = 1;
    for (int i = static_cast<int>(dimensions.size()); i-- > 0; stride *= dimensions[i]) dense[i] = stride;
    int32_t rank = 0;
    for (const int from : order) {
      shape_[rank] = dimensions[from];
      strides_[rank++] = dense[from];
    }
    tensor_ = {data, {LUCID_CPU, 0}, rank, {LUCID_FLOAT, 32, 1}, shape_, strides_, 0};
  }
  Permuted(const Permuted&) = delete;
  lucid_tensor* get() { return &tensor_; }

 private:
  int64_t shape_[8], strides_[8];
  lucid_tensor tensor_;
};

ffi::Error error_of(lucid_status status) {
  if (status == LUCID_OK) return ffi::Error::Success();
  const auto code = status == LUCID_INVALID_ARGUMENT ? ffi::ErrorCode::kInvalidArgument
                    : status == LUCID_OUT_OF_MEMORY  ? ffi::ErrorCode::kResourceExhausted
                                                     : ffi::ErrorCode::kInternal;
  return ffi::Error(code, lucid_last_error());
}

using F1 = ffi::BufferR1<ffi::F32>;
using F2 = ffi::BufferR2<ffi::F32>;
using F4 = ffi::BufferR4<ffi::F32>;

ffi::Error conv2d(F4 x, F4 weight, F1 bias, ffi::Result<F4> y, Pair stride, Pair padding, Pair dilation,
                  int64_t groups) {
  if (stride.size() != 2 || padding.size() != 2 || dilation.size() != 2)
    return ffi::Error::InvalidArgument("conv2d: stride, padding and dilation must have 2 numbers each");
  Permuted input(x.untyped_data(), x.dimensions(), {0, 3, 1, 2});
  Permuted filters(weight.untyped_data(), weight.dimensions(), {3, 2, 0, 1});
  Permuted addend(bias.untyped_data(), bias.dimensions(), {0});
  Permuted output(y->untyped_data(), y->dimensions(), {0, 3, 1, 2});
  lucid_conv2d_args args{};
  args.size = sizeof args;
  args.x = input.get();
  args.weight = filters.get();
  args.bias = addend.get();
  args.y = output.get();
  for (int i = 0; i < 2; ++i) {
    args.stride[i] = stride[i];
    args.padding[i] = padding[i];
    args.dilation[i] = dilation[i];
  }
  args.groups = groups;
  return error_of(lucid_conv2d(&args));
}

ffi::Error split_attention(F4 x, F2 logits, ffi::Result<F4> y, int64_t radix, int64_t cardinality) {
  Permuted input(x.untyped_data(), x.dimensions(), {0, 3, 1, 2});
  Permuted scores(logits.untyped_data(), logits.dimensions(), {0, 1});
  Permuted output(y->untyped_data(), y->dimensions(), {0, 3, 1, 2});
  lucid_split_attention_args args{};
  args.size = sizeof args;
  args.x = input.get();
  args.logits = scores.get();
  args.y = output.get();
  args.radix = radix;
  args.cardinality = cardinality;
  return error_of(lucid_split_attention(&args));
}

// A saved plan, which XLA loads with an executable and keeps as long as that.
class Plan {
 public:
  static ffi::TypeId id;

  explicit Plan(lucid_plan* plan) : plan_(plan) {}
  Plan(const Plan&) = delete;
  ~Plan() { lucid_plan_destroy(plan_); }
  const lucid_plan* get() const { return plan_; }

 private:
  lucid_plan* plan_;
};

ffi::TypeId Plan::id = {};
constexpr ffi::TypeInfo kPlanInfo = ffi::MakeTypeInfo<Plan>();

ffi::ErrorOr<std::unique_ptr<Plan>> load_plan(std::string_view path) {
  lucid_plan* loaded = nullptr;
  if (const ffi::Error error = error_of(lucid_plan_load(std::string(path).c_str(), nullptr, &loaded)); error.failure())
    return ffi::Unexpected(error);
  auto plan = std::make_unique<Plan>(loaded);
  if (lucid_plan_input_count(loaded) != 1 || lucid_plan_output_count(loaded) != 1)
    return ffi::Unexpected(ffi::Error::InvalidArgument("the plan must have one input and one output"));
  return plan;
}

// An image, or rows.
Permuted value(const ffi::AnyBuffer& x) {
  if (x.dimensions().size() == 4) return {x.untyped_data(), x.dimensions(), {0, 3, 1, 2}};
  return {x.untyped_data(), x.dimensions(), {0, 1}};
}

ffi::Error run_plan(Plan* plan, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, std::string_view) {
  for (const ffi::AnyBuffer& array : {x, ffi::AnyBuffer(*y)})
    if (array.element_type() != ffi::F32 || (array.dimensions().size() != 4 && array.dimensions().size() != 2))
      return ffi::Error::InvalidArgument("plan: x and y must be float32, of 2 or 4 dimensions");
  Permuted input = value(x), output = value(*y);
  const lucid_tensor* inputs[] = {input.get()};
  lucid_tensor* outputs[] = {output.get()};
  return error_of(lucid_plan_run(plan->get(), inputs, outputs, nullptr));
}

}  // namespace

// For jax.ffi.register_ffi_type.
extern "C" ffi::TypeId* LucidPlanTypeId() { return &Plan::id; }
extern "C" const ffi::TypeInfo* LucidPlanTypeInfo() { return &kPlanInfo; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(LucidLoadPlan, load_plan, ffi::Ffi::BindInstantiate().Attr<std::string_view>("path"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    LucidRunPlan, run_plan,
    ffi::Ffi::Bind().Ctx<ffi::State<Plan>>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Attr<std::string_view>(
        "path"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LucidConv2d, conv2d,
                              ffi::Ffi::Bind()
                                  .Arg<F4>()
                                  .Arg<F4>()
                                  .Arg<F1>()
                                  .Ret<F4>()
                                  .Attr<Pair>("stride")
                                  .Attr<Pair>("padding")
                                  .Attr<Pair>("dilation")
                                  .Attr<int64_t>("groups"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    LucidSplitAttention, split_attention,
    ffi::Ffi::Bind().Arg<F4>().Arg<F2>().Ret<F4>().Attr<int64_t>("radix").Attr<int64_t>("cardinality"));
