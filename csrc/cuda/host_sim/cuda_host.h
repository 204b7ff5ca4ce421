// cuda_host.h -- run CUDA C++ kernels on the host, for tests.
//
// A kernel source is compiled by a plain C++17 compiler (g++ -x c++).  Every
// CUDA thread of a block is a fiber, so barriers, warp shuffles and shared
// memory behave as on a device, and the launcher checks what a device would
// silently get wrong:
//   * divergent barriers / warp ops (which thread waits at which line),
//   * out-of-bounds on device buffers and on every __shared__ array (ASan),
//   * reads of shared memory that nobody wrote (NaN poison per block),
//   * races: threads, warps and blocks run in a seeded random order between
//     barriers (compare bit for bit over seeds), or exactly under
//     -fsanitize=thread, where a fiber is a TSan thread and only barriers order,
//   * missing stream synchronisation: stream work is deferred until something
//     really waits for it; device memory is unreadable by the host meanwhile,
//   * launch limits (1024 threads, grid y/z 65535, 48 KiB / opt-in shared).
//
// One OS thread runs everything: parallelise tests by process.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda/host_sim/settings.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#endif

// ---------------------------------------------------------------- keywords
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // works; LUCID_SHARED below is checked too
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define CUDART_INF_F (__builtin_inff())

// ------------------------------------------------------------ vector types
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float a, float b) { return {a, b}; }
inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }
inline int2 make_int2(int a, int b) { return {a, b}; }
inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }

// ------------------------------------------------------- half and bfloat16
namespace cuhost {
inline float bits_to_float(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline uint32_t float_to_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}
inline uint16_t f2h(float f) {  // round to nearest even
  uint32_t u = float_to_bits(f), s = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return 0x7fff;  // CUDA's canonical NaN
  if (a >= 0x477ff000u) return uint16_t(s | 0x7c00u);
  if (a >= 0x38800000u) {
    uint32_t r = a - 0x38000000u;
    r += 0xfffu + ((r >> 13) & 1);
    return uint16_t(s | (r >> 13));
  }
  if (a < 0x33000000u) return uint16_t(s);  // below half of the least subnormal (tie -> 0)
  uint32_t m = (a & 0x7fffffu) | 0x800000u, sh = 126 - (a >> 23), q = m >> sh, rem = m & ((1u << sh) - 1),
           half = 1u << (sh - 1);
  if (rem > half || (rem == half && (q & 1))) ++q;
  return uint16_t(s | q);
}
inline float h2f(uint16_t h) {
  uint32_t s = uint32_t(h & 0x8000u) << 16, e = (h >> 10) & 31, m = h & 0x3ffu;
  if (e == 31) return bits_to_float(s | 0x7f800000u | (m << 13));
  if (e) return bits_to_float(s | ((e + 112) << 23) | (m << 13));
  float f = float(m) * 5.9604644775390625e-8f;  // 2^-24
  return s ? -f : f;
}
inline uint16_t f2b(float f) {
  uint32_t u = float_to_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
inline float b2f(uint16_t b) { return bits_to_float(uint32_t(b) << 16); }
}  // namespace cuhost
#if !defined(__CUDA_FP16_H__) && !defined(__CUDA_BF16_H__)
#define CUHOST_OWN_HALF 1
struct alignas(2) __half {
  uint16_t u;
  __half() = default;
  __half(float f) : u(cuhost::f2h(f)) {}
  operator float() const { return cuhost::h2f(u); }
};
struct alignas(2) __nv_bfloat16 {
  uint16_t u;
  __nv_bfloat16() = default;
  __nv_bfloat16(float f) : u(cuhost::f2b(f)) {}
  operator float() const { return cuhost::b2f(u); }
};
struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
using half = __half;
inline __half __float2half(float f) { return __half(f); }
inline __half __float2half_rn(float f) { return __half(f); }
inline float __half2float(__half h) { return h; }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline float2 __half22float2(__half2 h) { return {float(h.x), float(h.y)}; }
inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
inline float __bfloat162float(__nv_bfloat16 b) { return b; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 h) { return {float(h.x), float(h.y)}; }
#endif

// ------------------------------------------------------------- the machine
namespace cuhost {

// the shim's own state is not the kernel's business: hide it from TSan
struct Hidden {
#if defined(__SANITIZE_THREAD__)
  Hidden() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  ~Hidden() {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
  }
#else
  Hidden() {}
#endif
};

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using host_sim::settings;
inline host_sim::Settings& config() { return settings(); }
struct Rng {
  uint64_t s;
  uint64_t next() {
    s += 0x9e3779b97f4a7c15ull;
    uint64_t z = s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
};
template <class V>
void shuffle(V& v, Rng& r) {
  for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[r.next() % i]);
}

// ---- context switch
#if defined(__x86_64__)
extern "C" void cuhost_switch(void** save_sp, void* load_sp);
#if !defined(CUHOST_NO_ASM)
asm(R"(
.text
.weak cuhost_switch
.type cuhost_switch,@function
cuhost_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuhost_switch,.-cuhost_switch
)");
#endif
struct Ctx {
  void* sp = nullptr;
};
inline void ctx_switch(Ctx& from, Ctx& to) { cuhost_switch(&from.sp, to.sp); }
inline void ctx_make(Ctx& c, char* stack, size_t n, void (*fn)()) {
  auto top = reinterpret_cast<uintptr_t>(stack + n) & ~uintptr_t(15);
  auto p = reinterpret_cast<void**>(top);
  *--p = nullptr;  // so that fn sees rsp % 16 == 8
  *--p = reinterpret_cast<void*>(fn);
  for (int i = 0; i < 6; ++i) *--p = nullptr;
  c.sp = p;
}
#else
struct Ctx {
  ucontext_t u;
};
inline void ctx_switch(Ctx& from, Ctx& to) { swapcontext(&from.u, &to.u); }
inline void ctx_make(Ctx& c, char* stack, size_t n, void (*fn)()) {
  getcontext(&c.u);
  c.u.uc_stack.ss_sp = stack;
  c.u.uc_stack.ss_size = n;
  c.u.uc_link = nullptr;
  makecontext(&c.u, fn, 0);
}
#endif

enum class Op : uint8_t { none, barrier, syncwarp, shfl, ballot, mma };
inline const char* name(Op o) {
  static const char* n[] = {"-", "__syncthreads", "__syncwarp", "__shfl_*_sync", "__ballot_sync/vote", "wmma"};
  return n[int(o)];
}
enum class St : uint8_t { ready, waiting, done };

struct Site {
  const char* file;
  int line;
};

struct Fiber {
  Ctx ctx;
  char* stack = nullptr;
  uint3 tid{};
  unsigned lin = 0, lane = 0, warp = 0;
  St st = St::done;
  Op op = Op::none;
  Site site{};
  unsigned mask = 0;
  unsigned long pending_async = 0;
  struct Copy {
    void* d;
    const void* s;
    size_t n;
  };
  std::vector<Copy> open;  // cp.async not yet committed
  std::deque<std::vector<Copy>> groups;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan = nullptr;
  char tok[2] = {0, 0};  // released into before each warp op, by parity
  unsigned nwarp = 0, nfull = 0, nbar = 0;
  void* acq[32];
  int nacq = 0;  // what the released op orders before us
#endif
};

struct Warp {
  unsigned char slot[32][512];  // what the lanes handed in
  char tok[2] = {0, 0};
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned> worder, lorder;
  Ctx main;
  Fiber* cur = nullptr;
  uint3 bid{};
  dim3 bdim, gdim;
  unsigned nthreads = 0;
  const std::function<void()>* body = nullptr;
  std::string err;
  const char* kernel = "?";
  // shared memory of the running block
  static constexpr size_t arena_n = 512 * 1024;
  unsigned char* arena = nullptr;
  size_t dyn_bytes = 0, stat_off = 0, stat_bytes = 0;
  struct Var {
    const void* key;
    size_t off;
  };
  std::vector<Var> vars;
  uint64_t launches = 0, switches = 0;
  size_t last_static_smem = 0;
  bool in_kernel = false;
#if defined(__SANITIZE_ADDRESS__)
  const void* main_stack = nullptr;
  size_t main_stack_n = 0;
  void* main_fake = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* main_tsan = nullptr;
  char bar_token[2] = {0, 0}, start_token = 0, end_token = 0;
#endif
};
inline Machine& M() {
  static Machine m;
  return m;
}

inline std::string where(const Fiber& f) {
  char b[256];
  snprintf(b, sizeof b, "thread (%u,%u,%u) at %s %s:%d", f.tid.x, f.tid.y, f.tid.z, name(f.op),
           f.site.file ? f.site.file : "?", f.site.line);
  return b;
}

inline void to_main() {
  Machine& m = M();
  Fiber* f = m.cur;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&f->fake, m.main_stack, m.main_stack_n);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(m.main_tsan, __tsan_switch_to_fiber_no_sync);
#endif
  ctx_switch(f->ctx, m.main);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f->fake, &m.main_stack, &m.main_stack_n);
#endif
}
inline void to_fiber(Fiber* f) {
  Machine& m = M();
  m.cur = f;
  ++m.switches;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&m.main_fake, f->stack, settings().stack);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(f->tsan, __tsan_switch_to_fiber_no_sync);
#endif
  ctx_switch(m.main, f->ctx);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(m.main_fake, nullptr, nullptr);
#endif
  m.cur = nullptr;
}
#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread")))
#endif
inline void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &M().main_stack, &M().main_stack_n);
#endif
  for (;;) {
    Machine& m = M();
    Fiber* f = m.cur;
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&m.start_token);
#endif
    try {
      (*m.body)();
    } catch (const std::exception& e) {
      if (m.err.empty()) m.err = e.what();
    }
    if ((!f->open.empty() || !f->groups.empty()) && m.err.empty())
      m.err = "a thread ended with cp.async copies that it never waited for";
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&m.end_token);
#endif
    f->st = St::done;
    f->op = Op::none;
    to_main();
  }
}
inline Fiber& fiber(unsigned i) {
  Machine& m = M();
  while (m.fibers.size() <= i) {
    auto f = std::make_unique<Fiber>();
    size_t n = settings().stack, pg = 4096;
    char* p = static_cast<char*>(
        mmap(nullptr, n + pg, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (p == MAP_FAILED) throw Error("no memory for fiber stacks");
    mprotect(p, pg, PROT_NONE);
    f->stack = p + pg;
    ctx_make(f->ctx, f->stack, n, fiber_main);
#if defined(__SANITIZE_THREAD__)
    f->tsan = __tsan_create_fiber(0);
#endif
    m.fibers.push_back(std::move(f));
  }
  return *m.fibers[i];
}

inline void fail(const std::string& s) {
  Machine& m = M();
  if (m.err.empty()) m.err = s;
  throw Error(s);
}

// wait at a rendezvous; returns when every member arrived
inline void rendezvous(Op op, unsigned mask, const char* file, int line) {
  Machine& m = M();
  Fiber* f = m.cur;
  if (!f) throw Error("device function called outside a kernel");
  f->op = op;
  f->mask = mask;
  f->site = {file, line};
  f->st = St::waiting;
#if defined(__SANITIZE_THREAD__)
  // two tokens by turns: a thread that runs ahead to the next barrier must not
  // look ordered before one that has not yet left this one
  void* tok = op == Op::barrier ? (void*)&m.bar_token[f->nbar++ & 1]
              : mask == ~0u     ? (void*)&m.warps[f->warp].tok[f->nfull++ & 1]
                                : (void*)&f->tok[f->nwarp & 1];
  __tsan_release(tok);
#endif
  to_main();
#if defined(__SANITIZE_THREAD__)
  if (op == Op::barrier || mask == ~0u)
    __tsan_acquire(tok);
  else {
    ++f->nwarp;
    for (int i = 0; i < f->nacq; ++i) __tsan_acquire(f->acq[i]);
  }
#endif
  if (!m.err.empty()) throw Error(m.err);
}

// releases complete warp rendezvous of warp w; true if some lane became ready
inline bool release_warp(unsigned w) {
  Machine& m = M();
  unsigned base = w * 32, n = std::min(32u, m.nthreads - base);
  bool any = false;
  for (unsigned l = 0; l < n; ++l) {
    Fiber& f = *m.fibers[base + l];
    if (f.st != St::waiting || f.op == Op::barrier) continue;
    if (!(f.mask >> l & 1)) {
      m.err = where(f) + ": its own lane is not in the mask";
      return false;
    }
    bool all = true;
    for (unsigned k = 0; k < 32 && all; ++k)
      if (f.mask >> k & 1) {
        if (k >= n || m.fibers[base + k]->st == St::done) {
          if (k >= n && m.nthreads % 32) {
            char b[300];
            snprintf(b, sizeof b, "%s: mask %08x names lane %u, which does not exist in a block of %u threads",
                     where(f).c_str(), f.mask, k, m.nthreads);
            m.err = b;
            return false;
          }
          m.err = where(f) + ": mask names a lane that has exited";
          return false;
        }
        Fiber& g = *m.fibers[base + k];
        if (g.st != St::waiting || g.op == Op::barrier)
          all = false;
        else if (g.op != f.op || g.mask != f.mask || g.site.line != f.site.line) {
          if (g.mask & f.mask) {
            m.err = "warp op divergence: " + where(f) + " vs " + where(g);
            return false;
          }
          all = false;
        }
      }
#if defined(__SANITIZE_THREAD__)
    if (all && f.mask != ~0u)
      for (unsigned k = 0; k < 32; ++k)
        if (f.mask >> k & 1) {
          Fiber& g = *m.fibers[base + k];
          g.nacq = 0;
          for (unsigned j = 0; j < 32; ++j)
            if (f.mask >> j & 1) {
              Fiber& h = *m.fibers[base + j];
              g.acq[g.nacq++] = &h.tok[h.nwarp & 1];
            }
        }
#endif
    if (all) {
      for (unsigned k = 0; k < 32; ++k)
        if (f.mask >> k & 1) m.fibers[base + k]->st = St::ready;
      any = true;
    }
  }
  return any;
}

#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread")))
#endif
inline void run_block(Rng& rng) {
  Machine& m = M();
  const uint64_t seed = settings().seed;
  const unsigned nw = (m.nthreads + 31) / 32;
  m.vars.clear();
  m.stat_off = 0;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(m.arena, m.arena_n);
#endif
  // poison: float NaN / int -1 in what this block may use
  std::memset(m.arena, 0xff, ((m.dyn_bytes + 255) & ~size_t(255)) + 256 + std::max<size_t>(m.last_static_smem, 4096));
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(m.arena, m.arena_n);
  __asan_unpoison_memory_region(m.arena, m.dyn_bytes);
#endif
  m.stat_off = ((m.dyn_bytes + 255) & ~size_t(255)) + 256;
  m.stat_bytes = 0;
  for (unsigned i = 0; i < m.nthreads; ++i) {
    Fiber& f = *m.fibers[i];
    f.st = St::ready;
    f.op = Op::none;
    f.lin = i;
    f.lane = i & 31;
    f.warp = i >> 5;
    f.tid = {i % m.bdim.x, i / m.bdim.x % m.bdim.y, i / m.bdim.x / m.bdim.y};
    f.open.clear();
    f.groups.clear();
  }
  if (m.worder.size() != nw) {
    m.worder.resize(nw);
  }
  for (unsigned i = 0; i < nw; ++i) m.worder[i] = seed == 1 ? nw - 1 - i : i;
  m.lorder.resize(32);
  for (unsigned i = 0; i < 32; ++i) m.lorder[i] = seed == 1 ? 31 - i : i;
#if defined(__SANITIZE_THREAD__)
  __tsan_release(&m.start_token);
#endif
  unsigned left = m.nthreads;
  while (left) {
    if (seed > 1) shuffle(m.worder, rng);
    bool ran = false;
    for (unsigned w : m.worder) {
      for (;;) {
        if (seed > 1) shuffle(m.lorder, rng);
        bool r = false;
        for (unsigned l : m.lorder) {
          unsigned i = w * 32 + l;
          if (i >= m.nthreads) continue;
          Fiber& f = *m.fibers[i];
          if (f.st != St::ready) continue;
          to_fiber(&f);
          r = true;
          if (f.st == St::done) --left;
          if (!m.err.empty()) goto drain;
        }
        if (!r) break;
        ran = true;
        release_warp(w);
        if (!m.err.empty()) goto drain;
      }
    }
    if (!left) break;
    // everything is stuck: a barrier, or a fault
    {
      Fiber* first = nullptr;
      bool any = false;
      for (unsigned i = 0; i < m.nthreads; ++i) {
        Fiber& f = *m.fibers[i];
        if (f.st == St::waiting && f.op == Op::barrier) {
          any = true;
          if (!first) first = &f;
        }
      }
      for (unsigned i = 0; i < m.nthreads; ++i) {
        Fiber& f = *m.fibers[i];
        if (f.st == St::done && any) {
          char b[400];
          snprintf(b, sizeof b, "barrier divergence: %s, but thread (%u,%u,%u) has exited", where(*first).c_str(),
                   f.tid.x, f.tid.y, f.tid.z);
          m.err = b;
          goto drain;
        }
        if (f.st == St::waiting && f.op != Op::barrier) {
          m.err =
              any ? "barrier divergence: " + where(*first) + " vs " + where(f) : "warp op never completes: " + where(f);
          goto drain;
        }
        if (f.st == St::waiting && first &&
            (f.site.line != first->site.line || strcmp(f.site.file, first->site.file))) {
          m.err = "barrier divergence: " + where(*first) + " vs " + where(f);
          goto drain;
        }
      }
      for (unsigned i = 0; i < m.nthreads; ++i)
        if (m.fibers[i]->st == St::waiting) m.fibers[i]->st = St::ready;
    }
    (void)ran;
  }
  m.last_static_smem = m.stat_bytes;
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(&m.end_token);
#endif
  return;
drain:  // unwind every fiber: a waiting one throws when it is resumed
  for (unsigned i = 0; i < m.nthreads; ++i) {
    Fiber& f = *m.fibers[i];
    if (f.st == St::waiting) {
      f.st = St::ready;
      to_fiber(&f);
    }
    f.st = St::done;
  }
}

// the named device memory
struct DeviceMemory {
  static constexpr size_t cap = size_t(8) << 30, red = 256;
  unsigned char* base = nullptr;
  size_t top = 0;
  std::map<size_t, size_t> live, holes;  // offset -> bytes
  bool open = true;
  int depth = 0;
  DeviceMemory() {
    base = static_cast<unsigned char*>(
        mmap(nullptr, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (base == MAP_FAILED) {
      perror("cuda_host: mmap");
      abort();
    }
  }
  bool owns(const void* p) const {
    auto q = static_cast<const unsigned char*>(p);
    return q >= base && q < base + cap;
  }
  size_t span() const { return (top + 4095) & ~size_t(4095); }
  void protect(bool on) {
    if (!true || !top) return;
    mprotect(base, span(), on ? PROT_NONE : PROT_READ | PROT_WRITE);
    open = !on;
  }
  void* alloc(size_t n) {
    size_t need = ((n + 255) & ~size_t(255)) + red;
    size_t off = ~size_t(0);
    for (auto it = holes.begin(); it != holes.end(); ++it)
      if (it->second >= need) {
        off = it->first;
        size_t rest = it->second - need;
        holes.erase(it);
        if (rest) holes[off + need] = rest;
        break;
      }
    if (off == ~size_t(0)) {
      if (top + need + red > cap) return nullptr;
      off = top ? top : red;
      protect(false);
      top = off + need;
    }
    protect(false);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(base + off, need);
    __asan_unpoison_memory_region(base + off, n);
#endif
    std::memset(base + off, 0xff, n);
    live[off] = n;
    if (!depth) protect(true);
    return base + off;
  }
  bool free(void* p) {
    auto it = owns(p) ? live.find(size_t(static_cast<unsigned char*>(p) - base)) : live.end();
    if (it == live.end()) return false;
    size_t need = ((it->second + 255) & ~size_t(255)) + red;
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(base + it->first, need);
#endif
    holes[it->first] = need;
    live.erase(it);
    return true;
  }
  bool inside(const void* p, size_t n) const {
    if (!owns(p)) return false;
    size_t o = size_t(static_cast<const unsigned char*>(p) - base);
    auto it = live.upper_bound(o);
    if (it == live.begin()) return false;
    --it;
    return o + n <= it->first + it->second;
  }
};
inline DeviceMemory& dev() {
  static DeviceMemory d;
  return d;
}
struct Unlock {
  Unlock() {
    if (dev().depth++ == 0) dev().protect(false);
  }
  ~Unlock() {
    if (--dev().depth == 0) dev().protect(true);
  }
};

struct Stream {
  std::deque<std::function<void()>> q;
  std::vector<std::function<void()>>* capture = nullptr;
};
struct Event {
  std::shared_ptr<bool> done;
  Stream* s = nullptr;
};
inline std::vector<Stream*>& streams() {
  static Stream def;
  static std::vector<Stream*> v{&def};
  return v;
}
inline Stream* resolve(Stream* s) { return s ? s : streams()[0]; }
inline int& sticky() {
  static int e = 0;
  return e;
}
inline void drain(Stream* s) {
  while (!s->q.empty()) {
    auto f = std::move(s->q.front());
    s->q.pop_front();
    f();
  }
}
inline void drain_all() {
  for (auto* s : streams()) drain(s);
}
inline std::recursive_mutex& lock() {
  static std::recursive_mutex m;
  return m;
}
inline void submit(Stream* s, std::function<void()> f) {
  const std::lock_guard guard(lock());
  if (s && s->capture) {
    s->capture->push_back(std::move(f));
    return;
  }
  if (!s) {  // legacy default stream: orders with every other stream
    for (size_t i = 1; i < streams().size(); ++i) drain(streams()[i]);
  } else
    drain(streams()[0]);
  s = resolve(s);
  s->q.push_back(std::move(f));
  if (!true) drain(s);
}
inline std::map<const void*, size_t>& pinned() {
  static std::map<const void*, size_t> p;
  return p;
}
inline bool is_pinned(const void* p) {
  auto it = pinned().upper_bound(p);
  if (it == pinned().begin()) return false;
  --it;
  return p < static_cast<const char*>(it->first) + it->second;
}
inline std::map<const void*, size_t>& func_smem() {
  static std::map<const void*, size_t> m;
  return m;
}

template <class T>
void check_arg(const T& a, int i) {
  if constexpr (std::is_pointer_v<T>)
    if (a && !dev().owns(a)) {
      char b[120];
      snprintf(b, sizeof b, "kernel argument %d is a host pointer", i);
      throw Error(b);
    }
}

template <class... K>
void run_grid(const char* kname, void (*kernel)(K...), dim3 grid, dim3 block, size_t smem, std::tuple<K...>& args) {
  Machine& m = M();
  if (!m.arena) {
    m.arena = static_cast<unsigned char*>(
        mmap(nullptr, m.arena_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  Unlock u;
  Hidden hide;
  m.nthreads = block.x * block.y * block.z;
  m.bdim = block;
  m.gdim = grid;
  m.dyn_bytes = smem;
  m.kernel = kname;
  m.err.clear();
  for (unsigned i = 0; i < m.nthreads; ++i) fiber(i);
  m.warps.resize((m.nthreads + 31) / 32);
  std::function<void()> body = [&] { std::apply(kernel, args); };
  m.body = &body;
  ++m.launches;
  m.last_static_smem = 65536;
  m.in_kernel = true;
#if defined(__SANITIZE_THREAD__)
  m.main_tsan = __tsan_get_current_fiber();
  for (unsigned i = 0; i < m.nthreads; ++i) {  // order the host before the kernel
    __tsan_release(m.fibers[i].get());
  }
#endif
  Rng rng{settings().seed * 0x9e3779b97f4a7c15ull + m.launches};
  uint64_t nb = uint64_t(grid.x) * grid.y * grid.z;
  uint64_t step = 1, off = 0;
  if (settings().seed > 1 && nb > 1) {
    off = rng.next() % nb;
    do step = rng.next() % nb | 1;
    while (std::__gcd(step, nb) != 1);
  }
  for (uint64_t b = 0; b < nb; ++b) {
    uint64_t k = settings().seed == 1 ? nb - 1 - b : (off + b * step) % nb;
    m.bid = {unsigned(k % grid.x), unsigned(k / grid.x % grid.y), unsigned(k / grid.x / grid.y)};
    run_block(rng);
    if (!m.err.empty()) break;
  }
  m.in_kernel = false;
  m.body = nullptr;
  if (!m.err.empty()) {
    char b[160];
    snprintf(b, sizeof b, " [kernel %s, block (%u,%u,%u)]", kname, m.bid.x, m.bid.y, m.bid.z);
    throw Error(m.err + b);
  }
}

// static shared memory with its own redzone; every variable has one key
template <class T>
T& shared_var(const void* key) {
  Hidden hide;
  Machine& m = M();
  for (auto& v : m.vars)
    if (v.key == key) return *reinterpret_cast<T*>(m.arena + v.off);
  size_t al = std::max<size_t>(alignof(T), 16), off = (m.stat_off + al - 1) / al * al;
  m.stat_bytes += sizeof(T);
  if (m.dyn_bytes + m.stat_bytes > settings().shared_most || m.stat_bytes > settings().shared_default)
    fail("too much shared memory");
  if (off + sizeof(T) + 128 > m.arena_n) fail("shared memory arena exhausted");
  m.stat_off = off + sizeof(T) + 128;
  m.vars.push_back({key, off});
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(m.arena + off, sizeof(T));
#endif
  return *reinterpret_cast<T*>(m.arena + off);
}
inline void* dyn_shared() { return M().arena; }

template <class T>
T shfl(T v, unsigned mask, unsigned src, bool in_range, const char* file, int line) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 512);
  Machine& m = M();
  Fiber* f = m.cur;
  Warp& w = m.warps[f->warp];
  std::memcpy(w.slot[f->lane], &v, sizeof v);
  rendezvous(Op::shfl, mask, file, line);
  T r = v;
  if (in_range) {
    if (!(mask >> src & 1)) fail(where(*f) + ": reads a lane that is not in the mask");
    std::memcpy(&r, w.slot[src], sizeof r);
  }
  rendezvous(Op::syncwarp, mask, file, -line);
  return r;
}
inline unsigned ballot(bool p, unsigned mask, const char* file, int line) {
  Machine& m = M();
  Fiber* f = m.cur;
  Warp& w = m.warps[f->warp];
  w.slot[f->lane][0] = p;
  rendezvous(Op::ballot, mask, file, line);
  unsigned r = 0;
  for (unsigned l = 0; l < 32; ++l)
    if (mask >> l & 1) r |= unsigned(w.slot[l][0] & 1) << l;
  rendezvous(Op::syncwarp, mask, file, -line);
  return r;
}
}  // namespace cuhost

// --------------------------------------------------------- device builtins
#define threadIdx (::cuhost::M().cur->tid)
#define blockIdx (::cuhost::M().bid)
#define blockDim (::cuhost::M().bdim)
#define gridDim (::cuhost::M().gdim)
constexpr int warpSize = 32;
#define __syncthreads() ::cuhost::rendezvous(::cuhost::Op::barrier, 0, __FILE__, __LINE__)
#define CUHOST_LOC const char *file = __builtin_FILE(), int line = __builtin_LINE()
inline void __syncwarp(unsigned mask = 0xffffffffu, CUHOST_LOC) {
  cuhost::rendezvous(cuhost::Op::syncwarp, mask, file, line);
}
template <class T>
T __shfl_sync(unsigned m, T v, int src, int width = 32, CUHOST_LOC) {
  unsigned l = cuhost::M().cur->lane;
  return cuhost::shfl(v, m, (l & ~(width - 1)) + (unsigned(src) & (width - 1)), true, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int width = 32, CUHOST_LOC) {
  unsigned l = cuhost::M().cur->lane, s = l ^ unsigned(x);
  return cuhost::shfl(v, m, s & 31, s < ((l & ~(width - 1)) + width), file, line);
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int width = 32, CUHOST_LOC) {
  unsigned l = cuhost::M().cur->lane;
  return cuhost::shfl(v, m, (l + d) & 31, (l & (width - 1)) + d < unsigned(width), file, line);
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int width = 32, CUHOST_LOC) {
  unsigned l = cuhost::M().cur->lane;
  return cuhost::shfl(v, m, (l - d) & 31, (l & (width - 1)) >= d, file, line);
}
inline unsigned __ballot_sync(unsigned m, int p, CUHOST_LOC) { return cuhost::ballot(p, m, file, line); }
inline int __any_sync(unsigned m, int p, CUHOST_LOC) { return cuhost::ballot(p, m, file, line) != 0; }
inline int __all_sync(unsigned m, int p, CUHOST_LOC) { return cuhost::ballot(p, m, file, line) == m; }
inline unsigned __activemask() { return 0xffffffffu; }
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
T cuhost_atomic(T* p, T v, T (*f)(T, T)) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  auto q = reinterpret_cast<U*>(p);
  U o = __atomic_load_n(q, __ATOMIC_RELAXED), n;
  T t, r;
  do {
    std::memcpy(&t, &o, sizeof t);
    r = f(t, v);
    std::memcpy(&n, &r, sizeof n);
  } while (!__atomic_compare_exchange_n(q, &o, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return t;
}
template <class T, class V>
T atomicAdd(T* p, V v) {
  return cuhost_atomic<T>(p, T(v), [](T a, T b) { return T(a + b); });
}
template <class T, class V>
T atomicMax(T* p, V v) {
  return cuhost_atomic<T>(p, T(v), [](T a, T b) { return a < b ? b : a; });
}
template <class T, class V>
T atomicMin(T* p, V v) {
  return cuhost_atomic<T>(p, T(v), [](T a, T b) { return b < a ? b : a; });
}
template <class T, class V>
T atomicExch(T* p, V v) {
  return cuhost_atomic<T>(p, T(v), [](T, T b) { return b; });
}
template <class T>
T atomicCAS(T* p, T c, T v) {
  T o = *p;
  if (o == c) *p = v;
  return o;
}  // one OS thread: indivisible
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) {
  volatile float r = a * b;
  return r;
}
inline float __uint_as_float(unsigned u) { return cuhost::bits_to_float(u); }
inline unsigned __float_as_uint(float f) { return cuhost::float_to_bits(f); }
inline int __float_as_int(float f) { return int(cuhost::float_to_bits(f)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
using std::max;
using std::min;
// cp.async (cuda_pipeline_primitives.h): bytes arrive only at the wait
inline void __pipeline_memcpy_async(void* d, const void* s, size_t n, size_t zfill = 0) {
  if (n != 4 && n != 8 && n != 16) cuhost::fail("cp.async: size must be 4, 8 or 16");
  if ((reinterpret_cast<uintptr_t>(d) | reinterpret_cast<uintptr_t>(s)) % n)
    cuhost::fail("cp.async: misaligned address");
  std::memset(d, 0xff, n);
  if (zfill) std::memset(static_cast<char*>(d) + (n - zfill), 0, zfill);
  cuhost::M().cur->open.push_back({d, s, n - zfill});
}
inline void __pipeline_commit() {
  auto* f = cuhost::M().cur;
  f->groups.push_back(std::move(f->open));
  f->open.clear();
}
inline void __pipeline_wait_prior(size_t k) {
  auto* f = cuhost::M().cur;
  while (f->groups.size() > k) {
    for (auto& c : f->groups.front()) std::memcpy(c.d, c.s, c.n);
    f->groups.pop_front();
  }
}

// ------------------------------------------------------------ runtime API
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorECCUncorrectable = 214,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorUnknown = 999
};
enum cudaDeviceAttr {
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};
namespace cuhost {
struct Graph {
  std::vector<std::function<void()>> nodes;
};
}  // namespace cuhost
using cudaGraph_t = cuhost::Graph*;
using cudaGraphExec_t = cuhost::Graph*;
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2 };
using cudaStream_t = cuhost::Stream*;
using cudaEvent_t = cuhost::Event*;
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin;
  int multiProcessorCount, major, minor, warpSize, maxThreadsPerBlock, l2CacheSize;
};
inline std::string& cuhost_last_message() {
  static std::string s;
  return s;
}
inline cudaError_t cuhost_set(int e, const std::string& msg = "") {
  if (e) {
    cuhost::sticky() = e;
    cuhost_last_message() = msg;
  }
  return cudaError_t(e);
}
inline cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) {
  *d = 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {"cuda_host (CPU, tests only)",
        cuhost::DeviceMemory::cap,
        cuhost::settings().shared_default,
        cuhost::settings().shared_most,
        4,
        8,
        0,
        32,
        1024,
        1 << 20};
  return cudaSuccess;
}
inline const char* cudaGetErrorName(cudaError_t e) {
  return e == cudaSuccess                     ? "cudaSuccess"
         : e == cudaErrorInvalidConfiguration ? "cudaErrorInvalidConfiguration"
         : e == cudaErrorLaunchFailure        ? "cudaErrorLaunchFailure"
         : e == cudaErrorMemoryAllocation     ? "cudaErrorMemoryAllocation"
                                              : "cudaErrorInvalidValue";
}
inline const char* cudaGetErrorString(cudaError_t e) {
  return e && !cuhost_last_message().empty() ? cuhost_last_message().c_str() : cudaGetErrorName(e);
}
inline cudaError_t cudaGetLastError() {
  int e = cuhost::sticky();
  cuhost::sticky() = 0;
  return cudaError_t(e);
}
inline cudaError_t cudaPeekAtLastError() { return cudaError_t(cuhost::sticky()); }
template <class T>
cudaError_t cudaMalloc(T** p, size_t n) {
  const std::lock_guard guard(cuhost::lock());
  *p = static_cast<T*>(cuhost::dev().alloc(n));
  return *p ? cudaSuccess : cuhost_set(cudaErrorMemoryAllocation);
}
inline cudaError_t cuhost_guard(const std::function<void()>& f) {
  const std::lock_guard guard(cuhost::lock());
  try {
    f();
    return cudaSuccess;
  } catch (const cuhost::Error& e) {
    return cuhost_set(cudaErrorLaunchFailure, e.what());
  }
}
inline cudaError_t cudaDeviceSynchronize() {
  auto r = cuhost_guard([] { cuhost::drain_all(); });
  return r ? r : cudaError_t(cuhost::sticky());
}
inline cudaError_t cudaFree(void* p) {
  const std::lock_guard guard(cuhost::lock());
  if (!p) return cudaSuccess;
  auto r = cudaDeviceSynchronize();
  if (r) return r;
  return cuhost::dev().free(p) ? cudaSuccess : cuhost_set(cudaErrorInvalidValue, "cudaFree of an unknown pointer");
}
template <class T>
cudaError_t cudaMallocAsync(T** p, size_t n, cudaStream_t) {
  return cudaMalloc(p, n);
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t s) {
  cuhost::submit(s, [p] {
    if (p && !cuhost::dev().free(p)) throw cuhost::Error("cudaFreeAsync of an unknown pointer");
  });
  return cudaSuccess;
}
template <class T>
cudaError_t cudaMallocHost(T** p, size_t n) {
  *p = static_cast<T*>(malloc(n ? n : 1));
  cuhost::pinned()[*p] = n;
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* p) {
  cudaDeviceSynchronize();
  cuhost::pinned().erase(p);
  free(p);
  return cudaSuccess;
}
inline void cuhost_copy(void* d, const void* s, size_t n, cudaMemcpyKind k) {
  bool dd = cuhost::dev().owns(d), sd = cuhost::dev().owns(s);
  if ((k == cudaMemcpyHostToDevice && (!dd || sd)) || (k == cudaMemcpyDeviceToHost && (dd || !sd)) ||
      (k == cudaMemcpyDeviceToDevice && !(dd && sd)))
    throw cuhost::Error("cudaMemcpy: direction does not fit the pointers");
  if ((dd && !cuhost::dev().inside(d, n)) || (sd && !cuhost::dev().inside(s, n)))
    throw cuhost::Error("cudaMemcpy: outside the device allocation");
  cuhost::Unlock u;
  std::memcpy(d, s, n);
}
inline cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind k, cudaStream_t st = nullptr) {
  if (!cuhost::dev().owns(s) && !cuhost::is_pinned(s)) {  // pageable source: staged now
    auto buf = std::make_shared<std::vector<char>>(static_cast<const char*>(s), static_cast<const char*>(s) + n);
    cuhost::submit(st, [=] { cuhost_copy(d, buf->data(), n, k); });
  } else if (!cuhost::dev().owns(d) && !cuhost::is_pinned(d)) {  // pageable destination: synchronous
    return cuhost_guard([&] {
      cuhost::submit(st, [=] { cuhost_copy(d, s, n, k); });
      cuhost::drain(cuhost::resolve(st));
    });
  } else
    cuhost::submit(st, [=] { cuhost_copy(d, s, n, k); });
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind k) {
  return cuhost_guard([&] {
    cuhost::drain_all();
    cuhost_copy(d, s, n, k);
  });
}
inline cudaError_t cudaMemsetAsync(void* d, int v, size_t n, cudaStream_t st = nullptr) {
  cuhost::submit(st, [=] {
    if (!cuhost::dev().inside(d, n)) throw cuhost::Error("cudaMemset: outside the device allocation");
    cuhost::Unlock u;
    std::memset(d, v, n);
  });
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  cuhost::streams().push_back(*s = new cuhost::Stream);
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* s) { return cudaStreamCreateWithFlags(s, 0); }
inline cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  return cuhost_guard([&] {
    if (s) {
      cuhost::drain(cuhost::streams()[0]);
      cuhost::drain(s);
    } else
      cuhost::drain_all();
  });
}
inline cudaError_t cudaStreamDestroy(cudaStream_t s) {
  const std::lock_guard guard(cuhost::lock());
  auto r = cudaStreamSynchronize(s);
  auto& v = cuhost::streams();
  v.erase(std::find(v.begin(), v.end(), s));
  delete s;
  return r;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = new cuhost::Event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s = nullptr) {
  e->done = std::make_shared<bool>(false);
  e->s = cuhost::resolve(s);
  auto d = e->done;
  cuhost::submit(s, [d] { *d = true; });
  return cudaSuccess;
}
inline void cuhost_event_wait(std::shared_ptr<bool> d, cuhost::Stream* s) {
  while (d && !*d && !s->q.empty()) {
    auto f = std::move(s->q.front());
    s->q.pop_front();
    f();
  }
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned = 0) {
  auto d = e->done;
  auto* es = e->s;
  cuhost::submit(s, [=] { cuhost_event_wait(d, es); });
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  return cuhost_guard([&] { cuhost_event_wait(e->done, e->s); });
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 0;
  return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F* f, cudaFuncAttribute, int v) {
  if (size_t(v) > cuhost::settings().shared_most)
    return cuhost_set(cudaErrorInvalidValue, "more shared memory than the device has");
  cuhost::func_smem()[reinterpret_cast<const void*>(f)] = size_t(v);
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr a, int) {
  *v = a == cudaDevAttrMultiProcessorCount            ? 4
       : a == cudaDevAttrComputeCapabilityMajor       ? 8
       : a == cudaDevAttrMaxSharedMemoryPerBlockOptin ? int(cuhost::settings().shared_most)
                                                      : 0;
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(size_t* f, size_t* t) {
  const std::lock_guard guard(cuhost::lock());
  *t = *f = cuhost::DeviceMemory::cap;
  for (auto& x : cuhost::dev().live) *f -= x.second;
  return cudaSuccess;
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
  bool d = cuhost::dev().owns(p);
  *a = {d ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, d ? 0 : -2, nullptr, nullptr};
  return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  const std::lock_guard guard(cuhost::lock());
  if (!s || s->capture) return cuhost_set(cudaErrorStreamCaptureUnsupported, "this stream cannot be captured");
  s->capture = new std::vector<std::function<void()>>;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
  const std::lock_guard guard(cuhost::lock());
  if (!s->capture) return cuhost_set(cudaErrorInvalidValue, "no capture");
  *g = new cuhost::Graph{std::move(*s->capture)};
  delete s->capture;
  s->capture = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) {
  *e = new cuhost::Graph(*g);
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  auto nodes = e->nodes;
  cuhost::submit(s, [nodes] {
    for (auto& f : nodes) f();
  });
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t g) {
  delete g;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) {
  delete g;
  return cudaSuccess;
}

// ------------------------------------------------------------------ wmma
#if defined(CUHOST_WMMA) || 1
namespace nvcuda {
namespace wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
template <class Use, int Mm, int N, int K>
struct cuhost_dims;
template <int Mm, int N, int K>
struct cuhost_dims<matrix_a, Mm, N, K> {
  static constexpr int r = Mm, c = K;
};
template <int Mm, int N, int K>
struct cuhost_dims<matrix_b, Mm, N, K> {
  static constexpr int r = K, c = N;
};
template <int Mm, int N, int K>
struct cuhost_dims<accumulator, Mm, N, K> {
  static constexpr int r = Mm, c = N;
};
// Element e of lane l is matrix element (l + 32 * perm(e)): any map is legal,
// since CUDA leaves it unspecified; half operands are held twice as on Volta+.
template <class Use, int Mm, int N, int K, class T, class L = void>
struct fragment {
  static constexpr int rows = cuhost_dims<Use, Mm, N, K>::r, cols = cuhost_dims<Use, Mm, N, K>::c;
  static constexpr int per_lane = rows * cols / 32;
  static constexpr int dup = (!std::is_same_v<Use, accumulator> && sizeof(T) == 2) ? 2 : 1;
  static constexpr int num_elements = per_lane * dup;
  static constexpr int num_storage_elements = num_elements;
  using element_type = T;
  T x[num_elements];
};
template <class U, int A, int B, int C, class T, class L>
void fill_fragment(fragment<U, A, B, C, T, L>& f, T v) {
  for (auto& e : f.x) e = v;
}
namespace detail {
inline unsigned lane() { return cuhost::M().cur->lane; }
template <class F>
int row(int e) {
  int lin = int(lane()) + 32 * (e % F::per_lane);
  return lin / F::cols;
}
template <class F>
int col(int e) {
  int lin = int(lane()) + 32 * (e % F::per_lane);
  return lin % F::cols;
}
template <class T>
void check_ptr(const T* p, unsigned ld) {
  if (reinterpret_cast<uintptr_t>(p) % 32) cuhost::fail("wmma: pointer not 32-byte aligned");
  if ((ld * sizeof(T)) % 16) cuhost::fail("wmma: leading dimension not a multiple of 16 bytes");
}
inline void sync(const char* f, int l) { cuhost::rendezvous(cuhost::Op::mma, 0xffffffffu, f, l); }
}  // namespace detail
template <class U, int A, int B, int C, class T, class L, class S>
void load_matrix_sync(fragment<U, A, B, C, T, L>& f, const S* p, unsigned ld, CUHOST_LOC) {
  using F = fragment<U, A, B, C, T, L>;
  detail::check_ptr(p, ld);
  detail::sync(file, line);
  for (int e = 0; e < F::num_elements; ++e) {
    int r = detail::row<F>(e), c = detail::col<F>(e);
    f.x[e] = std::is_same_v<L, row_major> ? p[size_t(r) * ld + c] : p[size_t(c) * ld + r];
  }
  detail::sync(file, -line);
}
template <int A, int B, int C, class T>
void load_matrix_sync(fragment<accumulator, A, B, C, T>& f, const T* p, unsigned ld, layout_t lay, CUHOST_LOC) {
  using F = fragment<accumulator, A, B, C, T>;
  detail::check_ptr(p, ld);
  detail::sync(file, line);
  for (int e = 0; e < F::num_elements; ++e) {
    int r = detail::row<F>(e), c = detail::col<F>(e);
    f.x[e] = lay == mem_row_major ? p[size_t(r) * ld + c] : p[size_t(c) * ld + r];
  }
  detail::sync(file, -line);
}
template <int A, int B, int C, class T>
void store_matrix_sync(T* p, const fragment<accumulator, A, B, C, T>& f, unsigned ld, layout_t lay, CUHOST_LOC) {
  using F = fragment<accumulator, A, B, C, T>;
  detail::check_ptr(p, ld);
  detail::sync(file, line);
  for (int e = 0; e < F::num_elements; ++e) {
    int r = detail::row<F>(e), c = detail::col<F>(e);
    (lay == mem_row_major ? p[size_t(r) * ld + c] : p[size_t(c) * ld + r]) = f.x[e];
  }
  detail::sync(file, -line);
}
template <int A, int B, int C, class T, class S, class LA, class LB>
void mma_sync(fragment<accumulator, A, B, C, S>& d, const fragment<matrix_a, A, B, C, T, LA>& a,
              const fragment<matrix_b, A, B, C, T, LB>& b, const fragment<accumulator, A, B, C, S>& c, CUHOST_LOC) {
  using FA = fragment<matrix_a, A, B, C, T, LA>;
  using FB = fragment<matrix_b, A, B, C, T, LB>;
  using FC = fragment<accumulator, A, B, C, S>;
  cuhost::Machine& m = cuhost::M();
  auto& w = m.warps[m.cur->warp];
  static_assert(sizeof(T) * (FA::per_lane + FB::per_lane) <= 512);
  T* s = reinterpret_cast<T*>(w.slot[m.cur->lane]);
  for (int e = 0; e < FA::per_lane; ++e) s[e] = a.x[e];
  for (int e = 0; e < FB::per_lane; ++e) s[FA::per_lane + e] = b.x[e];
  detail::sync(file, line);
  for (int e = 0; e < FC::num_elements; ++e) {
    int r = detail::row<FC>(e), cc = detail::col<FC>(e);
    float acc = float(c.x[e]);
    for (int k = 0; k < C; ++k) {
      int la = r * FA::cols + k, lb = k * FB::cols + cc;
      float av = float(reinterpret_cast<T*>(w.slot[la % 32])[la / 32]),
            bv = float(reinterpret_cast<T*>(w.slot[lb % 32])[FA::per_lane + lb / 32]);
      acc = fmaf(av, bv, acc);
    }
    d.x[e] = S(acc);
  }
  detail::sync(file, -line);
}
}  // namespace wmma
}  // namespace nvcuda
#endif
