// Callers, teams, forks and changes of the number of threads at once, for ThreadSanitizer.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "core/memory.h"
#include "core/parallel.h"
#include "core/status.h"

namespace {

std::atomic<int> wrong{0};

void call() {
  std::vector<int> values(1000, 0);
  lucid::parallel_for(1000, 10, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) values[i] += 1;
  });
  int rounds[4] = {};
  lucid::parallel_team(3, lucid::Patience::zero(), [&](const lucid::Team& team) {
    for (int& round : rounds) {
      if (team.id() == 0) round = 1;
      team.barrier();
      if (round != 1) ++wrong;
      void* memory = lucid_alloc(5000);
      std::memset(memory, team.id(), 5000);
      lucid_free(memory);
    }
  });
  for (const int value : values) wrong += value != 1;
  lucid::fail(LUCID_UNSUPPORTED, "caller %p", static_cast<void*>(&values));
  if (std::strncmp(lucid_last_error(), "caller", 6) != 0) ++wrong;
}

}  // namespace

int main() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([caller] {
      for (int i = 0; i < 100; ++i) {
        call();
        lucid_set_num_threads(2 + (caller + i) % 3);
      }
    });
  for (std::thread& caller : callers) caller.join();
  const pid_t child = fork();
  if (child == 0) {
    call();
    _exit(wrong);
  }
  int status = 1;
  if (waitpid(child, &status, 0) != child || status != 0) ++wrong;
  std::puts(wrong == 0 ? "passed" : "wrong");
  return wrong != 0;
}
