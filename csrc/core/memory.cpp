// Freed blocks wait in one list for each size class, four classes to a power of two, as long as as much was in use at
// once lately. A block carries its class in the line before its data.
#include "core/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <mutex>

#include "core/host.h"

namespace lucid {
namespace {

constexpr size_t kMostBytes = size_t{1} << 47;  // an address space, and safe to round up
constexpr size_t kHeader = 64;                  // keeps the data on a line of its own
constexpr size_t kHugePage = size_t{2} << 20;
#ifdef LUCID_SANITIZED
// Every block ends where its data ends, and is freed: a sanitizer sees what is read behind or after it.
constexpr bool kExact = true;
#else
constexpr bool kExact = false;
#endif
constexpr size_t kSpare = size_t{512} << 20;  // may be cached beyond what was in use at once
constexpr time_t kWindowSeconds = 30;         // how long that counts: one to two windows
constexpr int kClasses = 4 * 48;              // up to 2^48 bytes

struct Block {
  Block* next;
  size_t bytes;  // header included
  int size_class;
};
static_assert(sizeof(Block) <= kHeader);

std::mutex mutex;
Block* cached[kClasses];
size_t cached_bytes = 0, used_bytes = 0;
size_t most_used[2];  // in this window and in the one before
time_t window = 0;

// A fork while another thread holds the mutex would leave it locked in the child for ever.
const int fork_handler = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

// The smallest class whose size is at least `bytes`, and that size; sizes are 4, 5, 6, 7 times a power of two.
int size_class(size_t bytes, size_t* rounded) {
  int exponent = 6;
  while ((size_t{8} << exponent) < bytes) ++exponent;
  size_t quarter = 4;
  while ((quarter << exponent) < bytes) ++quarter;
  *rounded = quarter << exponent;
  return (exponent - 6) * 4 + static_cast<int>(quarter - 4);
}

// The bytes of a block of a class: whole huge pages, with one page fault for 512 small ones, or as many as asked for.
size_t block_bytes(size_t rounded) {
  const size_t alignment = rounded >= kHugePage ? kHugePage : kAlignment;
  return kExact ? rounded : (rounded + alignment - 1) / alignment * alignment;
}

Block* allocate(size_t bytes, int size_class) {
  const bool huge = bytes >= kHugePage;
  void* memory = nullptr;
  if (posix_memalign(&memory, huge ? kHugePage : kAlignment, bytes) != 0) return nullptr;
  if (huge) madvise(memory, bytes, MADV_HUGEPAGE);
  return new (memory) Block{nullptr, bytes, size_class};
}

void free_list(Block* list) {
  while (list != nullptr) {
    Block* block = list;
    list = block->next;
    std::free(block);
  }
}

// With the mutex held: takes cached blocks out, the largest first, until at most `most` bytes are left.
Block* take_surplus(size_t most) {
  Block* surplus = nullptr;
  for (int i = kClasses - 1; i >= 0 && cached_bytes > most; --i)
    while (cached[i] != nullptr && cached_bytes > most) {
      Block* block = cached[i];
      cached[i] = block->next;
      cached_bytes -= block->bytes;
      block->next = surplus;
      surplus = block;
    }
  return surplus;
}

// With the mutex held: what is cached beyond the most that was in use at once lately. A step of training, whose
// activations come and go, finds all its memory again (a fresh page of a virtual machine takes as long as 10 additions
// of its numbers), and a cache never adds more than kSpare to the peak of a process.
Block* take_surplus() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  if (const time_t current = now.tv_sec / kWindowSeconds; current != window) {
    most_used[1] = current == window + 1 ? most_used[0] : used_bytes;
    most_used[0] = used_bytes;
    window = current;
  }
  return take_surplus(kExact ? 0 : std::max(most_used[0], most_used[1]) + kSpare - used_bytes);
}

}  // namespace

// A host's memory may lie anywhere.
Memory::Memory(size_t bytes) {
  const Host& host = current_host();
  host_ = host.data;
  deallocate_ = host.deallocate;
  if (host.allocate == nullptr) {
    data_ = block_ = lucid_alloc(bytes);
    return;
  }
  block_ = bytes <= kMostBytes ? host.allocate(host.data, bytes + kAlignment - 1) : nullptr;
  data_ = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(block_) + kAlignment - 1) / kAlignment * kAlignment);
}

Memory::~Memory() {
  if (deallocate_ == nullptr)
    lucid_free(block_);
  else if (block_ != nullptr)
    deallocate_(host_, block_);
}

}  // namespace lucid

extern "C" void* lucid_alloc(size_t bytes) {
  using namespace lucid;
  if (bytes > kMostBytes) return nullptr;
  size_t rounded;
  const int index = size_class(bytes + kHeader, &rounded);
  rounded = block_bytes(kExact ? bytes + kHeader : rounded);
  Block *block = nullptr, *surplus = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    used_bytes += rounded;
    most_used[0] = std::max(most_used[0], used_bytes);
    if ((block = cached[index]) != nullptr) {
      cached[index] = block->next;
      cached_bytes -= block->bytes;
    } else {
      surplus = take_surplus();
    }
  }
  if (block != nullptr) return reinterpret_cast<char*>(block) + kHeader;
  free_list(surplus);
  block = allocate(rounded, index);
  if (block == nullptr) {  // the cache itself may hold what is missing
    lucid_release_memory();
    block = allocate(rounded, index);
  }
  if (block != nullptr) return reinterpret_cast<char*>(block) + kHeader;
  const std::lock_guard<std::mutex> lock(mutex);
  used_bytes -= rounded;
  most_used[0] = most_used[1] = used_bytes;
  return nullptr;
}

extern "C" void lucid_free(void* memory) {
  using namespace lucid;
  if (memory == nullptr) return;
  Block* block = reinterpret_cast<Block*>(static_cast<char*>(memory) - kHeader);
  Block* surplus;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    used_bytes -= block->bytes;
    block->next = cached[block->size_class];
    cached[block->size_class] = block;
    cached_bytes += block->bytes;
    surplus = take_surplus();
  }
  free_list(surplus);
}

extern "C" void lucid_release_memory(void) {
  using namespace lucid;
  Block* surplus;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    most_used[0] = most_used[1] = used_bytes;
    surplus = take_surplus(0);
  }
  free_list(surplus);
}
