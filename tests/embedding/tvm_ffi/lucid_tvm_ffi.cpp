// lucid's operators and plans as functions of Apache TVM FFI (https://tvm.apache.org/ffi). A tensor of either is a
// DLTensor, so nothing is converted or copied; the caller allocates y, as is the custom there.
#include <lucid.h>
#include <tvm/ffi/tvm_ffi.h>

#include <memory>

namespace {

using tvm::ffi::Function;
using tvm::ffi::Optional;
using tvm::ffi::Shape;
using tvm::ffi::String;
using tvm::ffi::TensorView;

static_assert(sizeof(lucid_tensor) == sizeof(DLTensor));

// A tensor as lucid takes it: the same struct, with the strides that TVM FFI keeps.
class Borrowed {
 public:
  explicit Borrowed(const TensorView& view)
      : tensor_{view.data_ptr(),     {static_cast<int32_t>(view.device().device_type), view.device().device_id},
                view.ndim(),         {view.dtype().code, view.dtype().bits, view.dtype().lanes},
                view.shape().data(), view.strides().data(),
                view.byte_offset()} {}
  lucid_tensor* get() { return &tensor_; }

 private:
  lucid_tensor tensor_;
};

void check(lucid_status status) {
  if (status == LUCID_OK) return;
  if (status == LUCID_INVALID_ARGUMENT) TVM_FFI_THROW(ValueError) << lucid_last_error();
  if (status == LUCID_OUT_OF_MEMORY) TVM_FFI_THROW(MemoryError) << lucid_last_error();
  TVM_FFI_THROW(RuntimeError) << lucid_last_error();
}

void pair(const char* name, const Shape& given, int64_t (&to)[2]) {
  if (given.size() != 2)
    TVM_FFI_THROW(ValueError) << "conv2d: " << name << " must have 2 numbers, got " << given.size();
  to[0] = given[0];
  to[1] = given[1];
}

void conv2d(TensorView x, TensorView weight, Optional<TensorView> bias, TensorView y, Shape stride, Shape padding,
            Shape dilation, int64_t groups) {
  Borrowed input(x), filters(weight), output(y);
  lucid_conv2d_args args{};
  args.size = sizeof args;
  args.x = input.get();
  args.weight = filters.get();
  args.y = output.get();
  pair("stride", stride, args.stride);
  pair("padding", padding, args.padding);
  pair("dilation", dilation, args.dilation);
  args.groups = groups;
  if (!bias.has_value()) return check(lucid_conv2d(&args));
  Borrowed addend(*bias);
  args.bias = addend.get();
  check(lucid_conv2d(&args));
}

void batch_norm(TensorView x, TensorView weight, TensorView bias, TensorView mean, TensorView var, TensorView y,
                double eps, bool relu) {
  Borrowed input(x), scale(weight), shift(bias), center(mean), spread(var), output(y);
  lucid_batch_norm_args args{};
  args.size = sizeof args;
  args.x = input.get();
  args.y = output.get();
  args.weight = scale.get();
  args.bias = shift.get();
  args.mean = center.get();
  args.var = spread.get();
  args.eps = eps;
  args.relu = relu;
  check(lucid_batch_norm(&args));
}

void split_attention(TensorView x, TensorView logits, TensorView y, int64_t radix, int64_t cardinality) {
  Borrowed input(x), scores(logits), output(y);
  lucid_split_attention_args args{};
  args.size = sizeof args;
  args.x = input.get();
  args.logits = scores.get();
  args.y = output.get();
  args.radix = radix;
  args.cardinality = cardinality;
  check(lucid_split_attention(&args));
}

// A function run(x, y), which holds a saved plan of one input and one output.
Function load_plan(String path) {
  lucid_plan* loaded = nullptr;
  check(lucid_plan_load(path.c_str(), nullptr, &loaded));
  std::shared_ptr<lucid_plan> plan(loaded, lucid_plan_destroy);
  if (lucid_plan_input_count(loaded) != 1 || lucid_plan_output_count(loaded) != 1)
    TVM_FFI_THROW(ValueError) << "load_plan: the plan must have one input and one output";
  return Function::FromTyped([plan](TensorView x, TensorView y) {
    Borrowed input(x), output(y);
    const lucid_tensor* inputs[] = {input.get()};
    lucid_tensor* outputs[] = {output.get()};
    check(lucid_plan_run(plan.get(), inputs, outputs, nullptr));
  });
}

}  // namespace

TVM_FFI_DLL_EXPORT_TYPED_FUNC(conv2d, conv2d)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(batch_norm, batch_norm)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(split_attention, split_attention)
TVM_FFI_DLL_EXPORT_TYPED_FUNC(load_plan, load_plan)
