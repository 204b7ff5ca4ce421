#include "core/affinity.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/openmp_runtimes.h"

namespace lucid {

#if defined(__linux__)

CpuSet CpuSet::of_this_thread() {
  CpuSet cpus;
  // Fails on machines with more processors than the set has bits: the count is then 0, unknown.
  if (sched_getaffinity(0, sizeof cpus.set_, &cpus.set_) != 0) CPU_ZERO(&cpus.set_);
  return cpus;
}

void CpuSet::bind(int thread) const { sched_setaffinity(thread, sizeof set_, &set_); }

int CpuSet::count() const { return CPU_COUNT(&set_); }

bool CpuSet::operator==(const CpuSet& other) const { return CPU_EQUAL(&set_, &other.set_); }

CpuSet CpuSet::operator|(const CpuSet& other) const {
  CpuSet both;
  CPU_OR(&both.set_, &set_, &other.set_);
  return both;
}

void CpuSet::add(int cpu) {
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set_);
}

void CpuSet::remove_current_cpu() {
  const int cpu = sched_getcpu();
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &set_);
}

int this_thread_number() { return static_cast<int>(syscall(SYS_gettid)); }

namespace {

CpuSet processors_of_places(const std::string& runtime) {
  CpuSet cpus;
  void* library = dlopen(runtime.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return cpus;
  const auto num_places = reinterpret_cast<int (*)()>(dlsym(library, "omp_get_num_places"));
  const auto place_num_procs = reinterpret_cast<int (*)(int)>(dlsym(library, "omp_get_place_num_procs"));
  const auto place_proc_ids = reinterpret_cast<void (*)(int, int*)>(dlsym(library, "omp_get_place_proc_ids"));
  if (num_places != nullptr && place_num_procs != nullptr && place_proc_ids != nullptr) {
    for (int place = 0; place < num_places(); ++place) {
      std::vector<int> ids(std::max(place_num_procs(place), 0));
      if (!ids.empty()) place_proc_ids(place, ids.data());
      for (const int id : ids) cpus.add(id);
    }
  }
  dlclose(library);
  return cpus;
}

Binding find_binding() {
  Binding binding;
  const char* const variables[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"};
  if (std::none_of(std::begin(variables), std::end(variables), [](const char* name) { return std::getenv(name); }))
    return binding;
  binding.whole = binding.place = CpuSet::of_this_thread();
  // The runtime that was loaded first has bound the thread before the others look.
  for (const std::string& runtime : openmp_runtimes()) binding.whole = binding.whole | processors_of_places(runtime);
  binding.exists = !(binding.whole == binding.place);
  return binding;
}

}  // namespace

#else

CpuSet CpuSet::of_this_thread() { return {}; }
void CpuSet::bind(int) const {}
int CpuSet::count() const { return 0; }
bool CpuSet::operator==(const CpuSet&) const { return true; }
CpuSet CpuSet::operator|(const CpuSet&) const { return {}; }
void CpuSet::add(int) {}
void CpuSet::remove_current_cpu() {}
int this_thread_number() { return 0; }

namespace {

Binding find_binding() { return {}; }

}  // namespace

#endif

namespace {

// Now, not at the first call: until then the program may change its mask, and mean it.
const Binding at_load = find_binding();

}  // namespace

const Binding& binding_at_load() { return at_load; }

}  // namespace lucid
