// What the model of times assumes of a device, as kernels that do one thing only. What they compute depends on their inputs, so that the compiler can't
// leave it out, and is written once.
//
// `cycles` [blocks]: clock cycles from a block's first operation to its last, by its first warp.
//
// Written on the host, in src/kernels/probe.rs: the constants THREADS, ACCUMULATORS, PRODUCTS and LOADS.

// grid [1], block [1]: nothing, for the cost of a launch
extern "C" __global__ void probe_nothing(unsigned* __restrict__ done) // [1]
{
#if !defined(SOFTWARE_CUDA) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    if (done[0] == 0xffffffffu) done[0] = 0;
}

// grid [blocks]: ACCUMULATORS fused multiply-adds per step
extern "C" __global__ void __launch_bounds__(THREADS) probe_ffma(
    const float* __restrict__ factors, // [2]
    float* __restrict__ sums,          // [blocks, THREADS]
    unsigned* __restrict__ cycles,     // [blocks]
    const int steps)
{
    const float factor = factors[0], term = factors[1];
    float sum[ACCUMULATORS];
#pragma unroll
    for (int i = 0; i < ACCUMULATORS; ++i) sum[i] = (float)(threadIdx.x + i);
    const long long begin = clock64();
#pragma unroll 4
    for (int step = 0; step < steps; ++step)
#pragma unroll
        for (int i = 0; i < ACCUMULATORS; ++i) sum[i] = fmaf(sum[i], factor, term);
    const long long end = clock64();
    float whole = 0.0f;
#pragma unroll
    for (int i = 0; i < ACCUMULATORS; ++i) whole += sum[i];
    sums[blockIdx.x * THREADS + threadIdx.x] = whole;
    if (threadIdx.x == 0) cycles[blockIdx.x] = (unsigned)(end - begin);
}

// grid [blocks]: PRODUCTS products of TF32 matrices per step and warp
extern "C" __global__ void __launch_bounds__(THREADS) probe_tf32(
    const float* __restrict__ factors, float* __restrict__ sums, unsigned* __restrict__ cycles, const int steps)
{
    unsigned a[4], b[2];
    for (int i = 0; i < 4; ++i) a[i] = to_tf32(factors[0]);
    for (int i = 0; i < 2; ++i) b[i] = to_tf32(factors[1]);
    float sum[PRODUCTS][4];
#pragma unroll
    for (int i = 0; i < PRODUCTS; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = 0.0f;
    const long long begin = clock64();
    for (int step = 0; step < steps; ++step)
#pragma unroll
        for (int i = 0; i < PRODUCTS; ++i) multiply_add_tf32(sum[i], a, b);
    const long long end = clock64();
    float whole = 0.0f;
#pragma unroll
    for (int i = 0; i < PRODUCTS; ++i) whole += sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3];
    sums[blockIdx.x * THREADS + threadIdx.x] = whole;
    if (threadIdx.x == 0) cycles[blockIdx.x] = (unsigned)(end - begin);
}

// grid [blocks]: loads of 16 bytes from shared memory, the same for all lanes of a warp. What else its loop does takes a bit less than two cycles a load:
// one cycle a load looks like two, four look like four.
extern "C" __global__ void __launch_bounds__(THREADS) probe_uniform_loads(
    const float* __restrict__ factors, float* __restrict__ sums, unsigned* __restrict__ cycles, const int steps)
{
    __shared__ float4 tile[LOADS];
    if (threadIdx.x < LOADS) tile[threadIdx.x] = make_float4(factors[0], factors[1], factors[0], factors[1]);
    __syncthreads();
    float whole = 0.0f;
    const long long begin = clock64();
    for (int step = 0; step < steps; ++step)
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const float4 four = tile[(i + step) % LOADS]; // not known before the loop
            whole += four.x + four.y + four.z + four.w;
        }
    const long long end = clock64();
    sums[blockIdx.x * THREADS + threadIdx.x] = whole;
    if (threadIdx.x == 0) cycles[blockIdx.x] = (unsigned)(end - begin);
}

// grid [blocks]: reads all of `values` `steps` times, 16 bytes a lane
extern "C" __global__ void __launch_bounds__(THREADS) probe_reads(
    const float* __restrict__ values, // [4 fours]
    float* __restrict__ sums,         // [blocks, THREADS]
    const int fours, const int steps)
{
    const float4* source = (const float4*)values;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int step = 0; step < steps; ++step)
#pragma unroll 4
        for (int i = blockIdx.x * THREADS + threadIdx.x; i < fours; i += gridDim.x * THREADS) {
            const float4 four = __ldcg(source + i); // past the first-level cache
            sum.x += four.x;
            sum.y += four.y;
            sum.z += four.z;
            sum.w += four.w;
        }
    sums[blockIdx.x * THREADS + threadIdx.x] = sum.x + sum.y + sum.z + sum.w;
}
