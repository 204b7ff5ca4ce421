// Streams, events and graphs. Work that is enqueued runs when something waits for it, and no sooner, so that a program
// that forgets to wait sees old values.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda/host_sim/runtime_types.h"

namespace host_sim {

using Work = std::function<void()>;

// What a capture has seen so far.
struct Capture {
  std::vector<Work> work;
  std::thread::id thread;
  bool broken = false;
};

struct Stream {
  int device = 0;
  bool blocking = true;  // whether it and the default stream wait for each other
  std::deque<Work> queue;
  std::unique_ptr<Capture> capture;
};

// A place in a stream, and when it was reached.
struct Mark {
  bool reached = false;
  std::chrono::steady_clock::time_point when;
};
struct Event {
  std::shared_ptr<Mark> mark;
  Stream* stream = nullptr;
};

struct Graph {
  std::vector<Work> work;
};

// One for everything: calls may come from several threads of the host.
std::recursive_mutex& mutex();

// The current device of the calling thread.
int& current_device();
// The stream behind a handle; null is the default stream of the current device.
Stream* stream_of(Stream* handle);
Stream* create_stream(bool blocking);
void destroy_stream(Stream* stream);

// The error of a call that failed, with its text for cudaGetErrorString of this thread.
cudaError_t failed(cudaError_t error, const std::string& text = "");
cudaError_t& last_error();
const std::string& last_text();

// An error if the device can do nothing any more.
cudaError_t device_error();
// Does what it is given, under the mutex. A fault in it ends the device.
cudaError_t guarded(const std::function<cudaError_t()>& call);

// Enqueues work, or adds it to a capture.
cudaError_t submit(Stream* handle, Work work);
void run_all(Stream* stream);
// All that must be done before the stream's handle is: the default stream waits for those that block.
void run_before(Stream* handle);
void run_everything(int device);
// Of another stream, up to a mark.
void run_to(const std::shared_ptr<Mark>& mark, Stream* stream);

// An error if the calling thread captures, or if the whole device is meant and anybody does. Breaks the capture.
cudaError_t refuse_while_capturing(bool whole_device);

}  // namespace host_sim
