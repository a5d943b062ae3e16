// CUDA C++ for g++: what a kernel may use, and the few calls into the software device behind it.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define SOFTWARE_CUDA 1
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
// Neither checked, nor mixed with code that is.
#define SOFT_PLAIN __attribute__((noipa, no_sanitize("thread")))
// Part of what calls it, checked or not.
#define SOFT_HOOK __attribute__((always_inline, no_sanitize("thread"))) inline

// ---------------------------------------------------------------- vector types
#define SOFT_VECTOR(T, N, A2, A4)                                                                                     \
  struct N##1 { T x; };                                                                                               \
  struct alignas(A2) N##2 { T x, y; };                                                                                \
  struct N##3 { T x, y, z; };                                                                                         \
  struct alignas(A4) N##4 { T x, y, z, w; };                                                                          \
  inline N##1 make_##N##1(T x) { return {x}; }                                                                        \
  inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                                                \
  inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }                                                        \
  inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SOFT_VECTOR(char, char, 2, 4)
SOFT_VECTOR(unsigned char, uchar, 2, 4)
SOFT_VECTOR(short, short, 4, 8)
SOFT_VECTOR(unsigned short, ushort, 4, 8)
SOFT_VECTOR(int, int, 8, 16)
SOFT_VECTOR(unsigned, uint, 8, 16)
SOFT_VECTOR(long long, longlong, 16, 16)
SOFT_VECTOR(unsigned long long, ulonglong, 16, 16)
SOFT_VECTOR(float, float, 8, 16)
SOFT_VECTOR(double, double, 16, 16)
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// ---------------------------------------------------------------- the device behind the kernel
// Constant to one CUDA thread, so the compiler may keep them in registers; the device writes them between threads.
extern const uint3 threadIdx __asm__("soft_thread") __attribute__((visibility("hidden")));
extern const uint3 blockIdx __asm__("soft_block") __attribute__((visibility("hidden")));
extern const uint3 blockDim __asm__("soft_block_dim") __attribute__((visibility("hidden")));
extern const uint3 gridDim __asm__("soft_grid_dim") __attribute__((visibility("hidden")));
extern char* const soft_dynamic __asm__("soft_dynamic") __attribute__((visibility("hidden")));
asm(".pushsection .bss\n .balign 16\n"
    ".macro soft_index name\n .globl \\name\n .hidden \\name\n \\name: .zero 16\n .endm\n"
    "soft_index soft_thread\n soft_index soft_block\n soft_index soft_block_dim\n soft_index soft_grid_dim\n"
    "soft_index soft_dynamic\n soft_index soft_device\n .zero 32\n .popsection\n");
constexpr int warpSize = 32;

namespace soft {
enum Access : unsigned { READ = 0, WRITE = 1, ATOMIC = 2, WRITE_LATER = 3 };
enum Collective : unsigned { SYNC, SHUFFLE, BALLOT, MATCH };
enum Failure : unsigned { ASSERT, TRAP, INDEX, ALIGNMENT, DIVISION, SHIFT };
struct Device {  // filled by the driver when it loads the module, and by every launch; src/launch.rs
  void (*access_of)(void* launch, const volatile void* address, size_t size, Access kind, void* caller);
  int (*barrier_of)(void* launch, int predicate, int line, int reduction);
  uint64_t (*collective_of)(void* launch, Collective operation, unsigned mask, uint64_t value, unsigned source, int line);
  void (*fail_of)(void* launch, Failure failure, int line, const char* detail, long long value);
  void* launch;
  SOFT_HOOK void access(const volatile void* address, size_t size, Access kind, void* caller) const {
    access_of(launch, address, size, kind, caller);
  }
  SOFT_HOOK int barrier(int predicate, int line, int reduction) const { return barrier_of(launch, predicate, line, reduction); }
  SOFT_HOOK uint64_t collective(Collective operation, unsigned mask, uint64_t value, unsigned source, int line) const {
    return collective_of(launch, operation, mask, value, source, line);
  }
  SOFT_HOOK void fail(Failure failure, int line, const char* detail, long long value) const {
    fail_of(launch, failure, line, detail, value);
  }
};
struct Kernel {
  const char* name;
  void (*run)(void**);
  const size_t* sizes;
  const unsigned char* pointers;  // which parameters are pointers
  size_t parameters, max_threads;
};
extern "C" char __start_soft_shared[] __attribute__((visibility("hidden")));
extern "C" char __stop_soft_shared[] __attribute__((visibility("hidden")));
static char soft_pad_begin[64] __attribute__((section("soft_shared"), used));
struct Module {  // the one symbol a compiled program exports; src/module.rs reads it
  unsigned long long version;  // of the device, and what it checks
  int arch;
  const Device* device;
  const Kernel* kernels;
  size_t kernel_count;
  char *shared_begin, *shared_end;
  const uint3 *thread, *block, *block_dim, *grid_dim;
  char* const* dynamic;
};
extern const Device device __asm__("soft_device") __attribute__((visibility("hidden")));

// Reads the launch's copy of the arguments, which is no device memory.
template <class... A, size_t... I> SOFT_PLAIN void call(void (*f)(A...), void** p, std::index_sequence<I...>) {
  f(*(std::remove_cv_t<A>*)p[I]...);
}
template <class... A> SOFT_PLAIN void invoke(void (*f)(A...), void** p) { call(f, p, std::index_sequence_for<A...>{}); }
template <class F> struct Signature;
template <class... A> struct Signature<void (*)(A...)> {
  static constexpr size_t count = sizeof...(A);
  static constexpr size_t sizes[] = {sizeof(A)..., 0};
  static constexpr unsigned char pointers[] = {std::is_pointer_v<A>..., 0};
};
template <class T> inline uint64_t bits(T v) {
  static_assert(sizeof(T) <= 8);
  uint64_t r = 0;
  memcpy(&r, &v, sizeof v);
  return r;
}
template <class T> inline T from_bits(uint64_t r) {
  T v;
  memcpy(&v, &r, sizeof v);
  return v;
}
// Asynchronous copies of a thread, which arrive when it waits for them and not before: who forgets to wait reads poison. Copies that nobody waits for
// never arrive.
struct Copy {
  char* to;
  const char* from;
  void* caller;
  unsigned bytes, source, group;
};
struct Copies {
  static constexpr unsigned most = 64;
  unsigned count, committed;
  Copy list[most];
};
static Copies soft_copies[1024];
SOFT_PLAIN static Copies& own_copies() {
  return soft_copies[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
}
// What the lanes of a warp hold of the factors of a product of matrices. Each lays it down for the others, in two places in turn: what was laid down for
// one product is read by all before any lane comes to the next but one.
struct Held {
  uint4 a;
  uint2 b;
};
struct Products {
  unsigned turn[32];
  Held held[2][32];
};
static Products soft_products[32];
SOFT_PLAIN static unsigned own_thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
template <auto f> SOFT_PLAIN void run(void** p) {
  Copies& own = own_copies();
  own.count = own.committed = 0;
  soft_products[own_thread() / 32].turn[own_thread() % 32] = 0;
  invoke(f, p);
}
template <auto f> constexpr Kernel kernel(const char* name, size_t max_threads) {
  using S = Signature<decltype(f)>;
  return {name, run<f>, S::sizes, S::pointers, S::count, max_threads};
}
constexpr Module module(const Kernel* kernels, size_t count) {
  return {SOFT_VERSION, __CUDA_ARCH__ / 10, &device, kernels, count, __start_soft_shared, __stop_soft_shared,
          &threadIdx, &blockIdx, &blockDim, &gridDim, &soft_dynamic};
}
// Atomics need no atomic instruction: CUDA threads take turns on one thread of the host.
template <class T, class F> SOFT_PLAIN T update(T* p, F f) {
  device.access(p, sizeof(T), ATOMIC, __builtin_return_address(0));
  T old = *p;
  *p = f(old);
  return old;
}
}  // namespace soft

// g++ -fsanitize=thread calls these before every load and store that another CUDA thread could see.
extern "C" {
__attribute__((used, visibility("hidden"))) void __tsan_init() {}
#define SOFT_TSAN(name, size, kind)                                                                                   \
  __attribute__((used, no_sanitize("thread"), visibility("hidden"))) void __tsan_##name(void* p) {                    \
    soft::device.access(p, size, soft::kind, __builtin_return_address(0));                                            \
  }
#define SOFT_TSAN_SIZE(n) SOFT_TSAN(read##n, n, READ) SOFT_TSAN(write##n, n, WRITE)
SOFT_TSAN_SIZE(1) SOFT_TSAN_SIZE(2) SOFT_TSAN_SIZE(4) SOFT_TSAN_SIZE(8) SOFT_TSAN_SIZE(16)
#define SOFT_TSAN_UNALIGNED(n) SOFT_TSAN(unaligned_read##n, n | 256, READ) SOFT_TSAN(unaligned_write##n, n | 256, WRITE)
SOFT_TSAN_UNALIGNED(2) SOFT_TSAN_UNALIGNED(4) SOFT_TSAN_UNALIGNED(8) SOFT_TSAN_UNALIGNED(16)
#define SOFT_TSAN_RANGE(name, kind)                                                                                   \
  __attribute__((used, no_sanitize("thread"), visibility("hidden"))) void __tsan_##name(void* p, size_t n) {          \
    for (size_t i = 0; i < n; i++) soft::device.access((char*)p + i, 1, soft::kind, __builtin_return_address(0));     \
  }
SOFT_TSAN_RANGE(read_range, READ) SOFT_TSAN_RANGE(write_range, WRITE)
}

// g++ -fsanitize=alignment,bounds,integer-divide-by-zero,shift-exponent calls these where it finds a fault.
namespace soft {
struct Type { uint16_t kind, info; char name[]; };
struct Place { const char* file; unsigned line, column; const Type* type; };
}  // namespace soft
extern "C" {
#define SOFT_UBSAN(handler, kind, value, ...)                                                                            \
  __attribute__((used, no_sanitize("thread"), visibility("hidden"))) void __ubsan_handle_##handler(                    \
      soft::Place* at, uintptr_t a, ##__VA_ARGS__) {                                                                  \
    soft::device.fail(soft::kind, at->line, at->type->name, value);                                                   \
  }
SOFT_UBSAN(out_of_bounds, INDEX, a)
SOFT_UBSAN(type_mismatch_v1, ALIGNMENT, a)
SOFT_UBSAN(divrem_overflow, DIVISION, 0, uintptr_t)
SOFT_UBSAN(shift_out_of_bounds, SHIFT, b, uintptr_t b)
}

// ---------------------------------------------------------------- barriers, warps, atomics
#define SOFT_LINE int line = __builtin_LINE()
inline void __syncthreads(SOFT_LINE) { soft::device.barrier(0, line, 0); }
inline int __syncthreads_or(int p, SOFT_LINE) { return soft::device.barrier(p, line, 0) != 0; }
inline int __syncthreads_and(int p, SOFT_LINE) { return soft::device.barrier(!p, line, 0) == 0; }
inline int __syncthreads_count(int p, SOFT_LINE) { return soft::device.barrier(p, line, 0); }
// What `cp.async` does, under names of our own: copies of 4, 8 or 16 bytes to shared memory, of which the first `source` are read and the rest is
// zero; `commit` makes a group of those since the last one, `wait(n)` waits for all groups but the last n, `wait_all` for all copies.
SOFT_PLAIN static void soft_copy_async(void* to, const void* from, unsigned bytes, unsigned source, SOFT_LINE) {
  soft::Copies& own = soft::own_copies();
  if (bytes != 4 && bytes != 8 && bytes != 16) soft::device.fail(soft::ASSERT, line, "an asynchronous copy has 4, 8 or 16 bytes", 0);
  if (source > bytes) soft::device.fail(soft::ASSERT, line, "an asynchronous copy reads no more than it writes", 0);
  if ((uintptr_t)to % bytes) soft::device.fail(soft::ALIGNMENT, line, "an asynchronous copy", (uintptr_t)to);
  if ((uintptr_t)from % bytes) soft::device.fail(soft::ALIGNMENT, line, "an asynchronous copy", (uintptr_t)from);
  if (own.count == soft::Copies::most) soft::device.fail(soft::ASSERT, line, "at most 64 asynchronous copies of a thread are under way", 0);
  void* caller = __builtin_return_address(0);
  if (source) soft::device.access(from, source, soft::READ, caller);
  soft::device.access(to, bytes, soft::WRITE_LATER, caller);  // a device may write it from now on
  own.list[own.count++] = {(char*)to, (const char*)from, caller, bytes, source, own.committed};
}
SOFT_PLAIN static void soft_deliver(unsigned groups) {
  soft::Copies& own = soft::own_copies();
  unsigned left = 0;
  for (unsigned i = 0; i < own.count; i++) {
    const soft::Copy copy = own.list[i];
    if (copy.group >= groups) {
      own.list[left++] = copy;
      continue;
    }
    soft::device.access(copy.to, copy.bytes, soft::WRITE, copy.caller);
    for (unsigned byte = 0; byte < copy.bytes; byte++) copy.to[byte] = byte < copy.source ? copy.from[byte] : 0;
  }
  own.count = left;
}
SOFT_PLAIN static void soft_copy_commit() { soft::own_copies().committed++; }
SOFT_PLAIN static void soft_copy_wait(unsigned n) {
  const unsigned groups = soft::own_copies().committed;
  soft_deliver(groups > n ? groups - n : 0);
}
SOFT_PLAIN static void soft_copy_wait_all() { soft_deliver(~0u); }
inline void __syncwarp(unsigned m = ~0u, SOFT_LINE) { soft::device.collective(soft::SYNC, m, 0, 0, line); }
inline unsigned soft_lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31; }
// What `mma.sync.m16n8k8` does, under a name of our own: sum + a b, by all lanes of a warp. It waits for all lanes, and like the real one does not order
// what they do to memory.
SOFT_PLAIN static float4 soft_product(float4 sum, uint4 a, uint2 b, SOFT_LINE) {
  const unsigned thread = soft::own_thread(), lane = thread % 32, row = lane & ~3u, column = lane % 4 * 8;
  soft::Products& warp = soft::soft_products[thread / 32];
  soft::Held(&held)[32] = warp.held[warp.turn[lane] ^= 1];
  held[lane] = {a, b};
  soft::device.collective(soft::SHUFFLE, ~0u, 0, lane, line);
  for (unsigned k = 0; k < 8; k++) {
    const soft::Held &rows = held[row + k % 4], &first = held[column + k % 4], &second = held[column + 4 + k % 4];
    const float upper = soft::from_bits<float>(k < 4 ? rows.a.x : rows.a.z), lower = soft::from_bits<float>(k < 4 ? rows.a.y : rows.a.w);
    const float left = soft::from_bits<float>(k < 4 ? first.b.x : first.b.y), right = soft::from_bits<float>(k < 4 ? second.b.x : second.b.y);
    sum = {fmaf(upper, left, sum.x), fmaf(upper, right, sum.y), fmaf(lower, left, sum.z), fmaf(lower, right, sum.w)};
  }
  return sum;
}
template <class T> inline T soft_shuffle(unsigned m, T v, unsigned source, int line) {
  return soft::from_bits<T>(soft::device.collective(soft::SHUFFLE, m, soft::bits(v), source, line));
}
template <class T> inline T __shfl_sync(unsigned m, T v, int s, int w = 32, SOFT_LINE) {
  return soft_shuffle(m, v, (soft_lane() & ~(w - 1)) + (s & (w - 1)), line);
}
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, SOFT_LINE) {
  unsigned l = soft_lane();
  return soft_shuffle(m, v, l + d < (l & ~(w - 1)) + w ? l + d : l, line);
}
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, SOFT_LINE) {
  unsigned l = soft_lane();
  return soft_shuffle(m, v, l >= (l & ~(w - 1)) + d ? l - d : l, line);
}
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, SOFT_LINE) {
  unsigned l = soft_lane(), s = l ^ x;
  return soft_shuffle(m, v, s < (l & ~(w - 1)) + w ? s : l, line);
}
inline unsigned __ballot_sync(unsigned m, int p, SOFT_LINE) {
  return soft::device.collective(soft::BALLOT, m, p != 0, 0, line);
}
inline int __any_sync(unsigned m, int p, SOFT_LINE) { return __ballot_sync(m, p, line) != 0; }
inline int __all_sync(unsigned m, int p, SOFT_LINE) { return __ballot_sync(m, !p, line) == 0; }
template <class T> inline unsigned __match_any_sync(unsigned m, T v, SOFT_LINE) {
  return soft::device.collective(soft::MATCH, m, soft::bits(v), 0, line);
}
#define SOFT_REDUCE(name, T, op)                                                                                      \
  inline T __reduce_##name##_sync(unsigned m, T v, SOFT_LINE) {                                                       \
    T r = v, first = 1;                                                                                               \
    for (int i = 0; i < 32; i++) {                                                                                    \
      if (!(m >> i & 1)) continue;                                                                                    \
      T a = soft_shuffle(m, v, i, line);                                                                              \
      r = first ? a : (op);                                                                                           \
      first = 0;                                                                                                      \
    }                                                                                                                 \
    return r;                                                                                                         \
  }
SOFT_REDUCE(add, unsigned, r + a) SOFT_REDUCE(min, unsigned, a < r ? a : r) SOFT_REDUCE(max, unsigned, a > r ? a : r)
SOFT_REDUCE(and, unsigned, r & a) SOFT_REDUCE(or, unsigned, r | a) SOFT_REDUCE(xor, unsigned, r ^ a)
SOFT_REDUCE(add, int, r + a) SOFT_REDUCE(min, int, a < r ? a : r) SOFT_REDUCE(max, int, a > r ? a : r)
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}

#define SOFT_ATOMIC(name, expression)                                                                                 \
  template <class T, class U> inline T name(T* p, U u) {                                                              \
    T v = (T)u;                                                                                                       \
    return soft::update(p, [v](T o) -> T { return expression; });                                                     \
  }
SOFT_ATOMIC(atomicAdd, o + v) SOFT_ATOMIC(atomicSub, o - v) SOFT_ATOMIC(atomicMax, o > v ? o : v)
SOFT_ATOMIC(atomicMin, o < v ? o : v) SOFT_ATOMIC(atomicExch, v) SOFT_ATOMIC(atomicAnd, o & v)
SOFT_ATOMIC(atomicOr, o | v) SOFT_ATOMIC(atomicXor, o ^ v) SOFT_ATOMIC(atomicInc, o >= v ? 0 : o + 1)
SOFT_ATOMIC(atomicDec, o == 0 || o > v ? v : o - 1)
template <class T, class U, class V> inline T atomicCAS(T* p, U compare, V value) {
  T c = (T)compare, v = (T)value;
  return soft::update(p, [c, v](T o) -> T { return o == c ? v : o; });
}

// ---------------------------------------------------------------- functions
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline void __stcg(T* p, T v) { *p = v; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
template <class A, class B> inline std::common_type_t<A, B> min(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return std::fmin((C)a, (C)b);
  else return (C)b < (C)a ? (C)b : (C)a;
}
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return std::fmax((C)a, (C)b);
  else return (C)a < (C)b ? (C)b : (C)a;
}
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline double rsqrt(double x) { return 1. / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __tanhf(float x) { return tanhf(x); }
inline void sincospif(float x, float* s, float* c) { *s = sinf(x * 3.14159265358979f), *c = cosf(x * 3.14159265358979f); }
inline float __saturatef(float x) { return x > 0.f ? x < 1.f ? x : 1.f : 0.f; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return 1.f / sqrtf(a); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __int_as_float(int i) { return soft::from_bits<float>((unsigned)i); }
inline float __uint_as_float(unsigned i) { return soft::from_bits<float>(i); }
inline int __float_as_int(float f) { return (int)soft::bits(f); }
inline unsigned __float_as_uint(float f) { return (unsigned)soft::bits(f); }
inline double __longlong_as_double(long long i) { return soft::from_bits<double>(i); }
inline long long __double_as_longlong(double f) { return (long long)soft::bits(f); }
inline float __int2float_rn(int i) { return (float)i; }
inline float __uint2float_rn(unsigned i) { return (float)i; }
inline int __float2int_rn(float f) { return (int)nearbyintf(f); }
inline int __float2int_rz(float f) { return (int)f; }
inline int __float2int_rd(float f) { return (int)floorf(f); }
inline unsigned __float2uint_rn(float f) { return (unsigned)nearbyintf(f); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
  return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) {
  return (unsigned)((((uint64_t)hi << 32 | lo) << (s & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) {
  return (unsigned)(((uint64_t)hi << 32 | lo) >> (s & 31));
}
inline unsigned long long clock64() { return __builtin_ia32_rdtsc(); }
inline void __trap(SOFT_LINE) { soft::device.fail(soft::TRAP, line, "", 0); }
#undef assert
#define assert(condition) ((condition) ? (void)0 : soft::device.fail(soft::ASSERT, __LINE__, #condition, 0))
