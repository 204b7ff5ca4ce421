// Freed blocks wait in one list for each size class, four classes to a power of two. A block carries its class in the
// line before its data.
#include "core/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
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
constexpr size_t kMostCached = kExact ? 0 : size_t{512} << 20;
constexpr int kClasses = 4 * 48;  // up to 2^48 bytes

struct Block {
  Block* next;
  size_t bytes;  // header included
  int size_class;
};
static_assert(sizeof(Block) <= kHeader);

std::mutex mutex;
Block* cached[kClasses];
size_t cached_bytes = 0;

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

Block* allocate(size_t bytes, int size_class) {
  // Blocks of whole huge pages: one page fault for 512 small ones.
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kAlignment;
  if (!kExact) bytes = (bytes + alignment - 1) / alignment * alignment;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
  if (huge) madvise(memory, bytes, MADV_HUGEPAGE);
  return new (memory) Block{nullptr, bytes, size_class};
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
  if (kExact) rounded = bytes + kHeader;
  Block* block = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if ((block = cached[index]) != nullptr) {
      cached[index] = block->next;
      cached_bytes -= block->bytes;
    }
  }
  if (block == nullptr) block = allocate(rounded, index);
  if (block == nullptr) {  // the cache itself may hold what is missing
    lucid_release_memory();
    block = allocate(rounded, index);
  }
  return block != nullptr ? reinterpret_cast<char*>(block) + kHeader : nullptr;
}

extern "C" void lucid_free(void* memory) {
  using namespace lucid;
  if (memory == nullptr) return;
  Block* block = reinterpret_cast<Block*>(static_cast<char*>(memory) - kHeader);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (cached_bytes + block->bytes <= kMostCached) {
      block->next = cached[block->size_class];
      cached[block->size_class] = block;
      cached_bytes += block->bytes;
      return;
    }
  }
  std::free(block);
}

extern "C" void lucid_release_memory(void) {
  using namespace lucid;
  const std::lock_guard<std::mutex> lock(mutex);
  for (Block*& list : cached)
    while (list != nullptr) {
      Block* block = list;
      list = block->next;
      cached_bytes -= block->bytes;
      std::free(block);
    }
}
