// Gradients of filters of convolutions with stride 1, as in weights.cu, with products by tensor cores.
//
// | kernel            | one block does                                             |
// | ----------------- | ---------------------------------------------------------- |
// | weights_SIDE_tf32 | one slot, one split, 16 input x 16 output channels, all taps |
//
// A product has dz as A, 16 output channels by 8 pixels of a row, and x as B, these by 8 input channels. Output channels 2g and 2g + 1 are rows g and g + 8,
// pixels 2t and 2t + 1 are k = t and t + 4, so that a lane loads what it has of dz at once; with pairs of channels side by side in shared memory. Of x, four
// columns serve the three taps of a row. A warp has all taps of 8 input channels, its part of a tile's rows. The warps' parts are added through shared memory,
// in order, and so are runs of TENSOR_RUN products, as tensor cores cut off what they add.
//
// dz and x are rounded on the way to shared memory, once.

constexpr int TENSOR_RUN = 256; // products that are added up by a tensor core

template <int SIDE_, int KERNEL_>
struct TensorTile : Tile<SIDE_, 1, KERNEL_, WEIGHT_TILE> {
    typedef Tile<SIDE_, 1, KERNEL_, WEIGHT_TILE> Plain;
    static constexpr int COLUMN = Plain::FIRST - Plain::HALO;                               // where what the first tap meets lies in its row
    // From one input channel to the next 8 banks or 24, so that pairs of columns of four fill all banks.
    static constexpr int PLANE = (Plain::IMAGES * Plain::ROWS * Plain::PITCH + 7) / 16 * 16 + 8;
    static constexpr int DPLANE = 2 * Plain::PIXELS + 16;                                   // of two output channels
    static constexpr bool HALVES = Plain::DHELD > 2;
    static constexpr int SLICES = WEIGHT_THREADS / (2 * WARP);                              // of the lines
    static constexpr int STEPS = Plain::LINES / SLICES * (SIDE_ / 8);                       // products of a tap, of a tile
    static constexpr int TAP_PITCH = WEIGHT_TILE + (KERNEL_ == 1 ? 0 : 2);                  // of a tap's input channels, in the sums
    static constexpr int SUMS = Plain::TAPS * TAP_PITCH / 16 * 16 + 4;                      // pairs of columns of four rows fill all banks
    static constexpr int WORDS = WEIGHT_TILE * PLANE + OUTPUTS / 2 * DPLANE;
    static_assert(WEIGHT_TILE == 16 && OUTPUTS == 16 && COLUMN % 2 == 0 && Plain::PITCH % 2 == 0 && Plain::LINES % SLICES == 0, "whole products");
    static_assert(OUTPUTS * SUMS <= WORDS && SUMS >= Plain::TAPS * TAP_PITCH && SUMS % 16 == 4 && TENSOR_RUN % STEPS == 0, "sums fit");

    // There are products with eight at a time.
    static __device__ __forceinline__ int stored(int inputs) { return (inputs + 7) / 8 * 8; }
    static __device__ __forceinline__ float kept(float x) { return __uint_as_float(to_tf32(x)); }
};

// dz of a tile, two pixels of two channels at a time, by way of registers.
template <class T>
struct PairsFromSlot {
    const float *g, *z;      // [images, channels, SIDE, SIDE] from the block's first channel on
    const Channel* channels; // [OUTPUTS], in shared memory
    int all, outputs, images;
    bool normalized;
    float2 slopes[T::DHELD][2], values[T::DHELD][2];

    template <int BEGIN, int END>
    __device__ __forceinline__ void load(int tile)
    {
        const int thread = thread_anew();
        const size_t first = (size_t)T::image(tile) * all * (T::SIDE * T::SIDE) + T::row(tile) * T::SIDE;
#pragma unroll
        for (int h = BEGIN; h < END; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int pixel = i % (T::PIXELS / 2) * 2, pair = i / (T::PIXELS / 2);
            const int image = pixel / (TILE_ROWS * T::SIDE); // of the tile's
            const int at = (image * all + 2 * pair) * (T::SIDE * T::SIDE) + pixel % (TILE_ROWS * T::SIDE);
#pragma unroll
            for (int o = 0; o < 2; ++o) {
                slopes[h][o] = values[h][o] = make_float2(0.0f, 0.0f);
                if (2 * pair + o >= outputs || T::image(tile) + image >= images) continue;
                slopes[h][o] = load_whole<float2>(g + first + at + o * T::SIDE * T::SIDE);
                if (normalized) values[h][o] = load_whole<float2>(z + first + at + o * T::SIDE * T::SIDE);
            }
        }
    }

    // to: [OUTPUTS / 2, DPLANE]
    template <int BEGIN, int END>
    __device__ __forceinline__ void store(float* to, int tile)
    {
        const int thread = thread_anew();
#pragma unroll
        for (int h = BEGIN; h < END; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int pixel = i % (T::PIXELS / 2) * 2, pair = i / (T::PIXELS / 2);
            float d[2][2] = {};
#pragma unroll
            for (int o = 0; o < 2; ++o) {
                if (2 * pair + o >= outputs || T::image(tile) + pixel / (TILE_ROWS * T::SIDE) >= images) continue;
                const Channel channel = channels[2 * pair + o];
                d[0][o] = slope_of(channel, slopes[h][o].x, values[h][o].x);
                d[1][o] = slope_of(channel, slopes[h][o].y, values[h][o].y);
            }
            store_whole(to + pair * T::DPLANE + 2 * pixel, make_uint4(to_tf32(d[0][0]), to_tf32(d[0][1]), to_tf32(d[1][0]), to_tf32(d[1][1])));
        }
    }
};

// A lane's part in products: its groups of them, the first input channel, the lines.
struct TensorLane {
    int g, t, first, slice;
    static __device__ __forceinline__ TensorLane here()
    {
        const int thread = thread_anew(), warp = thread / WARP;
        return {thread % WARP / 4, thread % 4, warp % 2 * 8, warp / 2};
    }
};

// Part `split` of the gradient for some channels.
// partial: [slot.outputs, slot.inputs, TAPS] from the block's first channels on
template <class T, int SPLITS, class From>
__device__ __forceinline__ void gradient_of(From& from, PairsFromSlot<T>& slopes, const Slot& slot, float* room, float* partial, int split, int inputs,
                                            int outputs, int images)
{
    float* const xs = room;                       // [WEIGHT_TILE, PLANE]
    float* const ds = room + WEIGHT_TILE * T::PLANE; // [OUTPUTS / 2, DPLANE]
    const int count = T::count(images);
    for (int begin = split; begin == split || begin < count; begin += TENSOR_RUN / T::STEPS * SPLITS) {
        float acc[T::TAPS][4];
#pragma unroll
        for (int tap = 0; tap < T::TAPS; ++tap)
#pragma unroll
            for (int i = 0; i < 4; ++i) acc[tap][i] = 0.0f;

        walk_tiles<T, SPLITS>(from, slopes, xs, ds, begin, min(begin + TENSOR_RUN / T::STEPS * SPLITS, count), [&] {
            const auto [g, t, first, slice] = TensorLane::here();
            if (first >= inputs) return;
#pragma unroll 1
            for (int line = slice; line < T::LINES; line += T::SLICES) {
                const float* row = xs + (first + g) * T::PLANE + (line / TILE_ROWS * T::ROWS + line % TILE_ROWS) * T::PITCH + T::COLUMN + 2 * t;
                const float* slope = ds + g * T::DPLANE + 2 * (line * T::SIDE + 2 * t);
#pragma unroll 2
                for (int x = 0; x < T::SIDE; x += 8) {
                    const uint4 four = load_whole<uint4>(slope + 2 * x);
                    const unsigned a[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                    for (int ky = 0; ky < T::KERNEL; ++ky) {
                        const uint2 one = load_whole<uint2>(row + ky * T::PITCH + x);
                        if constexpr (T::KERNEL == 1) {
                            const unsigned b[2] = {one.x, one.y};
                            multiply_add_tf32(acc[0], a, b);
                        } else {
                            const uint2 two = load_whole<uint2>(row + ky * T::PITCH + x + 2);
                            const unsigned b[3][2] = {{one.x, one.y}, {one.y, two.x}, {two.x, two.y}};
#pragma unroll
                            for (int kx = 0; kx < 3; ++kx) multiply_add_tf32(acc[3 * ky + kx], a, b[kx]);
                        }
                    }
                }
            }
        });

        const auto [g, t, first, slice] = TensorLane::here();
        float* const sums = room + 2 * g * T::SUMS + first + 2 * t; // of [OUTPUTS, SUMS], a tap's input channels side by side
        for (int s = 0; s < T::SLICES; ++s) {
            __syncthreads();
            if (slice == s && first < inputs)
#pragma unroll
                for (int tap = 0; tap < T::TAPS; ++tap)
#pragma unroll
                    for (int o = 0; o < 2; ++o) {
                        float* const to = sums + o * T::SUMS + tap * T::TAP_PITCH;
                        float2 sum = make_float2(acc[tap][2 * o], acc[tap][2 * o + 1]);
                        if (s > 0) {
                            const float2 before = load_whole<float2>(to);
                            sum.x += before.x, sum.y += before.y;
                        }
                        store_whole(to, sum);
                    }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < outputs * WEIGHT_TILE * T::TAPS; i += WEIGHT_THREADS) {
            const int at = i % (WEIGHT_TILE * T::TAPS), o = i / (WEIGHT_TILE * T::TAPS);
            if (at >= inputs * T::TAPS) continue;
            const float sum = room[o * T::SUMS + at % T::TAPS * T::TAP_PITCH + at / T::TAPS];
            float& whole = partial[(size_t)o * slot.inputs * T::TAPS + at];
            whole = begin == split ? sum : whole + sum;
        }
    }
}

#define WEIGHTS_TF32(name, SIDE, SPLITS)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(WEIGHT_THREADS, 2) name(                                                                                \
        const unsigned* __restrict__ plan,  /* [lanes, sizes.plan] */                                                                                    \
        const unsigned* __restrict__ slots, /* [count] */                                                                                                \
        const float* __restrict__ tensors,  /* [lanes, sizes.tensors] */                                                                                 \
        const float* __restrict__ sums,     /* [lanes, sizes.sums] */                                                                                    \
        const float* __restrict__ norms,    /* [lanes, sizes.norms] */                                                                                   \
        const float* __restrict__ weights,  /* [trials, sizes.weights] */                                                                                \
        float* __restrict__ partials,       /* [lanes, sizes.partials] */                                                                                \
        const Sizes sizes, const int input_blocks)                                                                                                       \
    {                                                                                                                                                    \
        typedef TensorTile<SIDE, 3> Wide;                                                                                                                \
        typedef TensorTile<SIDE, 1> Narrow;                                                                                                              \
        __shared__ __align__(16) float room[Wide::WORDS];                                                                                                \
        __shared__ Channel channels[OUTPUTS];                                                                                                            \
        weights_of<Wide, Narrow, PairsFromSlot, SPLITS>(plan, slots, tensors, sums, norms, weights, partials, sizes, input_blocks, room, channels);      \
    }
WEIGHTS_TF32(weights_32_tf32, 32, SPLITS_32)
WEIGHTS_TF32(weights_16_tf32, 16, SPLITS_16)
WEIGHTS_TF32(weights_8_tf32, 8, SPLITS_8)
