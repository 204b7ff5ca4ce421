#include "core/openmp_runtimes.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace lucid {

#if defined(__linux__)

std::vector<std::string> openmp_runtimes() {
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        const std::string path = info->dlpi_name;
        for (const char* name : {"/libgomp", "/libomp", "/libiomp5"})
          if (path.find(name) != std::string::npos) static_cast<std::vector<std::string>*>(found)->push_back(path);
        return 0;
      },
      &paths);
  return paths;
}

namespace {

// How many libraries were loaded and unloaded so far.
unsigned long long library_changes() {
  unsigned long long changes = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        *static_cast<unsigned long long*>(found) = info->dlpi_adds + info->dlpi_subs;
        return 1;
      },
      &changes);
  return changes;
}

// omp_pause_resource_all of OpenMP 5.0; 1 is omp_pause_soft, which keeps what threads own. It is refused inside of a
// parallel region.
using Pause = int (*)(int);
constexpr int kSoft = 1;

std::vector<Pause> pauses() {
  std::vector<Pause> found;
  for (const std::string& path : openmp_runtimes()) {
    void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) continue;
    const auto pause = reinterpret_cast<Pause>(dlsym(library, "omp_pause_resource_all"));
    if (pause != nullptr) found.push_back(pause);
    dlclose(library);  // whoever has loaded it keeps it, or the next look finds that it is gone
  }
  return found;
}

}  // namespace

void rest_openmp_runtimes() {
  thread_local unsigned long long seen = 0;
  thread_local std::vector<Pause> known;
  const unsigned long long changes = library_changes();
  if (changes != seen) known = pauses(), seen = changes;
  for (const Pause pause : known) pause(kSoft);
}

#else

std::vector<std::string> openmp_runtimes() { return {}; }
void rest_openmp_runtimes() {}

#endif

}  // namespace lucid
