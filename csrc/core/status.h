// Failure reporting: a code for the caller, a sentence for the human.
#pragma once

#include "lucid.h"

namespace lucid {

// Records the message for lucid_last_error() and returns `code`, so that a check reads
//   if (groups <= 0) return fail(LUCID_INVALID_ARGUMENT, "conv2d: groups must be positive, got %lld", groups);
[[gnu::format(printf, 2, 3)]] lucid_status fail(lucid_status code, const char* format, ...);

// Clears the message. Every entry point returns through this on success.
lucid_status ok();

}  // namespace lucid

// Returns the failure of `expression` to the caller, if it is one.
#define LUCID_CHECK(expression) \
  do { \
    if (const lucid_status status_ = (expression); status_ != LUCID_OK) return status_; \
  } while (false)
