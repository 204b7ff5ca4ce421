// The processors that a thread may run on.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

namespace lucid {

int this_thread_number();

class CpuSet {
 public:
  static CpuSet of_this_thread();
  void bind(int thread) const;  // a number of this_thread_number()
  int count() const;            // 0 where the system does not say
  bool operator==(const CpuSet& other) const;
  CpuSet operator|(const CpuSet& other) const;
  void add(int cpu);
  void remove_current_cpu();

 private:
#if defined(__linux__)
  cpu_set_t set_ = {};
#endif
};

// OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY make an OpenMP runtime bind the thread that loads it to one place,
// most often one processor; the threads which that thread starts inherit the mask.
struct Binding {
  bool exists = false;
  CpuSet place;  // the mask that the runtime has left
  CpuSet whole;  // the processors of all its places
};

// As it was when this library was loaded.
const Binding& binding_at_load();

}  // namespace lucid
