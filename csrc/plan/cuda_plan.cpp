#include "plan/cuda_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/status.h"

namespace lucid::plan {
namespace {

// Arenas that graphs keep. Runs beyond these take an arena from the allocator for as long as they need it.
constexpr int kMostReplays = 8;

constexpr int64_t kAligned = 256;  // what memory of a device is aligned to

int64_t aligned(int64_t bytes) { return (bytes + kAligned - 1) / kAligned * kAligned; }

lucid_status enqueue(const Entry& entry, Call call) {
  call.constants = &entry.launch->constants;
  return cuda::report(entry.launch->algorithm.c_str(), entry.launch->enqueue(call));
}

struct Range {
  size_t begin, end;
};

// The entries between those that import and those that export.
Range steps_of(const lucid_plan& plan) {
  const auto imports = std::count_if(plan.entries.begin(), plan.entries.end(),
                                     [](const Entry& entry) { return entry.transfers && entry.output >= 0; });
  const auto exports = std::count_if(plan.entries.begin(), plan.entries.end(),
                                     [](const Entry& entry) { return entry.transfers && entry.output < 0; });
  return {static_cast<size_t>(imports), plan.entries.size() - static_cast<size_t>(exports)};
}

lucid_status enqueue(const lucid_plan& plan, const Call& call, Range range) {
  for (size_t i = range.begin; i < range.end; ++i) LUCID_CHECK(enqueue(plan.entries[i], call));
  return ok();
}

lucid_status enqueue_replay(const lucid_plan& plan, const Call& call, void* graph) {
  const Range steps = steps_of(plan);
  LUCID_CHECK(enqueue(plan, call, {0, steps.begin}));
  LUCID_CHECK(cuda::report("plan", call.cuda.graph_launch(graph, call.stream)));
  return enqueue(plan, call, {steps.end, plan.entries.size()});
}

// A moment in a stream.
class Event {
 public:
  explicit Event(const cuda::Backend& cuda) : cuda_(cuda) {}
  Event(Event&& other) noexcept : cuda_(other.cuda_), event_(std::exchange(other.event_, nullptr)) {}
  ~Event() {
    if (event_ != nullptr) cuda_.event_destroy(event_);
  }
  lucid_status record(cuda::Stream stream) {
    LUCID_CHECK(cuda::report("plan", cuda_.event_create(&event_)));
    return cuda::report("plan", cuda_.event_record(event_, stream));
  }
  lucid_status milliseconds_until(const Event& end, double* milliseconds) const {
    float between = 0;
    LUCID_CHECK(cuda::report("plan", cuda_.event_milliseconds(event_, end.event_, &between)));
    *milliseconds += between;
    return ok();
  }

 private:
  const cuda::Backend& cuda_;
  void* event_ = nullptr;
};

// Launch by launch: what the processor needs to enqueue a kernel that is done sooner counts as its time.
lucid_status measure(const lucid_plan& plan, const Call& call, double* milliseconds) {
  std::vector<Event> events;
  events.emplace_back(call.cuda);
  LUCID_CHECK(events.back().record(call.stream));
  for (const Entry& entry : plan.entries) {
    LUCID_CHECK(enqueue(entry, call));
    events.emplace_back(call.cuda);
    LUCID_CHECK(events.back().record(call.stream));
  }
  if (plan.described_steps == 0) return ok();
  for (size_t i = 0; i < plan.entries.size(); ++i)
    LUCID_CHECK(events[i].milliseconds_until(events[i + 1], &milliseconds[plan.entries[i].described]));
  return ok();
}

// A stream of its own, since the default one cannot be captured, and the caller's is not to know of it.
class PrivateStream {
 public:
  explicit PrivateStream(const cuda::Backend& cuda) : cuda_(cuda) {
    if (cuda.stream_create(&stream_) != 0) stream_ = nullptr;
  }
  PrivateStream(const PrivateStream&) = delete;
  PrivateStream& operator=(const PrivateStream&) = delete;
  ~PrivateStream() {
    if (stream_ != nullptr) cuda_.stream_destroy(stream_);
  }
  cuda::Stream get() const { return stream_; }

 private:
  const cuda::Backend& cuda_;
  cuda::Stream stream_ = nullptr;
};

}  // namespace

CudaPlan::Replay::~Replay() {
  if (graph != nullptr) cuda.graph_destroy(graph);
}

lucid_status CudaPlan::create(const lucid_plan_args& args, std::unique_ptr<CudaPlan>* made) {
  const lucid_dtype dtype = args.dtype;
  LUCID_CHECK(cuda::check_device("plan", nullptr, args.device.id));
  const auto is = [&](int code, int bits) { return dtype.code == code && dtype.bits == bits && dtype.lanes == 1; };
  if (!is(LUCID_FLOAT, 32) && !is(LUCID_FLOAT, 16) && !is(LUCID_BFLOAT, 16))
    return fail(LUCID_UNSUPPORTED, "plan: dtype must be float32, float16 or bfloat16, got another of %d bits",
                dtype.bits);
  *made = std::make_unique<CudaPlan>(*cuda::backend(), args.device.id, cuda::dtype_of(dtype), args.tf32 != 0);
  return ok();
}

// Kernels of any stream may still read the constants.
CudaPlan::~CudaPlan() {
  const cuda::DeviceGuard guard(device_);
  const std::lock_guard lock(cuda::device_wide());
  cuda_.synchronize();
}

// ---- Constants

cuda::Conv2dPack CudaPlan::pack(const Constant& constant) const {
  return {.shape = *constant.packed_for,
          .dtype = dtype_,
          .algorithm = nullptr,
          .tf32 = tf32_,
          .weight = nullptr,
          .packed = nullptr};
}

int64_t CudaPlan::bytes(const Constant& constant) const {
  if (constant.packed_for) return static_cast<int64_t>(cuda_.conv2d_packed_bytes(pack(constant)));
  const cuda::Dtype dtype = constant.is_vector ? cuda::Dtype::kFloat32 : dtype_;
  return static_cast<int64_t>(constant.values.size()) * cuda::size_of(dtype);
}

// From float32 to the plan's dtype, and from there to what the kernel wants, over two buffers behind each other.
lucid_status CudaPlan::upload(Constant& constant, std::byte* place, std::byte* staging) const {
  const auto count = static_cast<int64_t>(constant.values.size());
  const size_t float_bytes = constant.values.size() * sizeof(float);
  const bool converts = !constant.is_vector && dtype_ != cuda::Dtype::kFloat32;
  std::byte* to = converts || constant.packed_for ? staging : place;
  LUCID_CHECK(cuda::report("plan", cuda_.copy_to_device(to, constant.values.data(), float_bytes, nullptr)));
  if (converts) {
    std::byte* const from = to;
    to = constant.packed_for ? staging + aligned(static_cast<int64_t>(float_bytes)) : place;
    const Strided x{from, cuda::Dtype::kFloat32, {count, count, count, 1}}, y{to, dtype_, {count, count, count, 1}};
    LUCID_CHECK(cuda::report("plan", cuda_.convert(conversion({1, 1, 1, count}, x, y), nullptr)));
  }
  if (constant.packed_for) {
    cuda::Conv2dPack packing = pack(constant);
    packing.weight = to;
    packing.packed = place;
    LUCID_CHECK(cuda::report("plan", cuda_.conv2d_pack(packing, nullptr)));
  }
  constant.data = place;
  constant.values = {};
  return ok();
}

lucid_status CudaPlan::upload(lucid_plan& plan) {
  const cuda::DeviceGuard guard(device_);
  LUCID_CHECK(cuda::report("plan", guard.error()));
  int64_t staging_bytes = 0;
  for (const Entry& entry : plan.entries)
    for (const Constant& constant : entry.launch->constants) {
      if (constant.values.empty()) continue;
      constant_bytes_ += aligned(bytes(constant));
      staging_bytes = std::max(staging_bytes, aligned(static_cast<int64_t>(constant.values.size() * sizeof(float))));
    }
  cuda::Memory staging;
  LUCID_CHECK(constants_.allocate("plan", device_, static_cast<size_t>(constant_bytes_), nullptr));
  LUCID_CHECK(staging.allocate("plan", device_, 2 * static_cast<size_t>(staging_bytes), nullptr));
  auto* place = static_cast<std::byte*>(constants_.data());
  for (Entry& entry : plan.entries)
    for (Constant& constant : entry.launch->constants) {
      if (constant.values.empty()) continue;
      const int64_t size = aligned(bytes(constant));
      if (constant.packed_for) {
        const std::string names = cuda_.conv2d_algorithms(*constant.packed_for, dtype_, false);
        entry.launch->algorithm = names.substr(0, names.find(','));
      }
      LUCID_CHECK(upload(constant, place, static_cast<std::byte*>(staging.data())));
      place += size;
    }
  // Any stream may read them from now on.
  return cuda::report("plan", cuda_.stream_synchronize(nullptr));
}

// ---- Running

lucid_status CudaPlan::run(const lucid_plan& plan, const lucid_tensor* const* inputs, lucid_tensor* const* outputs,
                           double* milliseconds, cuda::Stream stream) const {
  if (plan.entries.empty()) return ok();
  const cuda::DeviceGuard guard(device_);
  LUCID_CHECK(cuda::report("plan", guard.error()));
  std::unique_ptr<Replay> replay = milliseconds == nullptr ? take_replay(plan, stream) : nullptr;
  cuda::Memory arena;
  if (replay == nullptr) LUCID_CHECK(arena.allocate("plan", device_, static_cast<size_t>(plan.arena_bytes), stream));
  const Call call{.cuda = cuda_,
                  .dtype = dtype_,
                  .tf32 = tf32_,
                  .stream = stream,
                  .arena = static_cast<std::byte*>(replay != nullptr ? replay->arena.data() : arena.data()),
                  .inputs = inputs,
                  .outputs = outputs,
                  .constants = nullptr};
  if (milliseconds != nullptr) return measure(plan, call, milliseconds);
  if (replay == nullptr) return enqueue(plan, call, {0, plan.entries.size()});
  const lucid_status status = enqueue_replay(plan, call, replay->graph);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(replay));
  return status;
}

std::unique_ptr<CudaPlan::Replay> CudaPlan::take_replay(const lucid_plan& plan, cuda::Stream stream) const {
  {
    const std::lock_guard lock(mutex_);
    const auto of_stream = [&](const std::unique_ptr<Replay>& replay) { return replay->stream == stream; };
    if (const auto found = std::find_if(idle_.begin(), idle_.end(), of_stream); found != idle_.end()) {
      std::unique_ptr<Replay> taken = std::move(*found);
      idle_.erase(found);
      return taken;
    }
    // Many a plan runs once, and to capture it takes the processor as long as to run it.
    const bool runs_first = !std::exchange(has_run_, true);
    if (runs_first || !captures_ || replays_ == kMostReplays) return nullptr;
    ++replays_;
  }
  auto made = std::make_unique<Replay>(cuda_, stream);
  const auto arena_bytes = static_cast<size_t>(plan.arena_bytes);
  const bool has_memory = made->arena.allocate("plan", device_, arena_bytes, stream) == LUCID_OK;
  if (has_memory && capture(plan, made.get())) return made;
  const std::lock_guard lock(mutex_);
  --replays_;
  captures_ = captures_ && !has_memory;  // a later run may find some
  return nullptr;
}

bool CudaPlan::capture(const lucid_plan& plan, Replay* replay) const {
  const PrivateStream capturing(cuda_);
  const Call call{.cuda = cuda_,
                  .dtype = dtype_,
                  .tf32 = tf32_,
                  .stream = capturing.get(),
                  .arena = static_cast<std::byte*>(replay->arena.data()),
                  .inputs = nullptr,
                  .outputs = nullptr,
                  .constants = nullptr};
  const std::lock_guard lock(cuda::device_wide());
  if (capturing.get() == nullptr || cuda_.capture_begin(capturing.get()) != 0) return false;
  const bool enqueued = enqueue(plan, call, steps_of(plan)) == LUCID_OK;
  const bool ended = cuda_.capture_end(capturing.get(), &replay->graph) == 0;
  return enqueued && ended;
}

}  // namespace lucid::plan
