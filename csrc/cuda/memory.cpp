// Cached blocks wait by device and stream, ordered by size. Blocks are not cut: a network asks for the same sizes at
// each run.
#include "cuda/memory.h"

#include <pthread.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/status.h"

namespace lucid::cuda {
namespace {

struct Block {
  int32_t device;
  Stream stream;
  size_t bytes;
  std::vector<Stream> also_used;  // other streams
};

struct Cache {
  std::mutex mutex;
  std::unordered_map<void*, Block> used;
  std::map<std::pair<int32_t, Stream>, std::multimap<size_t, void*>> free;
  std::map<int32_t, std::pair<int64_t, int64_t>> bytes;  // of a device: in use, cached
};

// Never destroyed: at the end of the process the driver may be gone before.
Cache& cache = *new Cache;

// A fork while another thread holds the mutex would leave it locked in the child for ever.
const int fork_handler =
    pthread_atfork([] { cache.mutex.lock(); }, [] { cache.mutex.unlock(); }, [] { cache.mutex.unlock(); });

// CUDA gives out 512 bytes at least, and 2 MiB once blocks are large.
size_t rounded(size_t bytes) {
  const size_t unit = bytes < (size_t{1} << 20) ? 512 : size_t{2} << 20;
  return std::max((bytes + unit - 1) / unit * unit, unit);
}

// A cached block that is at most a quarter too large.
void* take(int32_t device, Stream stream, size_t bytes) {
  const auto list = cache.free.find({device, stream});
  if (list == cache.free.end()) return nullptr;
  const auto found = list->second.lower_bound(bytes);
  if (found == list->second.end() || found->first > bytes + bytes / 4) return nullptr;
  void* memory = found->second;
  cache.used[memory] = {device, stream, found->first, {}};
  cache.bytes[device].first += static_cast<int64_t>(found->first);
  cache.bytes[device].second -= static_cast<int64_t>(found->first);
  list->second.erase(found);
  return memory;
}

// Gives cached blocks of the current device back, which needs no wait of ours: deallocate() waits for the device.
void give_back(int32_t device, std::multimap<size_t, void*>* list) {
  const std::lock_guard<std::mutex> lock(device_wide());
  for (const auto& [bytes, memory] : *list) {
    backend()->deallocate(memory);
    cache.bytes[device].second -= static_cast<int64_t>(bytes);
  }
  list->clear();
}

void give_back_all(int32_t device) {
  for (auto& [key, list] : cache.free)
    if (key.first == device) give_back(device, &list);
}

// On the current device.
lucid_status allocate_new(const char* op, int32_t device, size_t bytes, Stream stream, void** memory) {
  Error error = backend()->allocate(bytes, memory);
  if (error != 0 && backend()->is_out_of_memory(error)) {
    LUCID_CHECK(report(op, synchronize()));
    give_back_all(device);
    error = backend()->allocate(bytes, memory);
  }
  if (error != 0 && backend()->is_out_of_memory(error)) {
    size_t left = 0, total = 0;
    backend()->memory_info(&left, &total);
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for %zu bytes on cuda:%d: %zu of %zu are free", op, bytes, device,
                left, total);
  }
  LUCID_CHECK(report(op, error));
  cache.used[*memory] = {device, stream, bytes, {}};
  cache.bytes[device].first += static_cast<int64_t>(bytes);
  return ok();
}

}  // namespace

lucid_status allocate(const char* op, int32_t device, size_t bytes, Stream stream, void** memory) {
  *memory = nullptr;
  // More than any device has, and safe to round up.
  if (bytes > (size_t{1} << 47))
    return fail(LUCID_OUT_OF_MEMORY, "%s: no memory for %zu bytes on cuda:%d", op, bytes, device);
  bytes = rounded(bytes);
  const std::lock_guard<std::mutex> lock(cache.mutex);
  *memory = take(device, stream, bytes);
  if (*memory != nullptr) return ok();
  const DeviceGuard guard(device);
  LUCID_CHECK(report(op, guard.error()));
  return allocate_new(op, device, bytes, stream, memory);
}

void deallocate(void* memory) {
  if (memory == nullptr) return;
  const std::lock_guard<std::mutex> lock(cache.mutex);
  const auto found = cache.used.find(memory);
  if (found == cache.used.end()) return;
  const Block block = std::move(found->second);
  cache.used.erase(found);
  if (!block.also_used.empty()) {
    const DeviceGuard guard(block.device);
    for (const Stream other : block.also_used) backend()->stream_wait(block.stream, other);
  }
  cache.free[{block.device, block.stream}].emplace(block.bytes, memory);
  cache.bytes[block.device].first -= static_cast<int64_t>(block.bytes);
  cache.bytes[block.device].second += static_cast<int64_t>(block.bytes);
}

void note_use(void* memory, Stream stream) {
  const std::lock_guard<std::mutex> lock(cache.mutex);
  const auto found = cache.used.find(memory);
  if (found == cache.used.end() || found->second.stream == stream) return;
  std::vector<Stream>& also_used = found->second.also_used;
  if (std::find(also_used.begin(), also_used.end(), stream) == also_used.end()) also_used.push_back(stream);
}

void forget_stream(Stream stream) {
  const std::lock_guard<std::mutex> lock(cache.mutex);
  for (auto& [memory, block] : cache.used) {
    if (block.stream == stream) block.stream = nullptr;
    std::erase(block.also_used, stream);
  }
  for (auto& [key, list] : cache.free) {
    if (key.second != stream) continue;
    const DeviceGuard guard(key.first);
    give_back(key.first, &list);
  }
}

void memory_counters(int32_t device, int64_t* allocated, int64_t* reserved) {
  const std::lock_guard<std::mutex> lock(cache.mutex);
  const auto [used, cached] = cache.bytes[device];
  *allocated = used;
  *reserved = used + cached;
}

void release_memory() {
  const std::lock_guard<std::mutex> lock(cache.mutex);
  for (auto& [key, list] : cache.free) {
    if (list.empty()) continue;
    const DeviceGuard guard(key.first);
    give_back(key.first, &list);
  }
}

}  // namespace lucid::cuda
