// One multiprocessor: the threads of a block, which run by turns on one thread of the host, and how they wait for
// each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/host_sim/fibers.h"
#include "cuda/host_sim/types.h"

namespace host_sim {

// What a kernel does that it must not: it ends, and the device fails.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr unsigned kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

enum class Meeting : uint8_t { kNone, kBarrier, kSyncWarp, kShuffle, kVote, kMatrix };
enum class State : uint8_t { kReady, kWaiting, kDone };

struct Site {
  const char* file;
  int line;
};

// A copy that is on its way: it arrives when it is waited for.
struct AsyncCopy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Thread {
  Context context;
  uint3 index{};
  unsigned lane = 0, warp = 0;
  State state = State::kDone;
  Meeting meeting = Meeting::kNone;
  Site site{};
  unsigned mask = 0;
  std::vector<AsyncCopy> open_copies;
  std::deque<std::vector<AsyncCopy>> committed_copies;
  // For ThreadSanitizer: tokens by turns, and how many meetings this thread has been to.
  char token[2] = {};
  unsigned barriers = 0, whole_meetings = 0, partial_meetings = 0;
  std::vector<void*> orders_before;
};

struct Warp {
  alignas(16) unsigned char lane_value[kWarp][64];  // what each lane hands to the others
  float matrix_a[16 * 32], matrix_b[16 * 32];       // operands of a product, as the lanes hold them together
  char token[2] = {};
};

// A variable in shared memory, which every thread of the block finds by its key.
struct SharedVariable {
  const void* key;
  size_t offset;
};

struct Machine {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  Context host;
  Thread* running = nullptr;
  uint3 block_index{};
  dim3 block_size, grid_size;
  unsigned thread_count = 0;
  const std::function<void()>* kernel = nullptr;
  std::string fault;
  // Shared memory of the block: what the launch asked for, then variables with gaps between them.
  unsigned char* shared = nullptr;
  size_t dynamic_bytes = 0, static_bytes = 0, static_end = 0, static_bytes_before = 0;
  std::vector<SharedVariable> variables;
  uint64_t launches = 0;
  char barrier_token[2] = {}, start_token = 0, end_token = 0;
};
extern Machine machine;

// Numbers that a seed decides.
struct Random {
  uint64_t state;
  uint64_t next();
};

void run_block(Random& random);
// The stacks and all else that a block needs.
void prepare_block(unsigned threads);
void switch_to_thread(Thread& thread);

[[noreturn]] void fail(const std::string& text);
std::string where(const Thread& thread);

// Returns when every thread that belongs to it has come.
void meet(Meeting meeting, unsigned mask, const char* file, int line);
// Lets the lanes go whose meeting is complete.
void release_warp(unsigned warp);

void* shared_variable(const void* key, size_t bytes, size_t alignment);
template <class T>
T& shared_variable(const void* key) {
  return *static_cast<T*>(shared_variable(key, sizeof(T), alignof(T)));
}

}  // namespace host_sim
