#include "build.h"  // written by CMake
#include "isas.h"
#include "lucid.h"

extern "C" int32_t lucid_abi_version(void) { return LUCID_ABI_VERSION; }

extern "C" const char* lucid_version(void) { return LUCID_VERSION; }

extern "C" const char* lucid_build_info(void) {
#define NAME(isa) " " #isa
  return "compiler: " LUCID_COMPILER "\nbuild type: " LUCID_BUILD_TYPE "\nflags: " LUCID_CXX_FLAGS
         "\nopenmp: " LUCID_OPENMP "\ninstruction sets built:" LUCID_ISAS(NAME) "\n";
#undef NAME
}
