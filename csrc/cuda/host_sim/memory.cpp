#include "cuda/host_sim/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#include "cuda/host_sim/sanitizers.h"
#include "cuda/host_sim/settings.h"

namespace host_sim {
namespace {

constexpr size_t kAddresses = size_t{1} << 36;  // of all devices; pages come when they are touched
constexpr size_t kAlignment = 256;              // of an allocation, as CUDA promises
constexpr size_t kGap = 256;                    // behind one, for the sanitizer
constexpr size_t kHugePage = size_t{1} << 21;

size_t with_gap(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment + kGap; }

}  // namespace

DeviceMemory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

void DeviceMemory::reserve() {
  if (base_ != nullptr) return;
  void* memory = mmap(nullptr, kAddresses, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  base_ = static_cast<unsigned char*>(memory);
  // Every launch protects and unprotects all that is in use: by small pages, nine tenths of the time of a network.
  madvise(base_, kAddresses, MADV_HUGEPAGE);
}

void DeviceMemory::protect(bool on) {
  if (end_ != 0)
    mprotect(base_, (end_ + kHugePage - 1) / kHugePage * kHugePage, on ? PROT_NONE : PROT_READ | PROT_WRITE);
}

// The first hole that is large enough, or what lies behind everything. 0 if there is nothing.
size_t DeviceMemory::place(size_t bytes) {
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    const auto [offset, size] = *hole;
    if (size < bytes) continue;
    holes_.erase(hole);
    if (size > bytes) holes_[offset + bytes] = size - bytes;
    return offset;
  }
  const size_t offset = end_ == 0 ? kGap : end_;
  if (offset + bytes > kAddresses) return 0;
  if (accesses_ != 0) protect(true);
  end_ = offset + bytes;
  if (accesses_ != 0) protect(false);
  return offset;
}

void* DeviceMemory::allocate(int device, size_t bytes) {
  reserve();
  if (base_ == nullptr || bytes > settings().memory || bytes_in_use(device) > settings().memory - bytes) return nullptr;
  const size_t offset = place(with_gap(bytes));
  if (offset == 0) return nullptr;
  blocks_[offset] = {bytes, device, "bytes"};
  const DeviceAccess access;
  forbid(base_ + offset, with_gap(bytes));
  allow(base_ + offset, bytes);
  std::memset(base_ + offset, 0xff, bytes);  // NaN in every dtype
  return base_ + offset;
}

bool DeviceMemory::release(void* memory) {
  const auto block = find(memory);
  if (block == blocks_.end() || base_ + block->first != memory) return false;
  const size_t bytes = with_gap(block->second.bytes);
  forbid(memory, bytes);
  const auto hole = holes_.emplace(block->first, bytes).first;
  blocks_.erase(block);
  // Neighbours become one hole.
  if (const auto next = std::next(hole); next != holes_.end() && hole->first + hole->second == next->first) {
    hole->second += next->second;
    holes_.erase(next);
  }
  if (hole != holes_.begin())
    if (const auto before = std::prev(hole); before->first + before->second == hole->first) {
      before->second += hole->second;
      holes_.erase(hole);
    }
  return true;
}

std::map<size_t, DeviceMemory::Block>::const_iterator DeviceMemory::find(const void* memory) const {
  if (!owns(memory)) return blocks_.end();
  const size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(memory) - base_);
  auto block = blocks_.upper_bound(offset);
  if (block == blocks_.begin()) return blocks_.end();
  --block;
  return offset <= block->first + block->second.bytes ? block : blocks_.end();
}

bool DeviceMemory::owns(const void* memory) const {
  const auto* byte = static_cast<const unsigned char*>(memory);
  return base_ != nullptr && byte >= base_ && byte < base_ + kAddresses;
}

int DeviceMemory::device_of(const void* memory) const {
  const auto block = find(memory);
  return block == blocks_.end() ? -1 : block->second.device;
}

bool DeviceMemory::holds(const void* memory, size_t bytes) const {
  const auto block = find(memory);
  if (block == blocks_.end()) return false;
  const size_t offset = static_cast<size_t>(static_cast<const unsigned char*>(memory) - base_);
  return bytes <= block->first + block->second.bytes - offset;
}

size_t DeviceMemory::bytes_in_use(int device) const {
  size_t bytes = 0;
  for (const auto& [offset, block] : blocks_)
    if (block.device == device) bytes += block.bytes;
  return bytes;
}

void DeviceMemory::describe(const void* memory, const std::string& elements) {
  blocks_.at(static_cast<size_t>(static_cast<const unsigned char*>(memory) - base_)).elements = elements;
}

void DeviceMemory::for_each(const std::function<void(const void*, size_t, const std::string&)>& visit) const {
  for (const auto& [offset, block] : blocks_) visit(base_ + offset, block.bytes, block.elements);
}

DeviceAccess::DeviceAccess() {
  DeviceMemory& memory = device_memory();
  if (memory.accesses_++ == 0) memory.protect(false);
}

DeviceAccess::~DeviceAccess() {
  DeviceMemory& memory = device_memory();
  if (--memory.accesses_ == 0) memory.protect(true);
}

}  // namespace host_sim
