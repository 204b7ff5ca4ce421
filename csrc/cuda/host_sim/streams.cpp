#include "cuda/host_sim/streams.h"

#include <algorithm>
#include <map>

#include "cuda/host_sim/machine.h"

namespace host_sim {
namespace {

constexpr size_t kLongestQueue = 1024;  // then the oldest work is done, so that memory does not grow without end

std::map<int, Stream>& default_streams() {
  static std::map<int, Stream> streams;
  return streams;
}

std::vector<Stream*>& other_streams() {
  static std::vector<Stream*> streams;
  return streams;
}

// Of the error after which nothing works.
std::string& fault_text() {
  static std::string text;
  return text;
}

thread_local cudaError_t last = cudaSuccess;
thread_local std::string text_of_last;

void run_one(Stream* stream) {
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  work();
}

// Between the default stream and those that block, what was enqueued first runs first.
void order_with_default(Stream* stream, bool is_default) {
  if (is_default) {
    for (Stream* other : other_streams())
      if (other->blocking && other->device == stream->device) run_all(other);
  } else if (stream->blocking) {
    run_all(&default_streams()[stream->device]);
  }
}

bool is_captured_on(int device) {
  return std::any_of(other_streams().begin(), other_streams().end(), [&](const Stream* stream) {
    return stream->capture != nullptr && stream->blocking && stream->device == device;
  });
}

}  // namespace

std::recursive_mutex& mutex() {
  static std::recursive_mutex one;
  return one;
}

int& current_device() {
  thread_local int device = 0;
  return device;
}

Stream* stream_of(Stream* handle) {
  if (handle != nullptr) return handle;
  Stream& stream = default_streams()[current_device()];
  stream.device = current_device();
  return &stream;
}

Stream* create_stream(bool blocking) {
  auto* stream = new Stream{current_device(), blocking, {}, nullptr};
  other_streams().push_back(stream);
  return stream;
}

// What it has been given is done later, as on a device: whoever does not wait for it before sees old values.
void destroy_stream(Stream* stream) {
  if (!stream->queue.empty()) return;
  std::erase(other_streams(), stream);
  delete stream;
}

cudaError_t failed(cudaError_t error, const std::string& text) {
  if (error == cudaSuccess) return error;
  last = error;
  text_of_last = text;
  return error;
}

cudaError_t& last_error() { return last; }
const std::string& last_text() { return fault_text().empty() ? text_of_last : fault_text(); }

cudaError_t device_error() { return fault_text().empty() ? cudaSuccess : cudaErrorLaunchFailure; }

cudaError_t guarded(const std::function<cudaError_t()>& call) {
  const std::lock_guard lock(mutex());
  if (const cudaError_t error = device_error()) return failed(error);
  try {
    return call();
  } catch (const Fault& fault) {
    fault_text() = fault.what();
    return failed(cudaErrorLaunchFailure, fault.what());
  }
}

cudaError_t submit(Stream* handle, Work work) {
  return guarded([&] {
    Stream* stream = stream_of(handle);
    if (stream->capture != nullptr) {
      if (stream->capture->broken) return failed(cudaErrorStreamCaptureInvalidated);
      stream->capture->work.push_back(std::move(work));
      return cudaSuccess;
    }
    if (handle == nullptr && is_captured_on(stream->device)) {
      for (Stream* other : other_streams())
        if (other->capture != nullptr && other->blocking) other->capture->broken = true;
      return failed(cudaErrorStreamCaptureImplicit, "the default stream would wait for one that is captured");
    }
    order_with_default(stream, handle == nullptr);
    stream->queue.push_back(std::move(work));
    while (stream->queue.size() > kLongestQueue) run_one(stream);
    return cudaSuccess;
  });
}

void run_all(Stream* stream) {
  while (!stream->queue.empty()) run_one(stream);
}

void run_before(Stream* handle) {
  Stream* stream = stream_of(handle);
  order_with_default(stream, handle == nullptr);
  run_all(stream);
}

void run_everything(int device) {
  for (auto& [index, stream] : default_streams())
    if (index == device) run_all(&stream);
  // By number: a stream's work may make others run, but makes no new ones.
  for (size_t i = 0; i < other_streams().size(); ++i)
    if (other_streams()[i]->device == device) run_all(other_streams()[i]);
}

void run_to(const std::shared_ptr<Mark>& mark, Stream* stream) {
  while (mark != nullptr && !mark->reached && !stream->queue.empty()) run_one(stream);
}

cudaError_t refuse_while_capturing(bool whole_device) {
  bool refused = false;
  for (Stream* stream : other_streams()) {
    if (stream->capture == nullptr) continue;
    const bool own = stream->capture->thread == std::this_thread::get_id();
    if (!own && !(whole_device && stream->device == current_device())) continue;
    stream->capture->broken = refused = true;
  }
  return refused ? failed(cudaErrorStreamCaptureUnsupported, "not while a stream is captured") : cudaSuccess;
}

}  // namespace host_sim
