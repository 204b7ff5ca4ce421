// Captures of streams, and the graphs that they become: work, in the order in which it was enqueued.
#include "cuda/host_sim/runtime_api.h"
#include "cuda/host_sim/streams.h"

using namespace host_sim;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return guarded([&] {
    if (stream == nullptr) return failed(cudaErrorStreamCaptureUnsupported, "the default stream cannot be captured");
    if (stream->capture != nullptr) return failed(cudaErrorInvalidValue, "the stream is captured already");
    if (mode != cudaStreamCaptureModeThreadLocal)
      return failed(cudaErrorInvalidValue, "the simulator knows captures of one thread only");
    stream->capture = std::make_unique<Capture>();
    stream->capture->thread = std::this_thread::get_id();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  return guarded([&] {
    if (stream == nullptr || stream->capture == nullptr)
      return failed(cudaErrorInvalidValue, "the stream is not captured");
    const std::unique_ptr<Capture> capture = std::move(stream->capture);
    if (capture->broken) return failed(cudaErrorStreamCaptureInvalidated, "the capture has failed before");
    *graph = new Graph{std::move(capture->work)};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return submit(stream, [work = executable->work] {
    for (const Work& each : work) each();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
