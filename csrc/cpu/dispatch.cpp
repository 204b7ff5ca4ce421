// Chooses the kernel table: the first in LUCID_ISAS that this processor can run, unless lucid_set_isa pins another.
#include <atomic>
#include <cstring>
#include <string>

#include "core/cpu_features.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "isas.h"  // LUCID_ISAS(X), written by CMake: the instruction sets built, best first

namespace lucid {

#define DECLARE(isa) \
  namespace isa { \
  extern const Kernels kernels; \
  }
LUCID_ISAS(DECLARE)
#undef DECLARE

namespace {

#define ENTRY(isa) &isa::kernels,
const Kernels* const tables[] = {LUCID_ISAS(ENTRY)};
#undef ENTRY

bool runs_here(const Kernels& table) { return (cpu_features() & table.required_features) == table.required_features; }

const Kernels* find(const char* name) {
  for (const Kernels* table : tables)
    if (runs_here(*table) && (name == nullptr || std::strcmp(table->isa, name) == 0)) return table;
  return nullptr;
}

std::string usable() {
  std::string names;
  for (const Kernels* table : tables)
    if (runs_here(*table)) names.append(names.empty() ? "" : ",").append(table->isa);
  return names;
}

std::atomic<const Kernels*> active{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* table = active.load(std::memory_order_acquire);
  if (table == nullptr) active.store(table = find(nullptr), std::memory_order_release);
  return *table;
}

}  // namespace lucid

extern "C" const char* lucid_isa(void) { return lucid::kernels().isa; }

extern "C" const char* lucid_isas(void) {
  static const std::string names = lucid::usable();
  return names.c_str();
}

extern "C" lucid_status lucid_set_isa(const char* name) {
  const lucid::Kernels* table = lucid::find(name);
  if (table == nullptr)
    return lucid::fail(LUCID_UNSUPPORTED, "set_isa: '%s' is not one of the instruction sets usable here: %s", name,
                       lucid_isas());
  lucid::active.store(table, std::memory_order_release);
  return lucid::ok();
}
