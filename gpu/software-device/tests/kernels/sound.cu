// Kernels without a fault.
extern "C" __global__ void saxpy(float a, const float* __restrict__ x, float* __restrict__ y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}
// one sum per block
extern "C" __global__ void __launch_bounds__(256) block_sum(const float* __restrict__ x, float* out, int n) {
  __shared__ float sums[256];
  float v = 0.f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
  sums[threadIdx.x] = v;
  __syncthreads();
  for (int s = blockDim.x / 2; s > 0; s >>= 1) {
    if (threadIdx.x < s) sums[threadIdx.x] += sums[threadIdx.x + s];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}
// the same with shuffles
extern "C" __global__ void warp_sum(const float* __restrict__ x, float* out, int n) {
  __shared__ float sums[32];
  float v = 0.f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
  for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
  if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < (blockDim.x + 31) / 32 ? sums[threadIdx.x] : 0.f;
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
    if (threadIdx.x == 0) out[blockIdx.x] = v;
  }
}
// C [m, n] = A [m, k] B [k, n], row major, tiles of 16 x 16 in dynamic shared memory
extern "C" __global__ void sgemm(const float* a, const float* b, float* c, int m, int n, int k) {
  extern __shared__ float tiles[];
  float *at = tiles, *bt = tiles + 256;
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, column = blockIdx.x * 16 + tx;
  float sum = 0.f;
  for (int k0 = 0; k0 < k; k0 += 16) {
    at[ty * 16 + tx] = row < m && k0 + tx < k ? a[row * k + k0 + tx] : 0.f;
    bt[ty * 16 + tx] = k0 + ty < k && column < n ? b[(k0 + ty) * n + column] : 0.f;
    __syncthreads();
    for (int i = 0; i < 16; i++) sum += at[ty * 16 + i] * bt[i * 16 + tx];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}
