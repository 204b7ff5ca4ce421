#include "cuda/host_sim/launch.h"

#include <cstdio>
#include <map>
#include <numeric>
#include <string>

#include "cuda/host_sim/machine.h"
#include "cuda/host_sim/memory.h"
#include "cuda/host_sim/record.h"
#include "cuda/host_sim/sanitizers.h"
#include "cuda/host_sim/settings.h"
#include "cuda/host_sim/streams.h"

namespace host_sim {
namespace {

std::map<const void*, size_t>& dynamic_limits() {
  static std::map<const void*, size_t> limits;
  return limits;
}

bool fits_device(const Launch& how) {
  const size_t threads = size_t{how.block.x} * how.block.y * how.block.z;
  const auto limit = dynamic_limits().find(how.kernel);
  const size_t shared = limit != dynamic_limits().end() ? limit->second : settings().shared_default;
  return threads >= 1 && threads <= 1024 && how.block.z <= 64 && how.grid.x >= 1 && how.grid.x <= 0x7fffffffu &&
         how.grid.y >= 1 && how.grid.y <= 65535 && how.grid.z >= 1 && how.grid.z <= 65535 && how.shared <= shared;
}

void check_pointers(const std::vector<const void*>& pointers, int device) {
  for (size_t i = 0; i < pointers.size(); ++i) {
    if (pointers[i] == nullptr) continue;
    if (!device_memory().owns(pointers[i]))
      throw Fault("pointer " + std::to_string(i) + " of a kernel is one of the host");
    const int owner = device_memory().device_of(pointers[i]);
    if (owner < 0) throw Fault("pointer " + std::to_string(i) + " of a kernel lies in no allocation");
    if (owner != device)
      throw Fault("pointer " + std::to_string(i) + " of a kernel on device " + std::to_string(device) +
                  " is one of device " + std::to_string(owner));
  }
}

// The blocks in an order of their own: a walk by a step that has no divisor in common with their number.
class BlockOrder {
 public:
  BlockOrder(uint64_t count, Random& random) : count_(count) {
    if (settings().seed <= 1 || count < 2) return;
    begin_ = random.next() % count;
    do step_ = (random.next() % count) | 1;
    while (std::gcd(step_, count) != 1);
  }
  uint64_t at(uint64_t i) const { return settings().seed == 1 ? count_ - 1 - i : (begin_ + i * step_) % count_; }

 private:
  uint64_t count_, begin_ = 0, step_ = 1;
};

void run_grid(const Launch& how, const std::function<void()>& body) {
  const Hidden hidden;
  Machine& m = machine;
  m.block_size = how.block;
  m.grid_size = how.grid;
  m.dynamic_bytes = how.shared;
  m.thread_count = how.block.x * how.block.y * how.block.z;
  m.fault.clear();
  m.kernel = &body;
  prepare_block(m.thread_count);
  adopt_thread(m.host);
  if (++m.launches == settings().fault) throw Fault("an illegal address, as LUCID_SIM_FAULT asks for");
  Random random{settings().seed * 0x9e3779b97f4a7c15u + m.launches};
  const uint64_t blocks = uint64_t{how.grid.x} * how.grid.y * how.grid.z;
  const BlockOrder order(blocks, random);
  for (uint64_t i = 0; i < blocks && m.fault.empty(); ++i) {
    const uint64_t block = order.at(i);
    m.block_index = {static_cast<unsigned>(block % how.grid.x), static_cast<unsigned>(block / how.grid.x % how.grid.y),
                     static_cast<unsigned>(block / how.grid.x / how.grid.y)};
    run_block(random);
  }
  m.kernel = nullptr;
  if (m.fault.empty()) return;
  char place[300];
  std::snprintf(place, sizeof place, " (block (%u,%u,%u) of the kernel launched in %s:%d)", m.block_index.x,
                m.block_index.y, m.block_index.z, how.file, how.line);
  throw Fault(m.fault + place);
}

}  // namespace

cudaError_t launch(const Launch& how, Arguments arguments, std::function<void()> body) {
  {
    const std::lock_guard lock(mutex());
    if (!fits_device(how)) return failed(cudaErrorInvalidConfiguration, "the launch does not fit the device");
  }
  const int device = stream_of(how.stream)->device;
  return submit(how.stream, [how, device, arguments = std::move(arguments), body = std::move(body)] {
    check_pointers(arguments.pointers, device);
    const DeviceAccess access;
    if (write_instead(how, arguments.bytes)) return;
    const Record record(how, arguments.bytes);
    run_grid(how, body);
    record.finish();
  });
}

cudaError_t allow_dynamic_shared_memory(const void* kernel, size_t bytes) {
  const std::lock_guard lock(mutex());
  if (bytes > settings().shared_most) return failed(cudaErrorInvalidValue, "more shared memory than the device has");
  dynamic_limits()[kernel] = bytes;
  return cudaSuccess;
}

}  // namespace host_sim
