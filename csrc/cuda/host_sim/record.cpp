#include "cuda/host_sim/record.h"

#include <dlfcn.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>

#include "cuda/host_sim/memory.h"

namespace host_sim {
namespace {

// What an executor in Python gets through in a second.
constexpr size_t kMostThreads = 1 << 14;
constexpr size_t kMostMemory = 8 << 20;

const char* record_folder() {
  static const char* const folder = std::getenv("LUCID_SIM_RECORD");
  return folder;
}

size_t product(dim3 size) { return size_t{size.x} * size.y * size.z; }

void write_memory(const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  device_memory().for_each([&](const void* block, size_t bytes, const std::string&) {
    file.write(static_cast<const char*>(block), static_cast<int64_t>(bytes));
  });
}

void write_size(std::ofstream& file, const char* name, dim3 size) {
  file << name << ' ' << size.x << ' ' << size.y << ' ' << size.z << '\n';
}

size_t& events() {
  static size_t count = 0;
  return count;
}

void describe(std::ofstream& file, const Launch& launch, const std::vector<std::string>& arguments) {
  Dl_info info{};
  dladdr(launch.kernel, &info);
  file << "event " << events() << '\n';
  // By its place in the program, where the program's symbols tell its name.
  file << "kernel " << static_cast<const char*>(launch.kernel) - static_cast<const char*>(info.dli_fbase) << '\n';
  write_size(file, "grid", launch.grid);
  write_size(file, "block", launch.block);
  file << "shared " << launch.shared << '\n';
  for (const std::string& argument : arguments) {
    file << "argument ";
    for (const char byte : argument) {
      constexpr char kDigits[] = "0123456789abcdef";
      file << kDigits[static_cast<unsigned char>(byte) >> 4] << kDigits[byte & 15];
    }
    file << '\n';
  }
  device_memory().for_each([&](const void* block, size_t bytes, const std::string& elements) {
    file << "memory " << reinterpret_cast<uintptr_t>(block) << ' ' << bytes << ' ' << elements << '\n';
  });
}

}  // namespace

bool is_recording() { return record_folder() != nullptr; }

Record::Record(const Launch& launch, const std::vector<std::string>& arguments) {
  static std::set<const void*> recorded;
  size_t memory = 0;
  device_memory().for_each([&](const void*, size_t bytes, const std::string&) { memory += bytes; });
  if (!is_recording() || product(launch.grid) * product(launch.block) > kMostThreads || memory > kMostMemory ||
      !recorded.insert(launch.kernel).second)
    return;
  folder_ = std::string(record_folder()) + "/" + std::to_string(recorded.size());
  std::filesystem::create_directories(folder_);
  std::ofstream file(folder_ + "/launch.txt");
  describe(file, launch, arguments);
  write_memory(folder_ + "/before.bin");
}

void Record::finish() const {
  if (!folder_.empty()) write_memory(folder_ + "/after.bin");
}

bool write_instead(const Launch& launch, const std::vector<std::string>& arguments) {
  const char* const folder = std::getenv("LUCID_SIM_LAUNCHES");
  if (folder == nullptr) return false;
  const std::string memory = std::string(folder) + "/memory.bin";
  if (!std::filesystem::exists(memory)) write_memory(memory);
  std::ofstream file(std::string(folder) + "/launches.txt", std::ios::app);
  describe(file, launch, arguments);
  return true;
}

void count_event() { ++events(); }

}  // namespace host_sim
