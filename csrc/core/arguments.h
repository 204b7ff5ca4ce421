// An operator's arguments as this library knows them, from a struct of any version of lucid.h.
#pragma once

#include <cstddef>

#include "core/host.h"
#include "core/status.h"
#include "lucid.h"

namespace lucid {

// The size of the struct in ABI version 2, which a size of 0 stands for. To be specialised where fields were added.
template <class Args>
constexpr size_t kSizeInVersion2 = sizeof(Args);
template <>
inline constexpr size_t kSizeInVersion2<lucid_context> = offsetof(lucid_context, tf32);
template <>
inline constexpr size_t kSizeInVersion2<lucid_conv2d_args> = offsetof(lucid_conv2d_args, winograd);
template <>
inline constexpr size_t kSizeInVersion2<lucid_batch_norm_args> = offsetof(lucid_batch_norm_args, residual);

// Copies `given` to the `known` bytes at `args`: fields that a shorter struct lacks become zeros, and those that a
// longer one has must be zeros. The context is checked as well.
lucid_status complete(const char* op, const void* given, size_t version2, size_t known, void* args);
lucid_status check_context(const char* op, const lucid_context* context);

// The stream of a context that has passed, which only a call on CUDA may have; null is the default.
void* stream_of(const lucid_context* context);
// Whether a context that has passed allows TF32.
bool allows_tf32(const lucid_context* context);
lucid_status check_no_stream(const char* op, const lucid_context* context);

template <class Args>
lucid_status complete(const char* op, const Args* given, Args* args) {
  LUCID_CHECK(complete(op, given, kSizeInVersion2<Args>, sizeof(Args), args));
  return check_context(op, args->context);
}

// Every entry point: lucid_relu(args) { return with_arguments("relu", args, run_relu); }, where the arguments are
// complete, and threads and memory are those of the context.
template <class Args, class Body>
lucid_status with_arguments(const char* op, const Args* given, const Body& body) {
  Args args;
  LUCID_CHECK(complete(op, given, &args));
  const HostScope scope(args.context);
  return body(args);
}

}  // namespace lucid
