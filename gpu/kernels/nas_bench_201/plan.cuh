// What the kernels of NAS-Bench-201's parent network have in common: the plan of a pass, tiles, and joins of what blocks leave behind.
//
// # The plan: architecture as data
// A pass of several trials together is one recorded graph, whatever their architectures. What to do stands in the plan, `plan` [lanes, sizes.plan]
// words in device memory, which the host writes before every pass; a lane's plan is
//
//   Ask | Node [nodes] | Term [nodes, terms] | Out [nodes, outs] | Slot [slots] | Take [parameters]
//
// - A node of the network is a tensor [batch, channels, side, side], the sum of its terms.
// - A slot is room for the output of one convolution that reads a node; the slots of a node stand together. In a pass, it has a convolution or not.
// - `outs` are the other layers that read a node: identity, poolings.
//
// Everything in it is uniform for a block. Offsets count floats from the beginning of a lane's or trial's part of the buffer that they are for:
// tensors [lanes, sizes.tensors], sums [lanes, sizes.sums], norms [lanes, sizes.norms], partials [lanes, sizes.partials]; weights
// [trials, sizes.weights]; running [trials, sizes.running] doubles.
//
// # Tiles
// Every output is cut in tiles of TILE_ROWS rows, of one image or, with sides below 16, of two. Blocks leave behind, per channel and tile, what batch norms need;
// the blocks of the next kernel that need it join it in double precision, in the order of the tiles, and so all get the same.
//
//   statistics [channels, tiles] float2: mean, sum of squared deviations from it
//   sums       [channels, tiles] float:  sum of g, or of g times something
//
// Written on the host, in src/kernels/nas_bench_201: the constants and structs.
#pragma once

constexpr int WARP = 32;
constexpr unsigned FULL = 0xffffffffu;
constexpr unsigned NOWHERE = 0xffffffffu; // as on the host

__device__ __forceinline__ const Ask& ask_of(const unsigned* plan, const Sizes& sizes, int lane)
{
    return *(const Ask*)(plan + (size_t)lane * sizes.plan);
}

__device__ __forceinline__ const Node& node_of(const unsigned* plan, const Sizes& sizes, int lane, int node)
{
    return ((const Node*)(plan + (size_t)lane * sizes.plan + sizes.node_words))[node];
}

// The terms of a node; the first `node_of(...).terms` of them are there.
__device__ __forceinline__ const Term* terms_of(const unsigned* plan, const Sizes& sizes, int lane, int node)
{
    return (const Term*)(plan + (size_t)lane * sizes.plan + sizes.term_words) + node * sizes.terms;
}

// What reads a node beside convolutions; the first `node_of(...).outs` of them are there.
__device__ __forceinline__ const Out* outs_of(const unsigned* plan, const Sizes& sizes, int lane, int node)
{
    return (const Out*)(plan + (size_t)lane * sizes.plan + sizes.out_words) + node * sizes.outs;
}

__device__ __forceinline__ const Slot* slots_of(const unsigned* plan, const Sizes& sizes, int lane)
{
    return (const Slot*)(plan + (size_t)lane * sizes.plan + sizes.slot_words);
}

__device__ __forceinline__ const Take* takes_of(const unsigned* plan, const Sizes& sizes, int lane)
{
    return (const Take*)(plan + (size_t)lane * sizes.plan + sizes.take_words);
}

// The thread's number, of which the compiler can't know that it is the same every time: what follows from it is computed where it is needed, instead of
// being kept in registers that the sums need.
__device__ __forceinline__ int thread_anew()
{
    int thread = threadIdx.x;
    asm volatile("" : "+r"(thread));
    return thread;
}

// 8 or 16 bytes at once; on the software device, too, whose compiler would take them apart, and they would be counted as several accesses.
template <class Vector>
__device__ __forceinline__ Vector load_whole(const float* from)
{
    Vector whole = *(const Vector*)from;
#ifdef SOFTWARE_CUDA
    asm("" : "+m"(whole));
#endif
    return whole;
}

template <class Vector>
__device__ __forceinline__ void store_whole(float* to, Vector whole)
{
#ifdef SOFTWARE_CUDA
    asm("" : "+m"(whole));
#endif
    *(Vector*)to = whole;
}

// Images of a tile.
__host__ __device__ constexpr int tile_images(int side) { return side < 16 ? 2 : 1; }

// Tiles of so many images: the length of a row of statistics or sums, if they are as many as a minibatch may have.
__host__ __device__ constexpr int tile_count(int side, int images)
{
    return side < 16 ? (images + 1) / 2 : images * (side / TILE_ROWS);
}

// The first image of a tile.
__device__ __forceinline__ int tile_image(int tile, int side) { return side < 16 ? 2 * tile : tile / (side / TILE_ROWS); }

// The first row of a tile.
__device__ __forceinline__ int tile_row(int tile, int side) { return side < 16 ? 0 : tile % (side / TILE_ROWS) * TILE_ROWS; }

// Pixels of a tile that belong to one of the images.
__device__ __forceinline__ int tile_pixels(int tile, int side, int images)
{
    const int there = images - tile_image(tile, side);
    return min(max(there, 0), tile_images(side)) * TILE_ROWS * side;
}

// Mean and sum of squared deviations of a channel over all images, by all lanes of a warp together; every lane gets them.
// statistics: [tiles of a whole minibatch] of that channel
__device__ __forceinline__ void join_statistics(const float2* statistics, int side, int images, double& mean, double& squares)
{
    double sum = 0.0, sum_of_squares = 0.0; // in double, the difference below loses nothing that single precision had
    for (int tile = threadIdx.x % WARP; tile < tile_count(side, images); tile += WARP) {
        const float2 part = statistics[tile];
        const double count = tile_pixels(tile, side, images);
        sum += count * part.x;
        sum_of_squares += part.y + count * part.x * part.x;
    }
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(FULL, sum, offset);
        sum_of_squares += __shfl_xor_sync(FULL, sum_of_squares, offset);
    }
    const double count = (double)images * side * side;
    mean = sum / count;
    squares = fmax(sum_of_squares - mean * sum, 0.0);
}

// The sum over all tiles of a channel, by all lanes of a warp together; every lane gets it.
// sums: [tiles of a whole minibatch] of that channel
__device__ __forceinline__ double join_sums(const float* sums, int side, int images)
{
    double sum = 0.0;
    for (int tile = threadIdx.x % WARP; tile < tile_count(side, images); tile += WARP) sum += sums[tile];
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(FULL, sum, offset);
    return sum;
}

// The factor by which a 3x3 average divides at a pixel: padding is not counted.
__device__ __forceinline__ float pooled_share(int y, int x, int side)
{
    const bool rows = y == 0 || y == side - 1, columns = x == 0 || x == side - 1; // two of them instead of three
    return rows ? (columns ? 1.0f / 4.0f : 1.0f / 6.0f) : (columns ? 1.0f / 6.0f : 1.0f / 9.0f);
}
