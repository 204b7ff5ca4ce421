// Custom operators of ONNX Runtime (https://onnxruntime.ai/docs/reference/operators/add-custom-op.html), in the domain
// "lucid": GroupedConv2d, with the inputs and attributes of ONNX's Conv; SplitAttention; and Plan, a saved plan of one
// input and one output. lucid reads the runtime's tensors where they are, and writes into those that it allocates.
#include <lucid.h>

#include <algorithm>
#include <string>
#include <vector>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

namespace {

// A dense tensor of ONNX Runtime's as one of lucid's.
class Borrowed {
 public:
  Borrowed(const void* data, std::vector<int64_t> shape) : shape_(std::move(shape)) {
    const auto rank = static_cast<int32_t>(shape_.size());
    tensor_ = {const_cast<void*>(data), {LUCID_CPU, 0}, rank, {LUCID_FLOAT, 32, 1}, shape_.data(), nullptr, 0};
  }
  explicit Borrowed(const Ort::ConstValue& value)
      : Borrowed(value.GetTensorRawData(), value.GetTensorTypeAndShapeInfo().GetShape()) {}
  Borrowed(const Borrowed&) = delete;
  lucid_tensor* get() { return &tensor_; }

 private:
  std::vector<int64_t> shape_;
  lucid_tensor tensor_;
};

void check(lucid_status status) {
  if (status == LUCID_OK) return;
  throw Ort::Exception(lucid_last_error(), status == LUCID_INVALID_ARGUMENT ? ORT_INVALID_ARGUMENT : ORT_FAIL);
}

// Runs an operator whose arguments but for y are filled in, into a new output.
template <class Args>
void run(Args& args, lucid_status (*shape_of)(const Args*, lucid_shape*), lucid_status (*operation)(const Args*),
         const Ort::KernelContext& context) {
  lucid_shape shape;
  check(shape_of(&args, &shape));
  std::vector<int64_t> sizes(shape.sizes, shape.sizes + shape.ndim);
  Ort::UnownedValue value = context.GetOutput(0, sizes);
  Borrowed y(value.GetTensorMutableRawData(), std::move(sizes));
  args.y = y.get();
  check(operation(&args));
}

// Whether an attribute was left out. The API tells that from one of another type by its message only.
bool is_missing(const Ort::Exception& error) { return std::string(error.what()).rfind("No attribute", 0) == 0; }

int64_t integer(const Ort::ConstKernelInfo& info, const char* name, int64_t usual) {
  try {
    return info.GetAttribute<int64_t>(name);
  } catch (const Ort::Exception& error) {
    if (is_missing(error)) return usual;
    throw Ort::Exception(std::string(name) + " must be an integer: " + error.what(), ORT_INVALID_GRAPH);
  }
}

std::vector<int64_t> integers(const Ort::ConstKernelInfo& info, const char* name, std::vector<int64_t> usual) {
  std::vector<int64_t> found;
  try {
    found = info.GetAttributes<int64_t>(name);
  } catch (const Ort::Exception& error) {
    if (is_missing(error)) return usual;
    throw Ort::Exception(std::string(name) + " must be integers: " + error.what(), ORT_INVALID_GRAPH);
  }
  if (found.size() == usual.size()) return found;
  throw Ort::Exception(
      std::string(name) + " must be " + std::to_string(usual.size()) + " integers, got " + std::to_string(found.size()),
      ORT_INVALID_GRAPH);
}

// What ComputeV2 returns for what `compute` throws.
template <class Compute>
OrtStatusPtr guarded(Compute compute) {
  try {
    compute();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::Status(error.what(), error.GetOrtErrorCode()).release();
  } catch (const std::exception& error) {
    return Ort::Status(error.what(), ORT_FAIL).release();
  }
}

class GroupedConv2dKernel {
 public:
  explicit GroupedConv2dKernel(const Ort::ConstKernelInfo& info) {
    const auto strides = integers(info, "strides", {1, 1}), dilations = integers(info, "dilations", {1, 1});
    const auto pads = integers(info, "pads", {0, 0, 0, 0});  // top, left, bottom, right
    args_.size = sizeof args_;
    for (int i = 0; i < 2; ++i) {
      args_.stride[i] = strides[i];
      args_.dilation[i] = dilations[i];
      args_.padding[i] = pads[i];
      args_.extra_padding[i] = pads[i + 2] - pads[i];
    }
    args_.groups = integer(info, "group", 1);
  }

  OrtStatusPtr ComputeV2(OrtKernelContext* given) const {
    return guarded([&] {
      const Ort::KernelContext context(given);
      Borrowed x(context.GetInput(0)), weight(context.GetInput(1));
      lucid_conv2d_args args = args_;
      args.x = x.get();
      args.weight = weight.get();
      const bool has_bias = context.GetInputCount() > 2 && static_cast<const OrtValue*>(context.GetInput(2)) != nullptr;
      if (!has_bias) return run(args, lucid_conv2d_output_shape, lucid_conv2d, context);
      Borrowed bias(context.GetInput(2));
      args.bias = bias.get();
      run(args, lucid_conv2d_output_shape, lucid_conv2d, context);
    });
  }

 private:
  lucid_conv2d_args args_{};
};

class SplitAttentionKernel {
 public:
  explicit SplitAttentionKernel(const Ort::ConstKernelInfo& info)
      : radix_(integer(info, "radix", 2)), cardinality_(integer(info, "cardinality", 1)) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* given) const {
    return guarded([&] {
      const Ort::KernelContext context(given);
      Borrowed x(context.GetInput(0)), logits(context.GetInput(1));
      lucid_split_attention_args args{};
      args.size = sizeof args;
      args.x = x.get();
      args.logits = logits.get();
      args.radix = radix_;
      args.cardinality = cardinality_;
      run(args, lucid_split_attention_output_shape, lucid_split_attention, context);
    });
  }

 private:
  int64_t radix_, cardinality_;
};

class PlanKernel {
 public:
  explicit PlanKernel(const Ort::ConstKernelInfo& info) {
    check(lucid_plan_load(info.GetAttribute<std::string>("path").c_str(), nullptr, &plan_));
    if (lucid_plan_input_count(plan_) == 1 && lucid_plan_output_count(plan_) == 1) return;
    lucid_plan_destroy(plan_);
    throw Ort::Exception("the plan must have one input and one output", ORT_INVALID_GRAPH);
  }
  PlanKernel(const PlanKernel&) = delete;
  ~PlanKernel() { lucid_plan_destroy(plan_); }

  OrtStatusPtr ComputeV2(OrtKernelContext* given) const {
    return guarded([&] {
      const Ort::KernelContext context(given);
      Borrowed x(context.GetInput(0));
      lucid_shape shape;
      check(lucid_plan_output(plan_, 0, nullptr, &shape));
      std::vector<int64_t> sizes(shape.sizes, shape.sizes + shape.ndim);
      Ort::UnownedValue value = context.GetOutput(0, sizes);
      Borrowed y(value.GetTensorMutableRawData(), std::move(sizes));
      const lucid_tensor* inputs[] = {x.get()};
      lucid_tensor* outputs[] = {y.get()};
      check(lucid_plan_run(plan_, inputs, outputs, nullptr));
    });
  }

 private:
  lucid_plan* plan_ = nullptr;
};

// An operator of float32 tensors, the last kOptional of whose inputs may be missing.
template <class Op, class Kernel, int kInputs, int kOptional>
struct FloatOp : Ort::CustomOpBase<Op, Kernel, true> {
  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
    return guarded([&] { *kernel = new Kernel(Ort::ConstKernelInfo(info)); });
  }
  size_t GetInputTypeCount() const { return kInputs; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t index) const {
    return index < kInputs - kOptional ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
};

struct GroupedConv2d : FloatOp<GroupedConv2d, GroupedConv2dKernel, 3, 1> {
  const char* GetName() const { return "GroupedConv2d"; }
};

struct SplitAttention : FloatOp<SplitAttention, SplitAttentionKernel, 2, 0> {
  const char* GetName() const { return "SplitAttention"; }
};

struct Plan : FloatOp<Plan, PlanKernel, 1, 0> {
  const char* GetName() const { return "Plan"; }
};

}  // namespace

// What SessionOptions.register_custom_ops_library calls.
extern "C" OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  Ort::InitApi(base->GetApi(ORT_API_VERSION));
  return guarded([&] {
    static const GroupedConv2d grouped_conv2d;
    static const SplitAttention split_attention;
    static const Plan plan;
    static Ort::CustomOpDomain domain = [] {
      Ort::CustomOpDomain made("lucid");
      made.Add(&grouped_conv2d);
      made.Add(&split_attention);
      made.Add(&plan);
      return made;
    }();
    Ort::UnownedSessionOptions(options).Add(domain);
  });
}
