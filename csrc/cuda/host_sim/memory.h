// Memory of the devices, which the host cannot reach but while a kernel or a copy runs.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

namespace host_sim {

class DeviceMemory {
 public:
  // Null if the device has not as much left.
  void* allocate(int device, size_t bytes);
  // False for what is no allocation.
  bool release(void* memory);

  bool owns(const void* memory) const;
  // Whose allocation this lies in, or -1.
  int device_of(const void* memory) const;
  // Whether these bytes lie in one allocation.
  bool holds(const void* memory, size_t bytes) const;
  size_t bytes_in_use(int device) const;
  // For records: of what its elements are, as in "float16".
  void describe(const void* memory, const std::string& elements);
  // Every allocation, its size and what is known of its elements.
  void for_each(const std::function<void(const void* block, size_t bytes, const std::string& elements)>& visit) const;

 private:
  friend class DeviceAccess;
  struct Block {
    size_t bytes;
    int device;
    std::string elements = "bytes";
  };
  void reserve();
  void protect(bool on);
  size_t place(size_t bytes);
  std::map<size_t, Block>::const_iterator find(const void* memory) const;

  unsigned char* base_ = nullptr;
  size_t end_ = 0;  // of what has ever been used
  int accesses_ = 0;
  std::map<size_t, Block> blocks_;  // by their offsets
  std::map<size_t, size_t> holes_;  // offset and bytes
};
DeviceMemory& device_memory();

// While one lives, memory of the devices can be read and written.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace host_sim
