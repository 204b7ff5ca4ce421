#include "cuda/plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "core/status.h"

namespace lucid::cuda {
namespace {

// Errors of the CUDA runtime that mean that there is no device to work on.
constexpr Error kInsufficientDriver = 35, kNoDevice = 100;

std::atomic<const Backend*> opened{nullptr};
std::atomic<bool> failed{false};

// What follows is written under the mutex, the failure once.
std::mutex mutex;
int32_t devices = 0;
char missing[512] = "no CUDA library was opened";
char failure[512];

// The runtime says "insufficient" also where no driver is loaded at all.
void describe_missing_driver(const Backend& table, const char* path, char* text, size_t size) {
  const char* runtime = std::strrchr(table.version, ',');
  runtime = runtime != nullptr ? runtime + 2 : table.version;
  if (access("/proc/driver/nvidia/version", F_OK) == 0)
    std::snprintf(text, size, "the NVIDIA driver is too old for %s of %s", runtime, path);
  else
    std::snprintf(text, size, "no NVIDIA driver is loaded, which %s of %s needs", runtime, path);
}

// The devices of an opened table, or why there are none.
bool count_devices(const Backend& table, const char* path, int32_t* count, char* text, size_t size) {
  *count = 0;
  const Error error = table.device_count(count);
  if (error == kInsufficientDriver)
    describe_missing_driver(table, path, text, size);
  else if (error == kNoDevice || (error == 0 && *count == 0))
    std::snprintf(text, size, "the machine has no CUDA device");
  else if (error != 0)
    std::snprintf(text, size, "%s finds no CUDA device: %s", path, table.error_text(error));
  return error == 0 && *count > 0;
}

// Both are of one release: the ABI says what a table looks like, not what its kernels do.
bool same_version(const char* of_plugin) {
  const size_t length = std::strlen(lucid_version());
  return std::strncmp(of_plugin, lucid_version(), length) == 0 && of_plugin[length] == ',';
}

// Opens a library and reads nothing of it but the ABI before that is known.
bool open_table(const char* path, const Backend** table, int32_t* count, char* text, size_t size) {
  if (access(path, F_OK) != 0) {
    std::snprintf(text, size, "%s does not exist", path);
    return false;
  }
  // It stays open for ever: its threads and the driver's may be in its code.
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    std::snprintf(text, size, "%s cannot be opened: %s", path, dlerror());
    return false;
  }
  const auto entry = reinterpret_cast<const Backend* (*)()>(dlsym(library, "lucid_cuda_backend"));
  if (entry == nullptr) {
    std::snprintf(text, size, "%s is no CUDA library of lucid: it has no lucid_cuda_backend", path);
    return false;
  }
  *table = entry();
  if ((*table)->abi != kBackendAbi) {
    std::snprintf(text, size, "%s was built for another lucid: its ABI must be %d, got %d", path, kBackendAbi,
                  (*table)->abi);
    return false;
  }
  if (!same_version((*table)->version)) {
    std::snprintf(text, size, "%s is of another version than lucid %s: it is that of lucid %s", path, lucid_version(),
                  (*table)->version);
    return false;
  }
  return count_devices(**table, path, count, text, size);
}

lucid_status load(const char* path) {
  if (path == nullptr) return fail(LUCID_INVALID_ARGUMENT, "cuda: the path must be given, got NULL");
  const std::lock_guard<std::mutex> lock(mutex);
  const Backend* table = nullptr;
  int32_t count = 0;
  char text[sizeof missing];
  if (!open_table(path, &table, &count, text, sizeof text)) {
    if (opened == nullptr) std::memcpy(missing, text, sizeof text);
    return fail(LUCID_UNSUPPORTED, "cuda: %s", text);
  }
  if (opened != nullptr && opened != table)
    return fail(LUCID_INVALID_ARGUMENT, "cuda: one library can be opened in a process, got %s as another", path);
  devices = count;
  missing[0] = '\0';
  opened = table;
  return ok();
}

lucid_status fail_earlier() {
  const std::lock_guard<std::mutex> lock(mutex);
  return fail(LUCID_DEVICE_ERROR, "cuda: the device failed earlier, in %s; restart the process", failure);
}

void keep_failure(const char* op, const char* text) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (failed) return;
  std::snprintf(failure, sizeof failure, "%s: %s", op, text);
  failed = true;
}

}  // namespace

const Backend* backend() { return opened; }

std::mutex& device_wide() {
  static std::mutex& one = *new std::mutex;
  return one;
}

lucid_status check_device(const char* op, const char* name, int32_t id) {
  if (failed) return fail_earlier();
  if (opened != nullptr && id >= 0 && id < devices) return ok();
  char what[64];
  if (name != nullptr)
    std::snprintf(what, sizeof what, "%.40s is on cuda:%d", name, id);
  else
    std::snprintf(what, sizeof what, "there is no cuda:%d", id);
  if (opened != nullptr)
    return fail(LUCID_UNSUPPORTED, "%s: %s, but devices are cuda:0 to cuda:%d", op, what, devices - 1);
  const std::lock_guard<std::mutex> lock(mutex);
  return fail(LUCID_UNSUPPORTED, "%s: %s: %s", op, what, missing);
}

lucid_status report(const char* op, Error error) {
  if (error == 0) return ok();
  const Backend& table = *opened;
  const char* text = table.error_text(error);
  if (table.is_out_of_memory(error)) return fail(LUCID_OUT_OF_MEMORY, "%s: no memory on the device: %s", op, text);
  if (table.is_sticky(error)) {
    if (failed) return fail_earlier();
    keep_failure(op, text);
  }
  return fail(LUCID_DEVICE_ERROR, "%s: the device failed: %s", op, text);
}

Error synchronize() {
  const std::lock_guard<std::mutex> lock(device_wide());
  return opened.load()->synchronize();
}

Dtype dtype_of(lucid_dtype dtype) {
  if (dtype.code == LUCID_BFLOAT) return Dtype::kBfloat16;
  return dtype.bits == 16 ? Dtype::kFloat16 : Dtype::kFloat32;
}

std::optional<Dtype> known_dtype(lucid_dtype dtype) {
  struct Known {
    lucid_dtype_code code;
    int bits;
    Dtype dtype;
  };
  static constexpr Known kKnown[] = {
      {LUCID_FLOAT, 32, Dtype::kFloat32}, {LUCID_FLOAT, 16, Dtype::kFloat16}, {LUCID_BFLOAT, 16, Dtype::kBfloat16},
      {LUCID_BOOL, 8, Dtype::kBool},      {LUCID_UINT, 8, Dtype::kUint8},     {LUCID_INT, 8, Dtype::kInt8},
      {LUCID_INT, 16, Dtype::kInt16},     {LUCID_INT, 32, Dtype::kInt32},     {LUCID_INT, 64, Dtype::kInt64},
  };
  for (const Known& known : kKnown)
    if (known.code == dtype.code && known.bits == dtype.bits) return known.dtype;
  return std::nullopt;
}

DeviceGuard::DeviceGuard(int32_t device) : error_(opened.load()->get_device(&before_)) {
  if (error_ != 0 || before_ == device) return;
  error_ = opened.load()->set_device(device);
  changed_ = error_ == 0;
}

DeviceGuard::~DeviceGuard() {
  if (changed_) opened.load()->set_device(before_);
}

}  // namespace lucid::cuda

extern "C" lucid_status lucid_cuda_load(const char* path) { return lucid::cuda::load(path); }

extern "C" const char* lucid_cuda_why_not(void) {
  thread_local char text[sizeof lucid::cuda::missing];
  const std::lock_guard<std::mutex> lock(lucid::cuda::mutex);
  std::memcpy(text, lucid::cuda::missing, sizeof text);
  return text;
}

extern "C" const char* lucid_cuda_version(void) {
  const lucid::cuda::Backend* table = lucid::cuda::backend();
  return table != nullptr ? table->version : "";
}

extern "C" lucid_status lucid_cuda_device_count(int32_t* count) {
  using namespace lucid;
  if (count == nullptr) return fail(LUCID_INVALID_ARGUMENT, "cuda: the count must have a place, got NULL");
  const std::lock_guard<std::mutex> lock(cuda::mutex);
  *count = cuda::devices;
  return ok();
}
