// The way back through convolutions of stride 1, as in backward.cu, with products by tensor cores.
//
// | kernel         | one block does                             |
// | -------------- | ------------------------------------------ |
// | back_SIDE_tf32 | a tile of a node, its BACK_CHANNELS channels |
//
// A product has the filters as A, 16 channels of the node by 8 channels of a slot, and dz as B, these by 8 neighbouring pixels. The slot's channels 2t and
// 2t + 1 are k = t and t + 4 of both, so that a lane loads what it has of a factor at once: dz lies in shared memory with pairs of channels side by side, filters
// in the order of the lanes. A warp has 8 columns of 4 rows: a row of dz meets up to three rows of filters, and is loaded once for them. Where few warps have
// all of a tile, slices of warps have channels of their own, and are added up at the end, in order.
//
// dz and filters are rounded on the way to shared memory, once. They wait for that in registers while the step before is multiplied.

template <int SIDE_>
struct TensorCut {
    static constexpr int SIDE = SIDE_, OUTPUT = SIDE, IMAGES = tile_images(SIDE), PIXELS = IMAGES * TILE_ROWS * SIDE;
    static constexpr int THREADS = BACK_THREADS, WARPS = THREADS / WARP;
    // Of dz. Two images have the rows of zeros between them in common.
    static constexpr int ROWS = IMAGES == 1 ? TILE_ROWS + 2 : TILE_ROWS + 1, LINES = IMAGES == 1 ? ROWS : IMAGES * ROWS + 1;
    // Two columns of zeros before a row: the second one is its border, the first one that behind the row before.
    static constexpr int PITCH = SIDE + 2;
    // Of two channels, in words: from one to the next 8 banks or 24, so that the pixels of four fill all banks.
    static constexpr int PLANE = (2 * LINES * PITCH + 7) / 16 * 16 + 8;
    static constexpr int STRIP_ROWS = 4, STRIPS = PIXELS / (8 * STRIP_ROWS), SLICES = WARPS / STRIPS;
    static constexpr int STEP = 8 * SLICES, PAIRS = STEP / 2;
    static constexpr int TAP_PITCH = 4 * WARP + 4;                // of a tap's filters: those of neighbouring taps are stored to different banks
    static constexpr int TAPS = PAIRS * PLANE + 4;                // where they begin, behind the last border
    static constexpr int STAGE = TAPS + SLICES * 9 * TAP_PITCH;
    static constexpr int PART = PIXELS + 8;                       // of a channel, in the sums: pairs of pixels of four channels fill all banks
    static constexpr int PARTS = SLICES * BACK_CHANNELS * PART;
    static constexpr int ROOM = 2 * STAGE > PARTS ? 2 * STAGE : PARTS;
    static constexpr int QUARTERS = PAIRS * LINES * SIDE / 2;     // pairs of pixels of pairs of channels
    static constexpr int HELD = (QUARTERS + THREADS - 1) / THREADS;
    static constexpr int FOURS = PAIRS * 9 * BACK_CHANNELS / 2;   // of filters: pairs of the node's channels of pairs of the slot's
    static constexpr int FOURS_HELD = (FOURS + THREADS - 1) / THREADS;
    static_assert(STRIPS * SLICES == WARPS && BACK_CHANNELS == 16 && STAGE % 4 == 0, "whole warps, whole products");

    // Where pairs of pixels lie. With rows of 8, those that neighbouring lanes store lie four apart, so that they fall into different banks.
    static __device__ __forceinline__ void place_of(int quarter, int& pair, int& line, int& x)
    {
        pair = quarter / (LINES * SIDE / 2), line = quarter / (SIDE / 2) % LINES, x = quarter % (SIDE / 2) * 2;
        if (SIDE == 8 && line < LINES / 8 * 8) line = line / 8 * 8 + line % 2 * 4 + line % 8 / 2;
    }

    // Where a slice leaves what it has added up of a quad.
    static __device__ __forceinline__ int part_of(int slice, int channel, int quad) { return (slice * BACK_CHANNELS + channel) * PART + 4 * quad; }
};

__device__ __forceinline__ uint4 to_tf32(const float4& four) { return make_uint4(to_tf32(four.x), to_tf32(four.y), to_tf32(four.z), to_tf32(four.w)); }

// grid [tiles, blocks of channels, lanes]
template <class C>
__device__ __forceinline__ void back_tf32(const unsigned* plan, const float* weights, float* tensors, float* sums, const float* norms,
                                          const Sizes& sizes, const Shape& shape,
                                          float* room,     // two stages, each dz [PAIRS, lines, pitch, 2] and taps [slices, 9, lanes, 4]; in the end
                                                           // sums [slices, channels, pixels]
                                          float4* factors) // [slots, outputs]: own, other, all, mean
{
    constexpr int SIDE = C::SIDE;
    if (!ask_of(plan, sizes, blockIdx.z).present) return;
    const Own own = own_of<SIDE>(plan, weights, tensors, sums, norms, sizes, shape.node);
    const int images = own.ask->images, outputs = shape.outputs, channels = shape.channels;
    if (own.first_image >= images) return;
    const Slot* slots = slots_of(plan, sizes, blockIdx.z) + shape.first_slot;

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int slice = warp / C::STRIPS, strip = warp % C::STRIPS;
    const int sx = strip % (SIDE / 8) * 8, sy = strip / (SIDE / 8) % (TILE_ROWS / C::STRIP_ROWS) * C::STRIP_ROWS;
    const int si = strip / (SIDE / 8 * (TILE_ROWS / C::STRIP_ROWS));
    const int first = blockIdx.y * BACK_CHANNELS, width = min(BACK_CHANNELS, channels - first); // channels of the node

    // The columns of zeros, which nobody writes again.
    for (int i = threadIdx.x; i < 2 * C::PAIRS * (C::LINES + 1); i += C::THREADS) {
        const int line = i % (C::LINES + 1), pair = i / (C::LINES + 1) % C::PAIRS, stage = i / (C::PAIRS * (C::LINES + 1));
        if (line < C::LINES || pair == C::PAIRS - 1 || C::PLANE > 2 * C::LINES * C::PITCH) // or it is the next one's first
            store_whole(room + stage * C::STAGE + pair * C::PLANE + 2 * line * C::PITCH, make_uint4(0, 0, 0, 0));
    }

    float sum[C::STRIP_ROWS][4];
#pragma unroll
    for (int row = 0; row < C::STRIP_ROWS; ++row)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[row][i] = 0.0f;

    // Channels are loaded as far as there are products with them: by 8, with zeros.
    float2 slope[C::HELD][2], value[C::HELD][2];
    float4 filter[C::FOURS_HELD];
    auto inside = [&](int line, int& image, int& y) {
        image = line / C::ROWS, y = own.first_row + line % C::ROWS - 1;
        return own.first_image + image < images && y >= 0 && y < SIDE;
    };
    auto load = [&](const Slot& slot, int begin, float*) {
        const int kernel = slot.kernel, normalized = slot.normalized, thread = thread_anew();
        const float* gradient = own.tensors + slot.gradient + plane_of<SIDE>(own.first_image, outputs, begin);
        const float* output = own.tensors + slot.output + plane_of<SIDE>(own.first_image, outputs, begin);
#pragma unroll
        for (int h = 0; h < C::HELD; ++h) {
            int pair, line, x, image, y;
            C::place_of(h * C::THREADS + thread, pair, line, x);
            const bool there = inside(line, image, y);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                slope[h][i] = value[h][i] = make_float2(0.0f, 0.0f);
                if (!there || pair >= C::PAIRS || begin + 2 * pair + i >= outputs) continue;
                const int at = (image * outputs + 2 * pair + i) * (SIDE * SIDE) + y * SIDE + x;
                slope[h][i] = load_whole<float2>(gradient + at);
                if (normalized) value[h][i] = load_whole<float2>(output + at);
            }
        }
        // [outputs, channels, taps] from the block's first channels on; four: channels g and g + 8 of output 2t, then of 2t + 1
        const float* filters = own.weights + slot.filters + ((size_t)begin * channels + first) * (kernel * kernel);
        auto four_of = [&](int pair, int c, const float* from, int row, int eight) {
            const bool one = begin + 2 * pair < outputs, two = begin + 2 * pair + 1 < outputs;
            const float* at = from + 2 * pair * row;
            return make_float4(one && c < width ? at[0] : 0.0f, one && c + 8 < width ? at[eight] : 0.0f, two && c < width ? at[row] : 0.0f,
                               two && c + 8 < width ? at[row + eight] : 0.0f);
        };
        if (kernel == 3) {
#pragma unroll
            for (int h = 0; h < C::FOURS_HELD; ++h) {
                const int i = h * C::THREADS + thread, pair = i / 72;
                filter[h] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (i < C::FOURS) filter[h] = four_of(pair, i % 72 / 9, filters + i % 72, 9 * channels, 72);
            }
        } else if (thread < 8 * C::PAIRS) {
            filter[0] = four_of(thread / WARP * 4 + thread % 4, thread % WARP / 4, filters + thread % WARP / 4, channels, 8);
        }
    };
    auto put = [&](const float4* of_slot, int begin, float* stage, int kernel) {
        const int thread = thread_anew();
#pragma unroll
        for (int h = 0; h < C::HELD; ++h) {
            int pair, line, x, image, y;
            C::place_of(h * C::THREADS + thread, pair, line, x);
            if (pair >= C::PAIRS || begin + pair / 4 * 8 >= outputs) continue;
            float4 dz = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (inside(line, image, y)) {
                const int o = begin + 2 * pair;
                if (o < outputs) {
                    const float4 of = of_slot[o];
                    dz.x = through_norm(of, slope[h][0].x, value[h][0].x);
                    dz.z = through_norm(of, slope[h][0].y, value[h][0].y);
                }
                if (o + 1 < outputs) {
                    const float4 of = of_slot[o + 1];
                    dz.y = through_norm(of, slope[h][1].x, value[h][1].x);
                    dz.w = through_norm(of, slope[h][1].y, value[h][1].y);
                }
            }
            store_whole(stage + pair * C::PLANE + 2 * (line * C::PITCH + 2 + x), to_tf32(dz));
        }
        float* const taps = stage + C::TAPS;
        if (kernel == 3) {
#pragma unroll
            for (int h = 0; h < C::FOURS_HELD; ++h) {
                const int i = h * C::THREADS + thread, pair = i / 72, c = i % 72 / 9, tap = 8 - i % 9; // turned by half a circle
                if (i < C::FOURS && begin + pair / 4 * 8 < outputs)
                    store_whole(taps + (pair / 4 * 9 + tap) * C::TAP_PITCH + (4 * c + pair % 4) * 4, to_tf32(filter[h]));
            }
        } else if (thread < 8 * C::PAIRS) {
            if (begin + thread / WARP * 8 < outputs) store_whole(taps + (thread / WARP * 9 + 4) * C::TAP_PITCH + thread % WARP * 4, to_tf32(filter[0]));
        }
    };
    auto multiply_step = [&](int kernel, int begin, const float* stage) {
        if (begin + 8 * slice >= outputs) return;
        const float* dz = stage + (4 * slice + t) * C::PLANE + 2 * ((si * C::ROWS + sy) * C::PITCH + sx + g + 1);
        const float* taps = stage + C::TAPS + slice * 9 * C::TAP_PITCH + 4 * lane;
        auto filter_of = [&](int tap, unsigned(&a)[4]) {
            const uint4 four = load_whole<uint4>(taps + tap * C::TAP_PITCH);
            a[0] = four.x, a[1] = four.y, a[2] = four.z, a[3] = four.w;
        };
        auto dz_of = [&](int row, int column, unsigned(&b)[2]) {
            const uint2 two = load_whole<uint2>(dz + 2 * (row * C::PITCH + column));
            b[0] = two.x, b[1] = two.y;
        };
        if (kernel == 3) {
#pragma unroll 1
            for (int kx = 0; kx < 3; ++kx) {
                unsigned a[3][4], b[C::STRIP_ROWS + 2][2];
#pragma unroll
                for (int ky = 0; ky < 3; ++ky) filter_of(3 * ky + kx, a[ky]);
#pragma unroll
                for (int row = 0; row < C::STRIP_ROWS + 2; ++row) dz_of(row, kx, b[row]);
#pragma unroll
                for (int ky = 0; ky < 3; ++ky)
#pragma unroll
                    for (int row = 0; row < C::STRIP_ROWS; ++row) multiply_add_tf32(sum[row], a[ky], b[row + ky]);
            }
        } else {
            unsigned a[4], b[2];
            filter_of(4, a);
#pragma unroll
            for (int row = 0; row < C::STRIP_ROWS; ++row) {
                dz_of(row + 1, 1, b);
                multiply_add_tf32(sum[row], a, b);
            }
        }
    };

    const bool convolves = walk<C>(own, sizes, shape, slots, room, factors, load, put, multiply_step);

    // The slices side by side.
    if (convolves) {
        __syncthreads();
#pragma unroll
        for (int row = 0; row < C::STRIP_ROWS; ++row) {
            float* to = room + C::part_of(slice, g, ((si * TILE_ROWS + sy + row) * SIDE + sx) / 4) + 2 * t;
            store_whole(to, make_float2(sum[row][0], sum[row][1]));
            store_whole(to + 8 * C::PART, make_float2(sum[row][2], sum[row][3]));
        }
        __syncthreads();
    }
    finish<C>(own, shape, room, convolves);
}

#define BACK_TF32(name, SIDE)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(BACK_THREADS, 2)                                                                           \
        name(const unsigned* __restrict__ plan, /* [lanes, sizes.plan] */                                                                   \
             const float* __restrict__ weights, /* [trials, sizes.weights] */                                                               \
             float* tensors,                    /* [lanes, sizes.tensors] */                                                                \
             float* sums,                       /* [lanes, sizes.sums] */                                                                   \
             const float* __restrict__ norms,   /* [lanes, sizes.norms] */                                                                  \
             const Sizes sizes, const Shape shape)                                                                                          \
    {                                                                                                                                       \
        __shared__ __align__(16) float room[TensorCut<SIDE>::ROOM];                                                                         \
        __shared__ __align__(16) float4 factors[BACK_FACTORS];                                                                              \
        back_tf32<TensorCut<SIDE>>(plan, weights, tensors, sums, norms, sizes, shape, room, factors);                                       \
    }
BACK_TF32(back_32_tf32, 32)
BACK_TF32(back_16_tf32, 16)
BACK_TF32(back_8_tf32, 8)
