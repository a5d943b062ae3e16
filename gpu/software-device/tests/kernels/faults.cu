// Each kernel has one fault, planted.
extern "C" __global__ void past_the_end(float* x, int n) { x[threadIdx.x + 1] = (float)n; }
extern "C" __global__ void before_the_start(const float* x, float* y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }
extern "C" __global__ void read_once(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void misaligned(const float* x, float* y) {
  float4 v = *(const float4*)(x + 1);
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
extern "C" __global__ void over_shared(float* y) {
  __shared__ float first[32];
  __shared__ float second[32];
  first[threadIdx.x] = second[threadIdx.x] = 1.f;
  __syncthreads();
  y[threadIdx.x] = *(first + threadIdx.x + 1) + second[threadIdx.x];
}
extern "C" __global__ void over_dynamic(float* y) {
  extern __shared__ float values[];
  values[threadIdx.x] = 1.f;
  __syncthreads();
  y[threadIdx.x] = values[threadIdx.x + 1];
}
extern "C" __global__ void two_barriers(float* y) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = 1.f;
}
extern "C" __global__ void early_return(float* y) {
  if (threadIdx.x >= 24) return;
  __syncthreads();
  y[threadIdx.x] = 1.f;
}
extern "C" __global__ void barrier_against_warp(float* y) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncwarp();
  y[threadIdx.x] = 1.f;
}
extern "C" __global__ void not_in_mask(float* y) { y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.f, 0); }
extern "C" __global__ void shared_race(float* y) {
  __shared__ float values[32];
  values[threadIdx.x] = (float)threadIdx.x;
  y[threadIdx.x] = values[31 - threadIdx.x];
}
extern "C" __global__ void dynamic_race(float* y) {
  extern __shared__ float values[];
  values[threadIdx.x] = (float)threadIdx.x;
  y[threadIdx.x] = values[31 - threadIdx.x];
}
extern "C" __global__ void block_race(float* y) { y[0] = (float)blockIdx.x; }
extern "C" __global__ void thread_race(float* y) {
  y[threadIdx.x] = 1.f;
  if (threadIdx.x > 0) y[threadIdx.x - 1] = 2.f;
}
extern "C" __global__ void assertion(const float* x) { assert(x[threadIdx.x] > 0.f); }
extern "C" __global__ void trap(float* y) {
  if (threadIdx.x == 7) __trap();
  y[threadIdx.x] = 1.f;
}
extern "C" __global__ void __launch_bounds__(16 * 2) bounded(float* y) { y[threadIdx.x] = 1.f; }
// values nobody wrote
extern "C" __global__ void unwritten_shared(float* y) {
  __shared__ float values[32];
  y[threadIdx.x] = values[threadIdx.x];
}
extern "C" __global__ void unwritten_dynamic(float* y) {
  extern __shared__ float values[];
  y[threadIdx.x] = values[threadIdx.x];
}
__device__ float variable[8];
extern "C" __global__ void over_variable(float* y) { *(variable + threadIdx.x) = y[threadIdx.x]; }
extern "C" __global__ void local_index(float* y, int n) {
  float values[4] = {1.f, 2.f, 3.f, 4.f};
  y[threadIdx.x] = values[threadIdx.x % n];
}
extern "C" __global__ void row_index(float* y, int n) {
  __shared__ float rows[4][8];
  rows[threadIdx.x / 8][threadIdx.x % 8] = 1.f;
  __syncthreads();
  y[threadIdx.x] = rows[threadIdx.x / 8][threadIdx.x % n];
}
extern "C" __global__ void division(float* y, int n) { y[threadIdx.x] = (float)(threadIdx.x / (n - 5)); }
extern "C" __global__ void shift(float* y, int n) { y[threadIdx.x] = (float)(1u << (threadIdx.x + n)); }
__device__ __noinline__ float deep(float x, int n) {
  volatile float kept[64];
  kept[n % 64] = x;
  return n > 0 ? deep(x + kept[n % 64], n - 1) + kept[n % 64] : x;
}
extern "C" __global__ void stack_overflow(float* y, int n) { y[threadIdx.x] = deep(1.f, n); }
extern "C" __global__ void two_masks(float* y) {
  y[threadIdx.x] = threadIdx.x < 16 ? __shfl_sync(0xffffffffu, 1.f, 0) : (float)__ballot_sync(0xffffffffu, 1);
}
