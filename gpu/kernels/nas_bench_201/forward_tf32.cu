// Nodes and their convolutions of stride 1, as in forward.cu, with products by tensor cores.
//
// | kernel         | one block does                                                       |
// | -------------- | -------------------------------------------------------------------- |
// | node_SIDE_tf32 | a tile of pixels, 16 channels of up to three slots, SIDE their side  |
//
// A product has the filters as A, 16 output channels by 8 input channels, and pixels as B, these by 8 neighbours of a row. Input channels 2t and 2t + 1 are
// k = t and t + 4 of both, so that a lane loads what it has of a factor at once: pixels lie in shared memory with pairs of channels side by side, filters
// in the order of the lanes. A warp has 8 columns of all 8 rows of an image, of one slot: a row of pixels meets up to three rows of filters, and is loaded
// once for them, so that one slot alone keeps tensor cores as busy as three. Slices of warps have 8 channels of a chunk each.
//
// Pixels and filters are rounded on the way to shared memory, once. The value that is written is not, nor are sums, from which z and statistics come.
//
// In shared memory a row begins with two columns of zeros: the second one is its border, the first one that of the row before. Rows of zeros between small
// images belong to both, as do those between pairs of channels. Channels are padded to 8 with zeros there, and nowhere else.

constexpr int TENSOR_STEP = 8;             // input channels of a product
constexpr int FRAGMENT = 4 * WARP + 4;     // words from tap to tap: those of neighbouring taps are stored to different banks

__device__ __forceinline__ uint4 to_tf32(const float4& v) { return make_uint4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w)); }

// The shape of a block's work, as Work.
template <int SIDE_, int SLOTS_, int SLICES_, int FLOATS>
struct TensorWork {
    static constexpr int SIDE = SIDE_, INPUT = SIDE, SLOTS = SLOTS_, SLICES = SLICES_;
    static constexpr int IMAGES = tile_images(SIDE), QUADS = SIDE / 4;
    static constexpr int CHANNELS = TENSOR_STEP * SLICES, PAIRS = CHANNELS / 2;          // of a chunk
    static constexpr int LINES = IMAGES == 1 ? TILE_ROWS + 2 : IMAGES * (TILE_ROWS + 1); // of two channels, without the zeros behind them
    static constexpr int FILLED = IMAGES == 1 ? LINES : IMAGES * TILE_ROWS;              // of them, those that are not always zeros
    static constexpr int PITCH = SIDE + 2, PLANE = 2 * LINES * PITCH;                    // words of a row of one channel, of two channels
    static constexpr int TILE = PAIRS * PLANE + (IMAGES == 1 ? 0 : 2 * PITCH) + 4;       // floats of a stage
    static constexpr int FILTERS = SLICES * TAPS * FRAGMENT;                             // of one slot
    static constexpr int SLICE_WARPS = IMAGES * SIDE / 8, SLOT_WARPS = SLICES * SLICE_WARPS;
    static constexpr int THREADS = WARP * SLOTS * SLOT_WARPS;
    static constexpr int MOMENTS = 2 * SLICE_WARPS * OUTPUTS;                            // floats of one slot
    static constexpr int TOGETHER = SIDE < 16 ? 1 : 2;                                   // as in Work
    static_assert(OUTPUTS == 16 && TILE_ROWS == 8 && (IMAGES == 1 || SIDE == TILE_ROWS), "whole products, whole images");
    static_assert(PLANE % WARP == 8 || PLANE % WARP == 24, "pairs of channels of 4 lanes, each by 4 pixels, fill all banks");
    static_assert(TENSOR_STEP * FILLED * QUADS % WARP == 0, "whole warps exchange pixels");
    static_assert(2 * (TILE + SLOTS * FILTERS) + SLOTS * MOMENTS + BLOCK == FLOATS && SLOTS <= 6, "the host makes room for it");
    static_assert(SLICES / 2 * SLICE_WARPS * WARP * TILE_ROWS * 4 <= 2 * FILTERS, "sums of slices take the place of the chunks");

    // Where four pixels of a chunk are from, and where they go.
    struct Place {
        int pair, odd, quad, line; // pair of channels, which of the two, four of a row's, of the pair's lines
        int row, image;            // of the image, of the tile's
    };
    static __device__ __forceinline__ Place place_of(int i, int top)
    {
        const int filled = i / (2 * QUADS) % FILLED, pair = i / (2 * QUADS * FILLED);
        if (IMAGES == 1) return {pair, i % 2, i / 2 % QUADS, filled, top + filled - 1, 0};
        // Neighbouring lanes store rows that are four apart, and so to different banks.
        const int row = filled % 2 * 4 + filled % TILE_ROWS / 2, image = filled / TILE_ROWS;
        return {pair, i % 2, i / 2 % QUADS, image * (TILE_ROWS + 1) + 1 + row, row, image};
    }
};

// What a warp has of a block's work, as Role.
template <class W>
struct TensorRole {
    int own, slice, part; // slot among the block's, slice of the channels, warp of the slice
    int sx, si;           // column of the tile, image of the tile

    __device__ __forceinline__ explicit TensorRole(int thread)
    {
        const int warp = thread / WARP;
        own = warp / W::SLOT_WARPS, slice = warp / W::SLICE_WARPS % W::SLICES, part = warp % W::SLICE_WARPS;
        sx = part % (W::SIDE / 8) * 8, si = part / (W::SIDE / 8);
    }
};

// As `convolve`.
template <class W, class Load>
__device__ __forceinline__ void convolve_tf32(const float* weights, float* tensors, float* sums, const Slot* slots, int slot_count, int inputs, int outputs,
                                              int first, int images, int batch, float* shared, Load load)
{
    const int room = blockDim.x / (WARP * W::SLOT_WARPS);
    const int image = tile_image(blockIdx.x, W::SIDE), top = tile_row(blockIdx.x, W::SIDE);
    Block& block = block_of<W>(shared, room);
    float* const tiles = shared;                 // [2, TILE]: [PAIRS, LINES, PITCH, 2], then zeros
    float* const filters = shared + 2 * W::TILE; // [2, room, SLICES, TAPS, FRAGMENT]: [lanes, 4]

    float acc[TILE_ROWS][4];
#pragma unroll
    for (int row = 0; row < TILE_ROWS; ++row)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[row][i] = 0.0f;

    // Fills a stage, by whole products.
    auto fill = [&](int first_output, int count, int first, int there, int stage) {
        const int thread = thread_anew(), padded = (there + TENSOR_STEP - 1) / TENSOR_STEP * TENSOR_STEP;
#pragma unroll 1
        for (int i = thread; i < padded * (W::FILLED * W::QUADS); i += blockDim.x) {
            float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            {
                const auto [pair, odd, q, line, row, n] = W::place_of(i, top);
                if (2 * pair + odd < there && row >= 0 && row < W::SIDE && image + n < images)
                    v = load(first + 2 * pair + odd, image + n, row, 4 * q, row >= top && row < top + TILE_ROWS);
            }
            int again = i; // so that nothing of its place is kept in registers while it is loaded
            asm volatile("" : "+r"(again));
            const auto [pair, odd, q, line, row, n] = W::place_of(again, top);
            // The lanes of a pair of channels have two pixels of both, then.
            const uint4 own = to_tf32(v);
            const unsigned one = __shfl_xor_sync(FULL, odd ? own.x : own.z, 1), two = __shfl_xor_sync(FULL, odd ? own.y : own.w, 1);
            store_whole(tiles + stage * W::TILE + pair * W::PLANE + 2 * (line * W::PITCH + 2 + 4 * q) + 4 * odd,
                        odd ? make_uint4(one, own.z, two, own.w) : make_uint4(own.x, one, own.y, two));
        }
        // Four at a time: output channels g and g + 8 of input channel 2t, then of 2t + 1.
#pragma unroll 1
        for (int i = thread; i < count * (W::SLICES * TAPS * WARP); i += blockDim.x) {
            const int tap = i % TAPS, lane = i / TAPS % WARP, slice = i / (TAPS * WARP) % W::SLICES, s = i / (TAPS * WARP * W::SLICES);
            const int o = first_output + lane / 4, c = slice * TENSOR_STEP + lane % 4 * 2;
            const Slot& slot = slots[s];
            if (slice * TENSOR_STEP >= there || slot.kernel == 0 || (slot.kernel == 1 && tap != CENTRE)) continue;
            const int taps = slot.kernel == 3 ? TAPS : 1;
            const float* from = weights + slot.filters + (o * inputs + first + c) * taps + (slot.kernel == 3 ? tap : 0); // [outputs, inputs, taps]
            const float* lower = from + 8 * inputs * taps;
            const float4 v = make_float4(o < outputs && c < there ? from[0] : 0.0f, o + 8 < outputs && c < there ? lower[0] : 0.0f,
                                         o < outputs && c + 1 < there ? from[taps] : 0.0f, o + 8 < outputs && c + 1 < there ? lower[taps] : 0.0f);
            store_whole(filters + (stage * room + s) * W::FILTERS + (slice * TAPS + tap) * FRAGMENT + 4 * lane, to_tf32(v));
        }
    };
    auto multiply = [&](int done, int stage) {
        const int thread = thread_anew(), lane = thread % WARP, g = lane / 4, t = lane % 4;
        const TensorRole<W> role(thread);
        const bool works = image + role.si < images && done + role.slice * TENSOR_STEP < inputs;
        const int kernel = works ? block.kernels[role.own] : 0;
        const float* pixels = tiles + stage * W::TILE + (role.slice * (TENSOR_STEP / 2) + t) * W::PLANE +
                              2 * (role.si * (TILE_ROWS + 1) * W::PITCH + role.sx + g + 1);
        const float* taps = filters + (stage * room + role.own) * W::FILTERS + role.slice * (TAPS * FRAGMENT) + 4 * lane;
        auto filter_of = [&](int tap, unsigned(&a)[4]) {
            const uint4 four = load_whole<uint4>(taps + tap * FRAGMENT);
            a[0] = four.x, a[1] = four.y, a[2] = four.z, a[3] = four.w;
        };
        auto pixels_of = [&](int line, int column, unsigned(&b)[2]) {
            const uint2 two = load_whole<uint2>(pixels + 2 * (line * W::PITCH + column));
            b[0] = two.x, b[1] = two.y;
        };
        if (kernel == 3) {
#pragma unroll 1
            for (int kx = 0; kx < 3; ++kx, pixels += 2, taps += FRAGMENT) {
                unsigned a[3][4];
#pragma unroll
                for (int ky = 0; ky < 3; ++ky) filter_of(3 * ky, a[ky]);
#pragma unroll
                for (int line = 0; line < TILE_ROWS + 2; ++line) {
                    unsigned b[2];
                    pixels_of(line, 0, b);
#pragma unroll
                    for (int ky = 0; ky < 3; ++ky)
                        if (line >= ky && line - ky < TILE_ROWS) multiply_add_tf32(acc[line - ky], a[ky], b);
                }
            }
        } else if (kernel == 1) {
            unsigned a[4];
            filter_of(CENTRE, a);
#pragma unroll
            for (int row = 0; row < TILE_ROWS; ++row) {
                unsigned b[2];
                pixels_of(row + 1, 1, b);
                multiply_add_tf32(acc[row], a, b);
            }
        }
    };

    // What is beside the rows stays zero, and so do rows beside small images.
    constexpr int BESIDE = W::PAIRS * W::LINES + (W::IMAGES == 1 ? 1 : 2);
    for (int i = threadIdx.x; i < 2 * BESIDE; i += blockDim.x) {
        const int line = i % BESIDE;
        float* place = tiles + i / BESIDE * W::TILE + line * (2 * W::PITCH);
        store4(place, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
        if constexpr (W::IMAGES > 1)
            if (line % (TILE_ROWS + 1) == 0)
                for (int x = 4; x < 2 * W::PITCH; x += 4) store4(place + x, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
    }
    over_chunks<W>(block, slots, slot_count, room, first, inputs, fill, multiply);

    const int thread = thread_anew(), lane = thread % WARP, g = lane / 4, t = lane % 4, first_output = block.first_output;
    const auto [own, slice, part, sx, si] = TensorRole<W>(thread);
    const bool convolves = block.kernels[own] != 0;
    add_slices<W>(acc, shared, own, slice, part, convolves);

    // Outputs, and their statistics, joined by Chan's rule for equal counts.
    float2* moments = moments_of<W>(shared, room) + own * (W::SLICE_WARPS * OUTPUTS); // [SLICE_WARPS, OUTPUTS]
    const bool ends = convolves && slice == 0;                                        // the same in a warp
    if (ends && image + si < images) {
        float* z = tensors + slots[own].output + ((size_t)(image + si) * outputs + first_output + g) * (W::SIDE * W::SIDE) + top * W::SIDE + sx + 2 * t;
#pragma unroll
        for (int o = 0; o < 2; ++o) { // channels g and g + 8
            float mean = 0.0f, squares = 0.0f, half = TILE_ROWS;
#pragma unroll
            for (int row = 0; row < TILE_ROWS; ++row) mean += acc[row][2 * o] + acc[row][2 * o + 1];
            mean *= 0.5f / TILE_ROWS;
#pragma unroll
            for (int row = 0; row < TILE_ROWS; ++row)
#pragma unroll
                for (int i = 2 * o; i < 2 * o + 2; ++i) squares = fmaf(acc[row][i] - mean, acc[row][i] - mean, squares);
#pragma unroll
            for (int lanes = 1; lanes < 4; lanes *= 2, half *= 2.0f) {
                const float other = __shfl_xor_sync(FULL, mean, lanes), theirs = __shfl_xor_sync(FULL, squares, lanes);
                const float apart = mean - other;
                squares = fmaf(apart * half, apart, squares + theirs);
                mean = 0.5f * (mean + other);
            }
            if (first_output + g + 8 * o < outputs) {
#pragma unroll
                for (int row = 0; row < TILE_ROWS; ++row)
                    store_whole(z + 8 * o * (W::SIDE * W::SIDE) + row * W::SIDE, make_float2(acc[row][2 * o], acc[row][2 * o + 1]));
            }
            if (t == 0) moments[part * OUTPUTS + g + 8 * o] = make_float2(mean, squares);
        }
    }
    __syncthreads();
    if (ends && part == 0 && lane < OUTPUTS && first_output + lane < outputs) {
        const int there = W::IMAGES == 1 ? W::SLICE_WARPS : min(images - image, W::IMAGES) * (W::SLICE_WARPS / W::IMAGES);
        float2* statistics = (float2*)(sums + slots[own].statistics); // [outputs, tiles]
        statistics[(first_output + lane) * tile_count(W::SIDE, batch) + blockIdx.x] = join_moments<W::SLICE_WARPS, 8 * TILE_ROWS>(moments + lane, there);
    }
}

template <class W>
struct Tensor {
    template <class... All>
    __device__ __forceinline__ void operator()(All... all) const
    {
        convolve_tf32<W>(all...);
    }
};

using TensorNode32 = TensorWork<32, SLOTS_32, SLICES_32, FLOATS_TF32_32>;
using TensorNode16 = TensorWork<16, SLOTS_16, SLICES_16, FLOATS_TF32_16>;
using TensorNode8 = TensorWork<8, SLOTS_8, SLICES_8, FLOATS_TF32_8>;

// grid as of the others
#define NODE_TF32(name, W, BLOCKS)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(W::THREADS, BLOCKS) name(                                                                     \
        const unsigned* __restrict__ plan,   /* [lanes, sizes.plan] */                                                                         \
        const float* __restrict__ weights,   /* [trials, sizes.weights] */                                                                     \
        float* __restrict__ tensors,         /* [lanes, sizes.tensors] */                                                                      \
        float* __restrict__ sums,            /* [lanes, sizes.sums] */                                                                         \
        float* __restrict__ norms,           /* [lanes, sizes.norms] */                                                                        \
        double* __restrict__ running,        /* [trials, sizes.running] */                                                                     \
        const Sizes sizes, const Shape shape)                                                                                                  \
    {                                                                                                                                          \
        extern __shared__ float4 shared[]; /* affines [sizes.terms, channels], layers [sizes.terms, even], what TensorWork says */              \
        node<W>(plan, weights, tensors, sums, norms, running, sizes, shape, shared, Tensor<W>());                                            \
    }

NODE_TF32(node_32_tf32, TensorNode32, 2)
NODE_TF32(node_16_tf32, TensorNode16, 2)
NODE_TF32(node_8_tf32, TensorNode8, 1)
