// The update of all weights: slices of gradients added up, weight decay, clipping of the norm over everything, Nesterov momentum.
//
// | kernel          | one block does                              | naive version: one thread does |
// | --------------- | ------------------------------------------- | ------------------------------ |
// | finish_gradient | PIECE values of a parameter; a sum of squares | the same piece, one by one    |
// | clip_update     | PIECE values of a parameter, and the norm   | the same                       |
//
// Two launches for all parameters of all lanes: every block of the second one adds up all squares, in the same order, so that no third launch has to, and
// nothing is waited for. Parameters are cut in pieces, a static table of them is in device memory; what becomes of a parameter stands in the plan.
//
//   pieces [count, 4]: parameter, where it begins in the weights, its length, the piece's first value
//
// Written on the host, in src/kernels/nas_bench_201: the constants and structs.

constexpr int WARPS = UPDATE_THREADS / WARP;
constexpr int EACH = PIECE / UPDATE_THREADS; // values of a thread, UPDATE_THREADS apart

struct Piece { int parameter; unsigned begin; int length, first; };

__device__ __forceinline__ Piece piece_of(const unsigned* pieces, int piece)
{
    const unsigned* words = pieces + 4 * (size_t)piece;
    return {(int)words[0], words[1], (int)words[2], (int)words[3]};
}

// The sum over the block, in all its threads; always added in the same order.
__device__ __forceinline__ double sum_of_block(double value, double (&warps)[WARPS])
{
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(FULL, value, offset);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    double sum = 0.0;
#pragma unroll
    for (int warp = 0; warp < WARPS; ++warp) sum += warps[warp];
    return sum;
}

// By which gradients of such a norm are multiplied.
__device__ __forceinline__ float factor_of(double norm, double clip) { return norm > clip ? (float)(clip / norm) : 1.0f; }

// grid [pieces, 1, lanes]
extern "C" __global__ void __launch_bounds__(UPDATE_THREADS) finish_gradient(
    const unsigned* __restrict__ plan,   // [lanes, sizes.plan]
    const unsigned* __restrict__ pieces, // [count, 4]
    const float* __restrict__ partials,  // [lanes, sizes.partials]
    const float* __restrict__ weights,   // [trials, sizes.weights]
    float* __restrict__ gradients,       // [trials, sizes.weights]: decay included; zero of what takes no part
    double* __restrict__ squares,        // [lanes, count]
    const Sizes sizes, const int count, const float decay)
{
    __shared__ double warps[WARPS];
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const Piece piece = piece_of(pieces, blockIdx.x);
    const Take& take = takes_of(plan, sizes, request)[piece.parameter];
    const size_t begin = (size_t)ask.trial * sizes.weights + piece.begin + piece.first;
    const int there = min(piece.length - piece.first, PIECE);
    float sums[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) sums[i] = 0.0f;
    double square = 0.0;
    if (take.used) {
        const float* partial = partials + (size_t)request * sizes.partials + take.partial + piece.first; // [slices, length]
#pragma unroll 2
        for (int slice = 0; slice < take.slices; ++slice) {
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                const int at = i * UPDATE_THREADS + threadIdx.x;
                if (at < there) sums[i] += partial[(size_t)slice * piece.length + at];
            }
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int at = i * UPDATE_THREADS + threadIdx.x;
            if (decay != 0.0f && at < there) sums[i] = fmaf(decay, weights[begin + at], sums[i]);
            square = fma((double)sums[i], (double)sums[i], square);
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const int at = i * UPDATE_THREADS + threadIdx.x;
        if (at < there) gradients[begin + at] = sums[i];
    }
    square = sum_of_block(square, warps);
    if (threadIdx.x == 0) squares[(size_t)request * count + blockIdx.x] = square;
}

// grid [blocks of pieces, 1, lanes]
extern "C" __global__ void __launch_bounds__(UPDATE_THREADS) finish_gradient_naive(
    const unsigned* __restrict__ plan, const unsigned* __restrict__ pieces, const float* __restrict__ partials, const float* __restrict__ weights,
    float* __restrict__ gradients, double* __restrict__ squares, const Sizes sizes, const int count, const float decay)
{
    const int request = blockIdx.z, number = blockIdx.x * UPDATE_THREADS + threadIdx.x;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present || number >= count) return;
    const Piece piece = piece_of(pieces, number);
    const Take& take = takes_of(plan, sizes, request)[piece.parameter];
    double square = 0.0;
    for (int at = piece.first; at < piece.length && at < piece.first + PIECE; ++at) {
        const size_t place = (size_t)ask.trial * sizes.weights + piece.begin + at;
        float sum = 0.0f;
        for (int slice = 0; take.used && slice < take.slices; ++slice)
            sum += partials[(size_t)request * sizes.partials + take.partial + (size_t)slice * piece.length + at];
        if (take.used && decay != 0.0f) sum = fmaf(decay, weights[place], sum);
        gradients[place] = sum;
        square = fma((double)sum, (double)sum, square);
    }
    squares[(size_t)request * count + number] = square;
}

// g <- g min(1, clip / norm), v <- momentum v + g, w <- w - rate (g + momentum v).
__device__ __forceinline__ void descend(float gradient, float factor, float rate, float momentum, float& velocity, float& weight)
{
    const float slope = gradient * factor;
    velocity = fmaf(momentum, velocity, slope);
    weight = fmaf(-rate, fmaf(momentum, velocity, slope), weight);
}

// grid [pieces, 1, lanes]
extern "C" __global__ void __launch_bounds__(UPDATE_THREADS) clip_update(
    const unsigned* __restrict__ plan,    // [lanes, sizes.plan]
    const unsigned* __restrict__ pieces,  // [count, 4]
    const float* __restrict__ gradients,  // [trials, sizes.weights]
    const double* __restrict__ squares,   // [lanes, count]
    const float* __restrict__ rates,      // [lanes]
    float* __restrict__ velocities,       // [trials, sizes.weights]
    float* __restrict__ weights,          // [trials, sizes.weights]
    double* __restrict__ norms,           // [lanes]: of the gradient before clipping
    const Sizes sizes, const int count, const float momentum, const double clip)
{
    __shared__ double warps[WARPS];
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const Piece piece = piece_of(pieces, blockIdx.x);
    const bool used = takes_of(plan, sizes, request)[piece.parameter].used;
    if (!used && blockIdx.x > 0) return; // block 0 also leaves the norm
    double square = 0.0;
    for (int i = threadIdx.x; i < count; i += UPDATE_THREADS) square += squares[(size_t)request * count + i];
    const double norm = sqrt(sum_of_block(square, warps));
    if (blockIdx.x == 0 && threadIdx.x == 0) norms[request] = norm;
    if (!used) return;
    const float factor = factor_of(norm, clip), rate = rates[request];
    const size_t begin = (size_t)ask.trial * sizes.weights + piece.begin + piece.first;
    const int there = min(piece.length - piece.first, PIECE);
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const int at = i * UPDATE_THREADS + threadIdx.x;
        if (at < there) {
            float velocity = velocities[begin + at], weight = weights[begin + at];
            descend(gradients[begin + at], factor, rate, momentum, velocity, weight);
            velocities[begin + at] = velocity;
            weights[begin + at] = weight;
        }
    }
}

// grid [blocks of pieces, 1, lanes]
extern "C" __global__ void __launch_bounds__(UPDATE_THREADS) clip_update_naive(
    const unsigned* __restrict__ plan, const unsigned* __restrict__ pieces, const float* __restrict__ gradients, const double* __restrict__ squares,
    const float* __restrict__ rates, float* __restrict__ velocities, float* __restrict__ weights, double* __restrict__ norms, const Sizes sizes,
    const int count, const float momentum, const double clip)
{
    const int request = blockIdx.z, number = blockIdx.x * UPDATE_THREADS + threadIdx.x;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present || number >= count) return;
    double square = 0.0;
    for (int i = 0; i < count; ++i) square += squares[(size_t)request * count + i];
    const double norm = sqrt(square);
    if (number == 0) norms[request] = norm;
    const Piece piece = piece_of(pieces, number);
    if (!takes_of(plan, sizes, request)[piece.parameter].used) return;
    for (int at = piece.first; at < piece.length && at < piece.first + PIECE; ++at) {
        const size_t place = (size_t)ask.trial * sizes.weights + piece.begin + at;
        descend(gradients[place], factor_of(norm, clip), rates[request], momentum, velocities[place], weights[place]);
    }
}
