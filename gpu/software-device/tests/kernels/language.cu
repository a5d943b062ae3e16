// What kernels of this project may use of CUDA C++. y: [32] floats per kernel unless it says otherwise.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__constant__ float table[4];
__device__ int counter;
constexpr int LANES = 32;
template <int N> __device__ __forceinline__ float power(float x) { return x * power<N - 1>(x); }
template <> __device__ __forceinline__ float power<0>(float) { return 1.f; }
template <class T> __device__ T sum_of_block(T v) {
  __shared__ T values[LANES];
  values[threadIdx.x] = v;
  __syncthreads();
  T sum = 0;
  for (int i = 0; i < LANES; i++) sum += values[i];
  return sum;
}
struct Slots { int candidate[2]; float weight[2]; };

extern "C" __global__ void vectors(const float4* __restrict__ x, float2* y) {  // x: [16] float4, y: [32] float2
  if (threadIdx.x < 16) {
    float4 v = __ldg(x + threadIdx.x);
    y[2 * threadIdx.x] = make_float2(v.x + v.y, v.z);
    y[2 * threadIdx.x + 1] = {v.w, (float)(make_uint2(3, 4).y + sizeof(float3) + sizeof(uint4))};
  }
}
extern "C" __global__ void by_value(Slots slots, double d, char c, float* y) {
  y[threadIdx.x] = slots.weight[slots.candidate[threadIdx.x % 2]] + (float)d + c;
}
extern "C" __global__ void constants(float* y) {
  y[threadIdx.x] = table[threadIdx.x % 4];
  atomicAdd(&counter, 1);
}
extern "C" __global__ void templates(float* y) {
  y[threadIdx.x] = power<3>((float)threadIdx.x) + sum_of_block<float>(1.f) + (float)sum_of_block<int>(threadIdx.x);
}
extern "C" __global__ void shuffles(float* y) {
  int l = threadIdx.x;
  float v = (float)l;
  float up = __shfl_up_sync(~0u, v, 1), down = __shfl_down_sync(~0u, v, 1, 16), other = __shfl_xor_sync(~0u, v, 5);
  y[l] = up + 100.f * down + 10000.f * other + 1000000.f * __shfl_sync(~0u, v, 3, 8);
}
extern "C" __global__ void votes(unsigned* y) {  // y: [32] unsigned
  unsigned l = threadIdx.x, even = __ballot_sync(~0u, l % 2 == 0), group = __match_any_sync(~0u, l / 4);
  bool any = __any_sync(~0u, l == 9), all = __all_sync(~0u, l < 31);
  y[l] = even ^ group ^ (any ? 1u : 0u) ^ (all ? 2u : 0u) ^ __reduce_max_sync(~0u, l) << 8;
}
// half of the warp takes part
extern "C" __global__ void partial(float* y) {
  float v = 1.f;
  if (threadIdx.x < 16)
    for (int o = 8; o; o /= 2) v += __shfl_xor_sync(0xffffu, v, o);
  y[threadIdx.x] = v;
}
extern "C" __global__ void block_votes(int* y) {  // y: [64] ints
  int t = threadIdx.x;
  y[t] = __syncthreads_count(t % 3 == 0) + 100 * __syncthreads_or(t == 63) + 1000 * __syncthreads_and(t < 63);
}
extern "C" __global__ void atomics(int* y) {  // y: [8] ints; 64 threads
  int t = threadIdx.x;
  atomicAdd(y, 1);
  atomicSub(y + 1, 2);
  atomicMax(y + 2, t);
  atomicMin(y + 3, -t);
  atomicOr((unsigned*)y + 4, 1u << t % 32);
  if (atomicCAS(y + 5, 0, 7) == 0) atomicExch(y + 6, t + 1);
  atomicAdd((float*)y + 7, 0.5f);
}
extern "C" __global__ void math(const float* x, float* y) {  // x: [32], y: [32, 8]
  float v = x[threadIdx.x], *o = y + 8 * threadIdx.x;
  o[0] = tanhf(v), o[1] = __expf(v), o[2] = rsqrtf(v), o[3] = fmaf(v, v, 1e-7f);
  o[4] = fmaxf(fminf(v, 1.f), __saturatef(v)), o[5] = __fdividef(1.f, v), o[6] = max(v, 0.5f), o[7] = erff(v);
}
extern "C" __global__ void integers(unsigned* y) {  // y: [32, 4]
  unsigned t = threadIdx.x, *o = y + 4 * t, h = t * 2654435761u + 12345u;
  o[0] = __umulhi(h, 0xD2511F53u), o[1] = __popc(h) + 100 * __clz((int)h) + 10000 * __ffs(h);
  o[2] = __brev(h), o[3] = __funnelshift_l(h, t, 7) ^ __float_as_uint(__uint_as_float(h & 0x3fffffffu));
}
extern "C" __global__ void small_floats(const float* x, float* y) {  // x: [32], y: [32, 2]
  __half h = __float2half(x[threadIdx.x]);
  __nv_bfloat16 b = __float2bfloat16(x[threadIdx.x]);
  y[2 * threadIdx.x] = __half2float(h), y[2 * threadIdx.x + 1] = __bfloat162float(b);
}
extern "C" __global__ void aligned_dynamic(float* y) {
  extern __shared__ __align__(16) unsigned char bytes[];
  float4* v = reinterpret_cast<float4*>(bytes);
  __shared__ __align__(16) float left[32], right[32];
  left[threadIdx.x] = right[threadIdx.x] = 1.f;
  v[threadIdx.x] = make_float4(1.f, 2.f, 3.f, (float)threadIdx.x);
  __syncwarp();
  y[threadIdx.x] = v[threadIdx.x ^ 1].w + left[threadIdx.x ^ 1] + right[threadIdx.x ^ 2];
}
extern "C" __global__ void many_dimensions(int* y) {  // y: [2, 3, 2, 2, 4, 2] ints: grid and block in 3 dimensions
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[block * 16 + thread] = 1000 * (blockIdx.z * 100 + blockIdx.y * 10 + blockIdx.x) + threadIdx.z * 100 +
                           threadIdx.y * 10 + threadIdx.x;
}
