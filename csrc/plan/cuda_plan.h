// A plan on a CUDA device: one launch after the other over an arena in its memory, from the second run on as a graph.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "cuda/memory.h"
#include "cuda/plugin.h"
#include "plan/plan.h"

namespace lucid::plan {

class CudaPlan {
 public:
  // LUCID_UNSUPPORTED, with the reason, where there is no such device.
  static lucid_status create(const lucid_plan_args& args, std::unique_ptr<CudaPlan>* made);
  CudaPlan(const cuda::Backend& cuda, int32_t device, cuda::Dtype dtype, bool tf32)
      : cuda_(cuda), device_(device), dtype_(dtype), tf32_(tf32) {}
  CudaPlan(const CudaPlan&) = delete;
  CudaPlan& operator=(const CudaPlan&) = delete;
  ~CudaPlan();

  // Brings the constants of all launches to the device, where they stay, packed, in the plan's dtype.
  lucid_status upload(lucid_plan& plan);

  // Enqueues a run. Only one that measures waits for its end.
  lucid_status run(const lucid_plan& plan, const lucid_tensor* const* inputs, lucid_tensor* const* outputs,
                   double* milliseconds, cuda::Stream stream) const;

  int32_t device() const { return device_; }
  int64_t constant_bytes() const { return constant_bytes_; }

 private:
  // The steps between the transfers as a graph, and the arena whose addresses stand in it.
  //
  // Transfers are left out, since they read and write the caller's memory, which is another at each call. A replay
  // belongs to a stream and is taken out of the pool while a thread enqueues its run; so two runs that share an arena
  // follow each other on one stream, and nobody has to wait for an event. As many threads as enqueue at the same
  // moment have replays of their own.
  struct Replay {
    Replay(const cuda::Backend& cuda, cuda::Stream stream) : cuda(cuda), stream(stream) {}
    Replay(const Replay&) = delete;
    Replay& operator=(const Replay&) = delete;
    ~Replay();

    const cuda::Backend& cuda;
    const cuda::Stream stream;
    cuda::Memory arena;
    void* graph = nullptr;
  };

  std::unique_ptr<Replay> take_replay(const lucid_plan& plan, cuda::Stream stream) const;
  bool capture(const lucid_plan& plan, Replay* replay) const;

  lucid_status upload(Constant& constant, std::byte* place, std::byte* staging) const;
  int64_t bytes(const Constant& constant) const;
  cuda::Conv2dPack pack(const Constant& constant) const;

  const cuda::Backend& cuda_;
  const int32_t device_;
  const cuda::Dtype dtype_;
  const bool tf32_;
  cuda::Memory constants_;
  int64_t constant_bytes_ = 0;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Replay>> idle_;  // those that no thread has taken
  mutable int replays_ = 0;                            // all
  mutable bool has_run_ = false, captures_ = true;
};

}  // namespace lucid::plan
