#include "core/status.h"

#include <cstdarg>
#include <cstdio>

namespace lucid {
namespace {

thread_local char message[512];

}  // namespace

lucid_status fail(lucid_status code, const char* format, ...) {
  va_list list;
  va_start(list, format);
  std::vsnprintf(message, sizeof message, format, list);
  va_end(list);
  return code;
}

lucid_status ok() {
  message[0] = '\0';
  return LUCID_OK;
}

}  // namespace lucid

extern "C" const char* lucid_last_error(void) { return lucid::message; }
