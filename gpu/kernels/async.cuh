// Copies from global to shared memory that go on beside the arithmetic: `cp.async`, PTX ISA 8.0, "Data Movement and Conversion Instructions", for sm_80
// and newer; and the same on the software device, where a copy arrives only when it is waited for.
//
//   copy_async<BYTES>(to, from)            BYTES: 4, 8 or 16, to which both are aligned
//   copy_async<BYTES>(to, from, inside)    zeros if not inside; `from` is not read then
//   copy_commit()                          those since the last one are a group
//   copy_wait<N>()                         all groups but the last N have arrived; for other threads' copies, a barrier after it
#pragma once

template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside = true)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef SOFTWARE_CUDA
    soft_copy_async(to, from, BYTES, inside ? BYTES : 0);
#else
    const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    if (BYTES == 16) // past the first-level cache, which the other widths cannot go past
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(inside ? 16 : 0) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(BYTES), "r"(inside ? BYTES : 0) : "memory");
#endif
}

__device__ __forceinline__ void copy_commit()
{
#ifdef SOFTWARE_CUDA
    soft_copy_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int N>
__device__ __forceinline__ void copy_wait()
{
#ifdef SOFTWARE_CUDA
    soft_copy_wait(N);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
