// A product of matrices by a warp's tensor cores, of TF32 numbers, added to FP32: `mma.sync.aligned.m16n8k8`, PTX ISA 8.0, "Matrix Fragments for
// mma.m16n8k8", for sm_80 and newer; and the same on the software device.
//
// With g = lane / 4 and t = lane % 4, a lane holds of the factors and of the sum
//
//   A [16, 8]  A[g][t]  A[g + 8][t]  A[g][t + 4]  A[g + 8][t + 4]
//   B [8, 8]   B[t][g]  B[t + 4][g]
//   D [16, 8]  D[g][2t]  D[g][2t + 1]  D[g + 8][2t]  D[g + 8][2t + 1]
//
// A tensor core adds in an order and with roundings of its own: the same bits on one kind of device only.
#pragma once

// The nearest TF32 number, which has 10 of the 23 bits of an FP32 number behind the point; ties go away from zero. Hardware ignores the other bits of a
// factor, so that a forgotten rounding is a bias that nobody sees; the software device insists that they are zero.
__device__ __forceinline__ unsigned to_tf32(float value)
{
#ifdef SOFTWARE_CUDA
    const unsigned bits = __float_as_uint(value);
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    return (finite ? bits + 0x1000u : bits | (bits & 0x007fffffu ? 0x00400000u : 0u)) & ~0x1fffu;
#else
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
#endif
}

// sum += a b, by all 32 lanes of a warp of a one-dimensional block.
__device__ __forceinline__ void multiply_add_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
#ifdef SOFTWARE_CUDA
    for (int i = 0; i < 4; ++i) assert((a[i] & 0x1fffu) == 0);
    for (int i = 0; i < 2; ++i) assert((b[i] & 0x1fffu) == 0);
    const float4 more = soft_product(make_float4(sum[0], sum[1], sum[2], sum[3]), make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b[0], b[1]));
    sum[0] = more.x, sum[1] = more.y, sum[2] = more.z, sum[3] = more.w;
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
