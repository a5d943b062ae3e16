// Kernels that need each of their barriers. x, y: [n]; one block of 256 threads, or of 16 x 16 where it says so.
extern "C" __global__ void reversed(const float* x, float* y, int n) {
  __shared__ float values[256];
  int t = threadIdx.x;
  values[t] = x[t];
  __syncthreads();
  y[t] = values[n - 1 - t];
}
// y = the sum of x, in every element
extern "C" __global__ void tree_sum(const float* x, float* y, int n) {
  __shared__ float values[256];
  int t = threadIdx.x;
  values[t] = x[t];
  __syncthreads();
  for (int s = n / 2; s > 0; s /= 2) {
    if (t < s) values[t] += values[t + s];
    __syncthreads();
  }
  y[t] = values[0];
}
// the same by shuffles
extern "C" __global__ void warp_sum(const float* x, float* y, int n) {
  __shared__ float sums[8];
  float v = x[threadIdx.x];
  for (int o = 16; o; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  __syncthreads();
  v = 0.f;
  for (int i = 0; i < n / 32; i++) v += sums[i];
  y[threadIdx.x] = v;
}
// inclusive prefix sums
extern "C" __global__ void scan(const float* x, float* y, int n) {
  extern __shared__ float values[];
  int t = threadIdx.x;
  values[t] = x[t];
  __syncthreads();
  for (int o = 1; o < n; o *= 2) {
    float v = t >= o ? values[t - o] : 0.f;
    __syncthreads();
    values[t] += v;
    __syncthreads();
  }
  y[t] = values[t];
}
extern "C" __global__ void softmax(const float* x, float* y, int n) {
  __shared__ float values[256];
  int t = threadIdx.x;
  float v = x[t];
  values[t] = v;
  __syncthreads();
  for (int s = n / 2; s > 0; s /= 2) {
    if (t < s) values[t] = fmaxf(values[t], values[t + s]);
    __syncthreads();
  }
  float largest = values[0];
  __syncthreads();
  float e = expf(v - largest);
  values[t] = e;
  __syncthreads();
  for (int s = n / 2; s > 0; s /= 2) {
    if (t < s) values[t] += values[t + s];
    __syncthreads();
  }
  y[t] = e / values[0];
}
// y = x x with x as [16, 16] in tiles of 8 columns; block of 16 x 16
extern "C" __global__ void square(const float* x, float* y, int n) {
  __shared__ float left[16][8], right[8][16];
  int c = threadIdx.x, r = threadIdx.y;
  float sum = 0.f;
  for (int k = 0; k < 16; k += 8) {
    if (c < 8) left[r][c] = x[r * 16 + k + c];
    if (r < 8) right[r][c] = x[(k + r) * 16 + c];
    __syncthreads();
    for (int i = 0; i < 8; i++) sum += left[r][i] * right[i][c];
    __syncthreads();
  }
  y[r * 16 + c] = sum;
}
