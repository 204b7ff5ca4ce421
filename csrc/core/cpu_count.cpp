#include "core/cpu_count.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "core/affinity.h"

namespace lucid {
namespace {

constexpr int kNoLimit = INT_MAX;

// A mask that an OpenMP runtime has set says where its threads belong, not how many the process may use.
int affinity_count(const CpuSet& mask) {
  const Binding& binding = binding_at_load();
  const int count = (binding.exists && mask == binding.place ? binding.whole : mask).count();
  return count > 0 ? count : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::string first_line(const std::string& path) {
  char line[256] = "";
  if (FILE* file = std::fopen(path.c_str(), "r")) {
    if (std::fgets(line, sizeof line, file) == nullptr) line[0] = '\0';
    std::fclose(file);
  }
  return line;
}

int cpus(double quota, double period) {
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : kNoLimit;
}

// The quota of one cgroup folder: "max 100000" or "200000 100000" in version 2, two files in version 1.
int folder_quota(const std::string& folder) {
  double quota = -1, period = 0;
  if (std::sscanf(first_line(folder + "/cpu.max").c_str(), "%lf %lf", &quota, &period) == 2) return cpus(quota, period);
  quota = std::atof(first_line(folder + "/cpu.cfs_quota_us").c_str());
  period = std::atof(first_line(folder + "/cpu.cfs_period_us").c_str());
  return cpus(quota, period);
}

// A limit on any folder between this process's cgroup and the root holds.
int quota_up_to_root(const std::string& mount, std::string path) {
  int limit = folder_quota(mount);
  while (path.size() > 1) {
    limit = std::min(limit, folder_quota(mount + path));
    path.resize(path.rfind('/'));
  }
  return limit;
}

// /proc/self/cgroup has lines "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1).
int cgroup_count() {
  FILE* file = std::fopen("/proc/self/cgroup", "r");
  if (file == nullptr) return kNoLimit;
  int limit = kNoLimit;
  char line[4096];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    const char* controllers = std::strchr(line, ':');
    const char* path = controllers != nullptr ? std::strchr(controllers + 1, ':') : nullptr;
    if (path == nullptr || path[1] != '/') continue;
    const std::string names(controllers + 1, path);
    if (names.empty())
      limit = std::min(limit, quota_up_to_root("/sys/fs/cgroup", path + 1));
    else if (("," + names + ",").find(",cpu,") != std::string::npos)
      limit = std::min({limit, quota_up_to_root("/sys/fs/cgroup/cpu", path + 1),
                        quota_up_to_root("/sys/fs/cgroup/cpu,cpuacct", path + 1)});
  }
  std::fclose(file);
  return limit;
}

// OMP_NUM_THREADS may be a list, one number for each nesting level; the first counts.
int environment_count() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const int threads = text != nullptr ? std::atoi(text) : 0;
  return threads > 0 ? threads : kNoLimit;
}

}  // namespace

int available_cpus(const CpuSet& mask) {
  static const int quota = cgroup_count();
  return std::min(affinity_count(mask), quota);
}

int default_thread_count(int cpus) {
  static const int most = environment_count();
  return std::min(cpus, most);
}

}  // namespace lucid
