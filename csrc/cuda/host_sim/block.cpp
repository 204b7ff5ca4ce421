// A block from its first thread to its last: which thread runs next, when a barrier opens, and shared memory.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "cuda/host_sim/machine.h"
#include "cuda/host_sim/sanitizers.h"
#include "cuda/host_sim/settings.h"

namespace host_sim {
namespace {

constexpr size_t kSharedBytes = 512 * 1024;
constexpr size_t kGap = 128;  // behind a variable, for the sanitizer
constexpr uint64_t kBackwards = 1;

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// All ones, which is NaN in every dtype, where nobody has written.
HOST_SIM_UNSEEN void clear_shared_memory() {
  Machine& m = machine;
  if (m.shared == nullptr) {
    void* memory =
        mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw Fault("no memory for the shared memory of a block");
    m.shared = static_cast<unsigned char*>(memory);
    m.static_bytes_before = kSharedBytes;
  }
  m.static_end = round_up(m.dynamic_bytes, 256) + 256;
  allow(m.shared, kSharedBytes);
  std::memset(m.shared, 0xff, std::min(kSharedBytes, m.static_end + std::max<size_t>(m.static_bytes_before, 4096)));
  forbid(m.shared, kSharedBytes);
  allow(m.shared, m.dynamic_bytes);
  m.static_bytes = 0;
  m.variables.clear();
}

void start_threads() {
  const dim3 size = machine.block_size;
  for (unsigned i = 0; i < machine.thread_count; ++i) {
    Thread& thread = *machine.threads[i];
    thread.state = State::kReady;
    thread.meeting = Meeting::kNone;
    thread.lane = i % kWarp;
    thread.warp = i / kWarp;
    thread.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    thread.open_copies.clear();
    thread.committed_copies.clear();
    // Threads of a block begin with the same token, whatever block they were in before.
    thread.barriers = thread.whole_meetings = thread.partial_meetings = 0;
  }
}

std::vector<unsigned> first_order(unsigned count) {
  std::vector<unsigned> order(count);
  for (unsigned i = 0; i < count; ++i) order[i] = settings().seed == kBackwards ? count - 1 - i : i;
  return order;
}

void shuffle(std::vector<unsigned>& order, Random& random) {
  if (settings().seed <= kBackwards) return;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next() % i]);
}

// Runs the lanes of a warp that can go on; how many ended, or none if none could run.
struct Progress {
  bool ran = false;
  unsigned ended = 0;
};
HOST_SIM_UNSEEN Progress run_lanes(unsigned warp, const std::vector<unsigned>& lanes) {
  Progress progress;
  for (const unsigned lane : lanes) {
    const unsigned i = warp * kWarp + lane;
    if (i >= machine.thread_count || machine.threads[i]->state != State::kReady) continue;
    switch_to_thread(*machine.threads[i]);
    progress.ran = true;
    progress.ended += machine.threads[i]->state == State::kDone;
    if (!machine.fault.empty()) break;
  }
  return progress;
}

// Nobody can go on: all wait at one barrier, which opens, or something is wrong.
void open_barrier() {
  const Thread* first = nullptr;
  const auto begin = machine.threads.begin(), end = begin + machine.thread_count;
  for (auto thread = begin; thread != end && first == nullptr; ++thread)
    if ((*thread)->state == State::kWaiting && (*thread)->meeting == Meeting::kBarrier) first = thread->get();
  for (auto it = begin; it != end; ++it) {
    const Thread& thread = **it;
    if (first == nullptr && thread.state == State::kWaiting)
      machine.fault = "a warp waits for ever: " + where(thread);
    else if (first != nullptr && thread.state == State::kDone)
      machine.fault = "threads part before a barrier: " + where(*first) + ", but thread (" +
                      std::to_string(thread.index.x) + "," + std::to_string(thread.index.y) + "," +
                      std::to_string(thread.index.z) + ") has exited";
    else if (first != nullptr && (thread.meeting != Meeting::kBarrier || thread.site.line != first->site.line ||
                                  std::strcmp(thread.site.file, first->site.file) != 0))
      machine.fault = "threads part before a barrier: " + where(*first) + ", " + where(thread);
    if (!machine.fault.empty()) return;
  }
  for (auto thread = begin; thread != end; ++thread) (*thread)->state = State::kReady;
}

// A thread that waits is resumed once more, and throws: its objects are destroyed.
HOST_SIM_UNSEEN void unwind() {
  for (unsigned i = 0; i < machine.thread_count; ++i) {
    Thread& thread = *machine.threads[i];
    if (thread.state == State::kWaiting) {
      thread.state = State::kReady;
      switch_to_thread(thread);
    }
    thread.state = State::kDone;
  }
}

}  // namespace

uint64_t Random::next() {
  state += 0x9e3779b97f4a7c15u;
  uint64_t z = state;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

HOST_SIM_UNSEEN void run_block(Random& random) {
  clear_shared_memory();
  start_threads();
  std::vector<unsigned> warps = first_order(static_cast<unsigned>(machine.warps.size())), lanes = first_order(kWarp);
  give(&machine.start_token);
  unsigned left = machine.thread_count;
  while (left != 0 && machine.fault.empty()) {
    shuffle(warps, random);
    for (const unsigned warp : warps) {
      for (Progress progress{true, 0}; progress.ran && machine.fault.empty();) {
        shuffle(lanes, random);
        progress = run_lanes(warp, lanes);
        left -= progress.ended;
        if (progress.ran && machine.fault.empty()) release_warp(warp);
      }
      if (!machine.fault.empty()) break;
    }
    if (left != 0 && machine.fault.empty()) open_barrier();
  }
  if (!machine.fault.empty()) unwind();
  machine.static_bytes_before = machine.static_bytes + kGap * machine.variables.size() + 256;
  take(&machine.end_token);
}

void* shared_variable(const void* key, size_t bytes, size_t alignment) {
  const Hidden hidden;
  Machine& m = machine;
  for (const SharedVariable& variable : m.variables)
    if (variable.key == key) return m.shared + variable.offset;
  const size_t offset = round_up(m.static_end, std::max<size_t>(alignment, 32));
  m.static_bytes += bytes;
  if (m.static_bytes > settings().shared_default || m.dynamic_bytes + m.static_bytes > settings().shared_most)
    fail("variables in shared memory take " + std::to_string(m.static_bytes) + " bytes, beside " +
         std::to_string(m.dynamic_bytes) + " of the launch");
  m.static_end = offset + bytes + kGap;
  m.variables.push_back({key, offset});
  allow(m.shared + offset, bytes);
  return m.shared + offset;
}

}  // namespace host_sim
