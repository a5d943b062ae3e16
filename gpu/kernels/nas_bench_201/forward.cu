// Forward through NAS-Bench-201's parent network: a node's value from its terms, then all convolutions that read it, and what their batch norms need.
//
// | kernel       | one block does                                                       | naive version: one thread does                  |
// | ------------ | -------------------------------------------------------------------- | ----------------------------------------------- |
// | node_SIDE    | a tile of pixels, 16 channels of up to three slots, SIDE their side   | a pixel of all channels of one slot             |
// | node_down_*  | the same with stride 2: the node has twice the side                   | the same                                        |
// | stem         | the same for the minibatch, from bytes: crop, flip, normalisation     | the same                                        |
// | last_node    | a tile of eight channels of the last node; a warp a channel           | a tile of one channel                           |
//
// # The fast versions
// Values are computed on load: a block adds up the node's terms for the rows that it reads, border included, and only blocks with blockIdx.y == 0 write
// them, each the rows that are its own. So a batch norm is applied where its output is read, by blocks that have joined its statistics before; the first
// of them keeps mean and 1/sqrt(v + eps) for the way back.
//
// A warp has 16 strips of STRIP pixels x 8 output channels of one slot: lane = 2 * strip + half, a lane 4 channels, 32 sums in registers. Input channels come
// in chunks, through two stages of shared memory: while one is worked on, the next is filled. Where there are few tiles, SLICES groups of warps share the
// channels of a chunk; their sums are added in a fixed order. With kernel 1, a convolution has the tap in the middle only.
//
// In shared memory a row of pixels begins with four floats of which the last is the zero left of it, and the first of the row that follows is the zero
// right of it: pixels are stored by four. Rows are W + 4 floats apart, an odd multiple of 4, and strips that are served together are of different rows:
// loads of 16 bytes are free of conflicts, the two single words beside a strip fall into 8 banks, two by two. With stride 2, even rows come before odd ones,
// so that this holds as well. Taps are 20 floats apart, an odd multiple of 4, and stored by 8 taps x 4 channels.
//
// With products by tensor cores: forward_tf32.cu.
//
// Written on the host, in src/kernels/nas_bench_201: what plan.cuh says, and, in forward.rs, STRIP, OUTPUTS, IMAGE, PIXELS, PADDING, COLOURS, LAST_SIDE,
// the SLOTS, SLICES and CHUNK of every node kernel, and FLOATS, the floats of its shared memory beside the terms.

// Added to variances, and what a minibatch adds to running statistics: NORM_EPSILON and NORM_MOMENTUM of network::nas_bench_201::parent.
constexpr double NORM_EPSILON = 1e-5, NORM_MOMENTUM = 0.1;
constexpr int NAIVE_THREADS = 256;
constexpr int LAST_CHANNELS = 8; // of a block of last_node
constexpr int TAPS = 9, CENTRE = 4;
constexpr int TAP_PITCH = OUTPUTS + 4;

__device__ __forceinline__ float4 load4(const float* from) { return load_whole<float4>(from); }

__device__ __forceinline__ void store4(float* to, float4 v) { store_whole(to, v); }

// ---------------------------------------------------------------- terms

// What a term is multiplied by: it adds fmaf(v - x, y, z).
using Affine = float4;

// What is done to the output of a term's layer in a channel, of whose statistics mean and sum of squared deviations are given; `keeps` for the one who writes
// down what is needed later.
__device__ __forceinline__ Affine affine_of(const Term& term, int channel, int channels, int count, double mean, double squares, const Ask& ask,
                                            const float* weights, float* norms, double* running, bool keeps)
{
    const double inverse = 1.0 / sqrt(squares / count + NORM_EPSILON);
    double scale = term.weight, shift = 0.0;
    if (term.scale != NOWHERE) scale *= weights[term.scale + channel];
    if (term.shift != NOWHERE) shift = (double)term.weight * weights[term.shift + channel];
    if (keeps) {
        norms[term.norm + channel] = (float)mean;
        norms[term.norm + channels + channel] = (float)inverse;
        if (ask.running && term.running != NOWHERE) {
            double* means = running + term.running + channel;
            double* variances = means + channels;
            const double unbiased = squares / max(count - 1, 1);
            *means += NORM_MOMENTUM * (mean - *means);
            *variances += NORM_MOMENTUM * (unbiased - *variances);
        }
    }
    return make_float4((float)mean, (float)(scale * inverse), (float)shift, 0.0f);
}

__device__ __forceinline__ bool is_pooling(int kind) { return kind == POOL || kind == HALVE; }

// Output of a pooling at four neighbouring pixels.
// data: [batch, channels, SIDE, SIDE], with HALVE of twice the side; plane: image * channels + channel
template <int SIDE>
__device__ __forceinline__ float4 pool(int kind, const float* data, int plane, int row, int column)
{
    if (kind == POOL) {
        const float* source = data + (size_t)plane * SIDE * SIDE + column;
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
        for (int y = max(row - 1, 0); y <= min(row + 1, SIDE - 1); ++y) {
            const float4 middle = load4(source + y * SIDE);
            const float left = column > 0 ? source[y * SIDE - 1] : 0.0f, right = column + 4 < SIDE ? source[y * SIDE + 4] : 0.0f;
            sums[0] += left + middle.x + middle.y;
            sums[1] += middle.x + middle.y + middle.z;
            sums[2] += middle.y + middle.z + middle.w;
            sums[3] += middle.z + middle.w + right;
        }
        return make_float4(sums[0] * pooled_share(row, column, SIDE), sums[1] * pooled_share(row, column + 1, SIDE),
                           sums[2] * pooled_share(row, column + 2, SIDE), sums[3] * pooled_share(row, column + 3, SIDE));
    }
    const float* source = data + (size_t)plane * (4 * SIDE * SIDE) + 4 * row * SIDE + 2 * column;
    const float4 a = load4(source), b = load4(source + 4);
    const float4 c = load4(source + 2 * SIDE), d = load4(source + 2 * SIDE + 4);
    return make_float4(0.25f * (a.x + a.y + c.x + c.y), 0.25f * (a.z + a.w + c.z + c.w), 0.25f * (b.x + b.y + d.x + d.y),
                       0.25f * (b.z + b.w + d.z + d.w));
}

__device__ __forceinline__ void add(float4& sum, const float4& v, const Affine& affine)
{
    sum.x += fmaf(v.x - affine.x, affine.y, affine.z);
    sum.y += fmaf(v.y - affine.x, affine.y, affine.z);
    sum.z += fmaf(v.z - affine.x, affine.y, affine.z);
    sum.w += fmaf(v.w - affine.x, affine.y, affine.z);
}

// Not NaN to zero, as fmaxf would.
__device__ __forceinline__ float relu(float v) { return v < 0.0f ? 0.0f : v; }

// The terms of a node as its blocks have them in shared memory.
struct Terms {
    int count;
    uint2* layers;   // [count]: kind, where its data are
    Affine* affines; // [count, channels]
};

// Fills them; a warp joins the statistics of a (term, channel) at a time. A barrier must follow.
template <int SIDE>
__device__ __forceinline__ Terms prepare(float4* shared, const unsigned* plan, const float* weights, const float* sums, float* norms, double* running,
                                         const Sizes& sizes, const Shape& shape, const Ask& ask, bool keeps)
{
    const int count = node_of(plan, sizes, blockIdx.z, shape.node).terms;
    const Term* list = terms_of(plan, sizes, blockIdx.z, shape.node);
    const Terms terms = {count, (uint2*)(shared + sizes.terms * shape.channels), shared};
    for (int i = threadIdx.x / WARP; i < count * shape.channels; i += blockDim.x / WARP) {
        const Term& term = list[i / shape.channels];
        const int channel = i % shape.channels;
        Affine affine = make_float4(0.0f, term.weight, 0.0f, 0.0f);
        if (term.kind == NORMALIZED) {
            double mean, squares;
            join_statistics((const float2*)(sums + term.statistics) + channel * tile_count(SIDE, sizes.batch), SIDE, ask.images, mean, squares);
            affine = affine_of(term, channel, shape.channels, ask.images * SIDE * SIDE, mean, squares, ask, weights, norms, running,
                               keeps && threadIdx.x % WARP == 0);
        }
        if (threadIdx.x % WARP == 0) {
            store4((float*)(terms.affines + i), affine);
            if (channel == 0) terms.layers[i / shape.channels] = make_uint2(term.kind, term.data);
        }
    }
    return terms;
}

// ---------------------------------------------------------------- convolutions

// What the threads of a block ask for wherever they need it, so that it takes no registers of the loop that does the work.
struct Block {
    int first_output, count; // the first of its output channels, its slots that there are
    int kernels[6];          // [slots that it has warps for]: 0 of one that takes no part
};
constexpr int BLOCK = sizeof(Block) / sizeof(float);

// The shape of a block's work on convolutions whose outputs have SIDE x SIDE pixels.
template <int SIDE_, int STRIDE_, int SLOTS_, int SLICES_, int CHUNK_, int FLOATS>
struct Work {
    static constexpr int SIDE = SIDE_, STRIDE = STRIDE_, SLOTS = SLOTS_, SLICES = SLICES_, CHUNK = CHUNK_;
    static constexpr int INPUT = SIDE * STRIDE;                                // height and width of the node
    static constexpr int IMAGES = tile_images(SIDE);                           // of a tile
    static constexpr int ROWS = STRIDE * TILE_ROWS + (STRIDE == 1 ? 2 : 1);    // of an image that a tile reads
    static constexpr int PITCH = INPUT + 4, PLANE = IMAGES * ROWS * PITCH + 4; // of a row, of a channel
    static constexpr int CHANNELS = CHUNK * SLICES;                            // of a chunk
    static constexpr int STRIP_WARPS = IMAGES * TILE_ROWS * SIDE / STRIP / 16; // that have the tile
    static constexpr int SLICE_WARPS = STRIP_WARPS * OUTPUTS / 8, SLOT_WARPS = SLICES * SLICE_WARPS;
    static constexpr int THREADS = WARP * SLOTS * SLOT_WARPS;
    static constexpr int TILE = CHANNELS * PLANE, FILTERS = CHANNELS * TAPS * TAP_PITCH; // floats of a stage; filters of one slot
    static constexpr int MOMENTS = STRIP_WARPS > 1 ? 2 * STRIP_WARPS * OUTPUTS : 0;      // floats of one slot
    static_assert(STRIDE == 1 || STRIDE == 2, "the strides of the network");
    static_assert(IMAGES * TILE_ROWS * SIDE % (16 * STRIP) == 0 && SIDE % STRIP == 0 && TILE_ROWS == 8, "whole warps, each of all rows");
    // Terms that are loaded before the first of them is added, as many as there are registers for; with small images, there are more threads than pixels.
    static constexpr int TOGETHER = SIDE < 16 ? 1 : 2;
    static_assert(2 * (TILE + SLOTS * FILTERS) + SLOTS * MOMENTS + BLOCK == FLOATS && SLOTS <= 6, "the host makes room for it");
    static_assert(SLOTS * (SLICES / 2) * SLICE_WARPS * WARP * STRIP * 4 <= 2 * (TILE + SLOTS * FILTERS), "sums of slices take the place of the chunks");

    // Where a row stands among those of its image.
    static __device__ __forceinline__ int place(int row) { return STRIDE == 1 ? row : row % 2 * (TILE_ROWS + 1) + row / 2; }
};

// What a thread has of a block's work.
template <class W>
struct Role {
    int own, slice, part;    // slot among the block's, slice of the channels, warp of the slice
    int channel, sy, sx, si; // first output channel; row and column of the tile, image of the tile

    __device__ __forceinline__ explicit Role(int thread)
    {
        const int warp = thread / WARP, lane = thread % WARP, strip = warp % W::STRIP_WARPS * 16 + lane / 2;
        own = warp / W::SLOT_WARPS, slice = warp / W::SLICE_WARPS % W::SLICES, part = warp % W::SLICE_WARPS;
        channel = part / W::STRIP_WARPS * 8 + lane % 2 * 4;
        sy = strip % TILE_ROWS, sx = strip / TILE_ROWS % (W::SIDE / STRIP) * STRIP, si = strip / (TILE_ROWS * (W::SIDE / STRIP));
    }
};

// Where a block's chunks end, each of two stages with pixels and filters, there are the moments of its `room` slots, then Block.
template <class W>
__device__ __forceinline__ float2* moments_of(float* shared, int room)
{
    return (float2*)(shared + 2 * (W::TILE + room * W::FILTERS));
}

template <class W>
__device__ __forceinline__ Block& block_of(float* shared, int room)
{
    return *(Block*)(shared + 2 * (W::TILE + room * W::FILTERS) + room * W::MOMENTS);
}

// Writes down what a block is about, and goes over its chunks of input channels: while one is worked on, the next one is filled.
// fill(first_output, count, first, there, stage): channels from `first` on, of which there are `there`; work(done, stage): those from `done` on
template <class W, class Fill, class Multiply>
__device__ __forceinline__ void over_chunks(Block& block, const Slot* slots, int slot_count, int room, int first, int inputs, const Fill& fill,
                                            const Multiply& work)
{
    if (threadIdx.x < room) block.kernels[threadIdx.x] = threadIdx.x < slot_count ? slots[threadIdx.x].kernel : 0;
    if (threadIdx.x == 0) {
        block.first_output = first;
        block.count = slot_count;
    }
    fill(first, slot_count, 0, min(inputs, W::CHANNELS), 0);
    __syncthreads();
    for (int done = 0, stage = 0; done < inputs; done += W::CHANNELS, stage ^= 1) {
        const int next = done + W::CHANNELS;
        if (next < inputs) fill(block.first_output, block.count, next, min(inputs - next, W::CHANNELS), stage ^ 1);
        work(done, stage);
        __syncthreads();
    }
}

// Adds up the slices' sums, two by two, in the place of the chunks: those of the first slice are whole then.
template <class W, int COUNT>
__device__ __forceinline__ void add_slices(float (&acc)[COUNT][4], float* shared, int own, int slice, int part, bool convolves)
{
#pragma unroll
    for (int half = W::SLICES / 2; half > 0; half /= 2) {
        const int region = slice % half + (half < W::SLICES / 2 ? half : 0);
        float4* place = (float4*)shared + ((own * (W::SLICES / 2) + region) * W::SLICE_WARPS + part) * (WARP * COUNT) + thread_anew() % WARP;
        if (convolves && slice >= half && slice < 2 * half) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) store4((float*)(place + i * WARP), make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
        }
        __syncthreads();
        if (convolves && slice < half) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const float4 other = load4((const float*)(place + i * WARP));
                acc[i][0] += other.x; acc[i][1] += other.y; acc[i][2] += other.z; acc[i][3] += other.w;
            }
        }
    }
}

// Mean and squares of a channel from those of warps, of which `there` have PIXELS each.
// moments: [WARPS, OUTPUTS] from the channel on
template <int WARPS, int PIXELS>
__device__ __forceinline__ float2 join_moments(const float2* moments, int there)
{
    float2 all = moments[0];
#pragma unroll
    for (int w = 1; w < WARPS; ++w) {
        if (w >= there) break;
        const float2 other = moments[w * OUTPUTS];
        const float apart = other.x - all.x, share = 1.0f / (w + 1);
        all.y += other.y + apart * apart * (PIXELS * w * share);
        all.x = fmaf(apart, share, all.x);
    }
    return all;
}

// All slots of a block: z and its statistics.
// slots: [slot_count], those of them that take no part have kernel 0; the block has warps for as many at least; first: output channel
// load(channel, image, row, column, owned): four neighbouring pixels of what is convolved; `owned` if no other block has them
template <class W, class Load>
__device__ __forceinline__ void convolve(const float* weights, float* tensors, float* sums, const Slot* slots, int slot_count, int inputs, int outputs,
                                         int first, int images, int batch, float* shared, Load load)
{
    constexpr int QUADS = W::INPUT / 4, GROUPS = (W::CHANNELS * TAPS + 7) / 8;
    const int room = blockDim.x / (WARP * W::SLOT_WARPS);
    const int image = tile_image(blockIdx.x, W::SIDE), top = tile_row(blockIdx.x, W::SIDE);
    Block& block = block_of<W>(shared, room);
    float* const tiles = shared;                        // [2, CHANNELS, PLANE]
    float* const filters = shared + 2 * W::TILE;        // [2, room, CHANNELS, TAPS, TAP_PITCH]

    float acc[STRIP][4];
#pragma unroll
    for (int x = 0; x < STRIP; ++x)
#pragma unroll
        for (int o = 0; o < 4; ++o) acc[x][o] = 0.0f;

    // Fills a stage with channels from `first` on, of which there are `there`.
    auto fill = [&](int first_output, int count, int first, int there, int stage) {
        const int thread = thread_anew();
#pragma unroll 1
        for (int i = thread; i < there * (W::IMAGES * W::ROWS * QUADS); i += blockDim.x) {
            const int q = i % QUADS, y = i / QUADS % W::ROWS, n = i / (QUADS * W::ROWS) % W::IMAGES, c = i / (QUADS * W::ROWS * W::IMAGES);
            const int row = W::STRIDE * top + y - 1;
            float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (row >= 0 && row < W::INPUT && image + n < images) v = load(first + c, image + n, row, 4 * q, y > 0 && y <= W::STRIDE * TILE_ROWS);
            store4(tiles + stage * W::TILE + c * W::PLANE + (n * W::ROWS + W::place(y)) * W::PITCH + 4 + 4 * q, v);
        }
#pragma unroll 1
        for (int w = thread / WARP; w < count * (OUTPUTS / 4 * GROUPS); w += blockDim.x / WARP) {
            const int lane = thread % WARP, k = w % GROUPS * 8 + lane % 8, o = w / GROUPS % (OUTPUTS / 4) * 4 + lane / 8, s = w / (GROUPS * (OUTPUTS / 4));
            if (first_output + o >= outputs) continue;
            const Slot& slot = slots[s];
            const float* from = weights + slot.filters; // [outputs, inputs, kernel, kernel]
            float* to = filters + (stage * room + s) * W::FILTERS + o;
            if (slot.kernel == 3 && k < TAPS * there) to[k * TAP_PITCH] = from[((first_output + o) * inputs + first) * TAPS + k];
            if (slot.kernel == 1 && k < there) to[(k * TAPS + CENTRE) * TAP_PITCH] = from[(first_output + o) * inputs + first + k];
        }
    };

    // What is beside the rows stays zero.
    constexpr int BESIDE = W::IMAGES * W::ROWS + 1;
    for (int i = threadIdx.x; i < 2 * W::CHANNELS * BESIDE; i += blockDim.x)
        store4(tiles + i / BESIDE * W::PLANE + i % BESIDE * W::PITCH, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
    auto multiply = [&](int done, int stage) {
        const Role<W> role(thread_anew());
        const bool works = block.first_output + role.channel < outputs && image + role.si < images;
        const int kernel = works ? block.kernels[role.own] : 0, channel = role.slice * W::CHUNK, there = min(inputs - done - channel, W::CHUNK);
        const float* pixels = tiles + stage * W::TILE + channel * W::PLANE + (role.si * W::ROWS + role.sy) * W::PITCH + 3 + W::STRIDE * role.sx;
        const float* taps = filters + (stage * room + role.own) * W::FILTERS + channel * (TAPS * TAP_PITCH) + role.channel;
        if (kernel == 3) {
#pragma unroll 1
            for (int c = 0; c < there; ++c, pixels += W::PLANE, taps += TAPS * TAP_PITCH) {
#pragma unroll
                for (int ky = 0; ky < 3; ++ky) {
                    const float* row = pixels + W::place(ky) * W::PITCH;
                    constexpr int COUNT = W::STRIDE * (STRIP - 1) + 3;
                    float px[COUNT];
                    px[0] = row[0];
#pragma unroll
                    for (int x = 1; x + 3 < COUNT; x += 4) {
                        const float4 v = load4(row + x);
                        px[x] = v.x; px[x + 1] = v.y; px[x + 2] = v.z; px[x + 3] = v.w;
                    }
                    if (COUNT % 4 == 2) px[COUNT - 1] = row[COUNT - 1];
#pragma unroll
                    for (int kx = 0; kx < 3; ++kx) {
                        const float4 w = load4(taps + (3 * ky + kx) * TAP_PITCH);
#pragma unroll
                        for (int x = 0; x < STRIP; ++x) {
                            const float p = px[W::STRIDE * x + kx];
                            acc[x][0] = fmaf(p, w.x, acc[x][0]); acc[x][1] = fmaf(p, w.y, acc[x][1]);
                            acc[x][2] = fmaf(p, w.z, acc[x][2]); acc[x][3] = fmaf(p, w.w, acc[x][3]);
                        }
                    }
                }
            }
        } else if (kernel == 1) {
#pragma unroll 1
            for (int c = 0; c < there; ++c, pixels += W::PLANE, taps += TAPS * TAP_PITCH) {
                const float* row = pixels + W::place(1) * W::PITCH + 1;
                const float4 w = load4(taps + CENTRE * TAP_PITCH);
#pragma unroll
                for (int x = 0; x < STRIP; x += 4 / W::STRIDE) {
                    const float4 v = load4(row + W::STRIDE * x);
                    const float p[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
                    for (int i = 0; i < 4 / W::STRIDE; ++i) {
                        float(&sum)[4] = acc[x + i];
                        sum[0] = fmaf(p[W::STRIDE * i], w.x, sum[0]); sum[1] = fmaf(p[W::STRIDE * i], w.y, sum[1]);
                        sum[2] = fmaf(p[W::STRIDE * i], w.z, sum[2]); sum[3] = fmaf(p[W::STRIDE * i], w.w, sum[3]);
                    }
                }
            }
        }
    };
    over_chunks<W>(block, slots, slot_count, room, first, inputs, fill, multiply);

    const int thread = thread_anew(), lane = thread % WARP, first_output = block.first_output;
    const auto [own, slice, part, channel, sy, sx, si] = Role<W>(thread);
    const bool convolves = block.kernels[own] != 0;

    add_slices<W>(acc, shared, own, slice, part, convolves);

    // Outputs, and their statistics, joined by Chan's rule for equal counts.
    const bool ends = convolves && slice == 0 && first_output + part / W::STRIP_WARPS * 8 < outputs; // the same in a warp
    const int tiles_there = tile_count(W::SIDE, batch);
    float2* moments = moments_of<W>(shared, room) + own * (W::STRIP_WARPS * OUTPUTS); // [STRIP_WARPS, OUTPUTS]
    if (ends) {
        // Of z, the two lanes of a strip store a channel each half its pixels, so that whole sectors are written.
        const bool right = lane % 2;
        const int stored = first_output + part / W::STRIP_WARPS * 8; // and the fifth after it
        const size_t at = ((size_t)(image + si) * outputs + stored) * (W::SIDE * W::SIDE) + (top + sy) * W::SIDE + sx + (right ? 4 : 0);
        float* z = tensors + slots[own].output + at;
        float2* statistics = (float2*)(sums + slots[own].statistics) + (first_output + channel) * tiles_there + blockIdx.x; // [outputs, tiles]
#pragma unroll
        for (int o = 0; o < 4; ++o) {
            float mean = 0.0f, squares = 0.0f;
#pragma unroll
            for (int x = 0; x < STRIP; ++x) mean += acc[x][o];
            mean *= 1.0f / STRIP;
#pragma unroll
            for (int x = 0; x < STRIP; ++x) squares = fmaf(acc[x][o] - mean, acc[x][o] - mean, squares);
            float half = STRIP / 2.0f;
#pragma unroll
            for (int lanes = 2; lanes < WARP; lanes *= 2, half *= 2.0f) {
                const float other = __shfl_xor_sync(FULL, mean, lanes), theirs = __shfl_xor_sync(FULL, squares, lanes);
                if (W::IMAGES == 2 && lanes == WARP / 2 && image + 1 >= images) continue; // the tile's second image is not there
                const float apart = mean - other;
                squares = fmaf(apart * half, apart, squares + theirs);
                mean = 0.5f * (mean + other);
            }
            float first[4], second[4];
#pragma unroll
            for (int x = 0; x < 4; ++x) {
                const float kept = right ? acc[x + 4][o] : acc[x][o];
                const float got = __shfl_xor_sync(FULL, right ? acc[x][o] : acc[x + 4][o], 1);
                first[x] = right ? got : kept;
                second[x] = right ? kept : got;
            }
            if (image + si < images && stored + o < outputs)
                store4(z + o * (W::SIDE * W::SIDE), make_float4(first[0], first[1], first[2], first[3]));
            if (image + si < images && stored + 4 + o < outputs)
                store4(z + (4 + o) * (W::SIDE * W::SIDE), make_float4(second[0], second[1], second[2], second[3]));
            if (lane < 2) {
                if (W::STRIP_WARPS > 1)
                    moments[part % W::STRIP_WARPS * OUTPUTS + channel + o] = make_float2(mean, squares);
                else if (first_output + channel + o < outputs)
                    statistics[o * tiles_there] = make_float2(mean, squares);
            }
        }
    }
    if (W::STRIP_WARPS > 1) {
        __syncthreads();
        if (ends && lane < 2 && part % W::STRIP_WARPS == 0) {
            float2* statistics = (float2*)(sums + slots[own].statistics) + (first_output + channel) * tiles_there + blockIdx.x;
            for (int o = 0; o < 4 && first_output + channel + o < outputs; ++o)
                statistics[o * tiles_there] = join_moments<W::STRIP_WARPS, 16 * STRIP>(moments + channel + o, W::STRIP_WARPS);
        }
    }
}

// Which function convolves.
template <class W>
struct Plain {
    template <class... All>
    __device__ __forceinline__ void operator()(All... all) const
    {
        convolve<W>(all...);
    }
};

// A node's value, which `convolve_all` asks for, and all that it does with it.
template <class W, class Convolve>
__device__ __forceinline__ void node(const unsigned* plan, const float* weights, float* tensors, float* sums, float* norms, double* running,
                                     const Sizes& sizes, const Shape& shape, float4* shared, const Convolve& convolve_all)
{
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    if (!ask.present || tile_pixels(blockIdx.x, W::SIDE, ask.images) == 0) return;
    const int room = blockDim.x / (WARP * W::SLOT_WARPS), output_tiles = max((shape.outputs + OUTPUTS - 1) / OUTPUTS, 1);
    const int first_slot = blockIdx.y / output_tiles * room, count = min(shape.slots - first_slot, room);
    const Slot* slots = slots_of(plan, sizes, blockIdx.z) + shape.first_slot + first_slot;
    bool needed = blockIdx.y == 0; // for the value
    for (int s = 0; s < count; ++s) needed = needed || slots[s].kernel != 0;
    if (!needed) return;

    weights += (size_t)ask.trial * sizes.weights;
    running += (size_t)ask.trial * sizes.running;
    tensors += (size_t)blockIdx.z * sizes.tensors;
    sums += (size_t)blockIdx.z * sizes.sums;
    norms += (size_t)blockIdx.z * sizes.norms;
    float* work = (float*)(shared + sizes.terms * shape.channels + (sizes.terms + 1) / 2); // behind affines and layers
    const Terms terms = prepare<W::INPUT>(shared, plan, weights, sums, norms, running, sizes, shape, ask, blockIdx.x == 0 && blockIdx.y == 0);
    __syncthreads();

    const int channels = shape.channels;
    const bool rectified = shape.relu;
    auto load = [&](int channel, int image, int row, int column, bool owned) {
        const int plane = image * channels + channel;
        const unsigned at = (plane * W::INPUT + row) * W::INPUT + column;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        // Poolings come last, so that the others' loads don't wait for them.
#pragma unroll 1
        for (int t = 0; t < terms.count; t += W::TOGETHER) {
            float4 v[W::TOGETHER];
            bool direct[W::TOGETHER];
#pragma unroll
            for (int i = 0; i < W::TOGETHER; ++i) {
                direct[i] = t + i < terms.count && !is_pooling(terms.layers[t + i].x);
                if (direct[i]) v[i] = load4(tensors + (terms.layers[t + i].y + at));
            }
#pragma unroll
            for (int i = 0; i < W::TOGETHER; ++i)
                if (direct[i]) add(sum, v[i], load4((const float*)(terms.affines + (t + i) * channels + channel)));
        }
#pragma unroll 1
        for (int t = 0; t < terms.count; ++t)
            if (is_pooling(terms.layers[t].x))
                add(sum, pool<W::INPUT>(terms.layers[t].x, tensors + terms.layers[t].y, plane, row, column),
                    load4((const float*)(terms.affines + t * channels + channel)));
        if (owned && blockIdx.y == 0) store4(tensors + (shape.value + at), sum);
        if (rectified) sum = make_float4(relu(sum.x), relu(sum.y), relu(sum.z), relu(sum.w));
        return sum;
    };
    convolve_all(weights, tensors, sums, slots, count, channels, shape.outputs, blockIdx.y % output_tiles * OUTPUTS, ask.images, sizes.batch, work, load);
}

// ---------------------------------------------------------------- images

// Where a row or column of a crop comes from, as Images::crop of network::nas_bench_201::data has it.
// Pixel of a cropped image: black where the crop reaches beyond the image, NaN if there is no such image.
// images: [there, COLOURS, IMAGE, IMAGE] bytes, by four in words of which the lowest byte comes first; values: [COLOURS, 256]
__device__ __forceinline__ float pixel(const unsigned* images, unsigned there, const Sample& sample, const float* values, int channel, int row, int column)
{
    const int y = row + sample.top - PADDING, padded = column + sample.left - PADDING;
    unsigned byte = 0;
    if (sample.image >= there) return __uint_as_float(0x7fc00000u);
    if (y >= 0 && y < IMAGE && padded >= 0 && padded < IMAGE) {
        const int x = sample.flip ? IMAGE - 1 - padded : padded;
        const int at = (channel * IMAGE + y) * IMAGE + x;
        byte = images[(size_t)sample.image * (PIXELS / 4) + at / 4] >> (8 * (at % 4)) & 255;
    }
    return values[channel * 256 + byte];
}

// ---------------------------------------------------------------- naive versions

// The same as `prepare`, a thread a (term, channel).
template <int SIDE>
__device__ Terms prepare_naive(float4* shared, const unsigned* plan, const float* weights, const float* sums, float* norms, double* running,
                               const Sizes& sizes, const Shape& shape, const Ask& ask, bool keeps)
{
    const int channels = shape.channels, count = node_of(plan, sizes, blockIdx.z, shape.node).terms;
    const Term* list = terms_of(plan, sizes, blockIdx.z, shape.node);
    const Terms terms = {count, (uint2*)(shared + sizes.terms * channels), shared};
    for (int i = threadIdx.x; i < count * channels; i += blockDim.x) {
        const Term& term = list[i / channels];
        const int channel = i % channels;
        Affine affine = make_float4(0.0f, term.weight, 0.0f, 0.0f);
        if (term.kind == NORMALIZED) {
            const float2* statistics = (const float2*)(sums + term.statistics) + channel * tile_count(SIDE, sizes.batch); // [tiles]
            double mean = 0.0, squares = 0.0, there = 0.0;
            for (int tile = 0; tile < tile_count(SIDE, ask.images); ++tile) {
                const double more = tile_pixels(tile, SIDE, ask.images), apart = statistics[tile].x - mean;
                squares += statistics[tile].y + apart * apart * there * more / (there + more);
                there += more;
                mean += apart * more / there;
            }
            affine = affine_of(term, channel, channels, ask.images * SIDE * SIDE, mean, squares, ask, weights, norms, running, keeps);
        }
        terms.affines[i] = affine;
        if (channel == 0) terms.layers[i / channels] = make_uint2(term.kind, term.data);
    }
    return terms;
}

// Output of a term's layer at a pixel.
template <int SIDE>
__device__ float fetch_naive(int kind, const float* data, int plane, int row, int column)
{
    const float* source = data + (size_t)plane * (SIDE * SIDE); // [SIDE, SIDE]
    if (kind == POOL) {
        float sum = 0.0f;
        int count = 0;
        for (int y = max(row - 1, 0); y <= min(row + 1, SIDE - 1); ++y)
            for (int x = max(column - 1, 0); x <= min(column + 1, SIDE - 1); ++x, ++count) sum += source[y * SIDE + x];
        return sum / count;
    }
    if (kind == HALVE) {
        source = data + (size_t)plane * (4 * SIDE * SIDE); // [2 SIDE, 2 SIDE]
        float sum = 0.0f;
        for (int y = 2 * row; y < 2 * row + 2; ++y)
            for (int x = 2 * column; x < 2 * column + 2; ++x) sum += source[y * 2 * SIDE + x];
        return sum / 4.0f;
    }
    return source[row * SIDE + column];
}

// One slot. load(channel, image, row, column, owned): a pixel of what is convolved
template <int SIDE, int STRIDE, class Load>
__device__ void convolve_naive(const float* weights, float* tensors, float* sums, const Slot* slot, int kernel, int inputs, int outputs, int images,
                               int batch, float* plane, Load load)
{
    constexpr int INPUT = SIDE * STRIDE, IMAGES = tile_images(SIDE), COUNT = IMAGES * TILE_ROWS * SIDE;
    const int image = tile_image(blockIdx.x, SIDE), top = tile_row(blockIdx.x, SIDE), there = min(images - image, IMAGES);
    for (int c = 0; c < inputs; ++c) {
        for (int i = threadIdx.x; i < there * INPUT * INPUT; i += blockDim.x) { // plane: [there, INPUT, INPUT]
            const int row = i / INPUT % INPUT;
            plane[i] = load(c, image + i / (INPUT * INPUT), row, i % INPUT, row >= STRIDE * top && row < STRIDE * (top + TILE_ROWS));
        }
        __syncthreads();
        for (int i = threadIdx.x; i < COUNT && kernel != 0; i += blockDim.x) {
            const int n = i / (TILE_ROWS * SIDE), y = top + i / SIDE % TILE_ROWS, x = i % SIDE;
            for (int o = 0; o < outputs && n < there; ++o) {
                float* z = tensors + slot->output + (((size_t)(image + n) * outputs + o) * SIDE + y) * SIDE + x; // [batch, outputs, SIDE, SIDE]
                const float* taps = weights + slot->filters + ((size_t)o * inputs + c) * kernel * kernel;        // [kernel, kernel]
                float sum = c > 0 ? *z : 0.0f;
                for (int ky = 0; ky < kernel; ++ky)
                    for (int kx = 0; kx < kernel; ++kx) {
                        const int row = STRIDE * y + ky - kernel / 2, column = STRIDE * x + kx - kernel / 2;
                        if (row >= 0 && row < INPUT && column >= 0 && column < INPUT)
                            sum = fmaf(plane[(n * INPUT + row) * INPUT + column], taps[ky * kernel + kx], sum);
                    }
                *z = sum;
            }
        }
        __syncthreads();
    }
    for (int o = threadIdx.x; o < outputs && kernel != 0; o += blockDim.x) {
        double mean = 0.0, squares = 0.0;
        for (int step = 0; step < 2; ++step) {
            double sum = 0.0;
            for (int i = 0; i < there * TILE_ROWS * SIDE; ++i) {
                const int n = i / (TILE_ROWS * SIDE), at = top * SIDE + i % (TILE_ROWS * SIDE);
                const double z = tensors[slot->output + ((size_t)(image + n) * outputs + o) * (SIDE * SIDE) + at];
                sum += step == 0 ? z : (z - mean) * (z - mean);
            }
            (step == 0 ? mean : squares) = step == 0 ? sum / (there * TILE_ROWS * SIDE) : sum;
        }
        ((float2*)(sums + slot->statistics))[o * tile_count(SIDE, batch) + blockIdx.x] = make_float2((float)mean, (float)squares);
    }
}

template <int SIDE, int STRIDE>
__device__ void node_naive(const unsigned* plan, const float* weights, float* tensors, float* sums, float* norms, double* running, const Sizes& sizes,
                           const Shape& shape, float4* shared)
{
    constexpr int INPUT = SIDE * STRIDE;
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    if (!ask.present || tile_pixels(blockIdx.x, SIDE, ask.images) == 0) return;
    const Slot* slot = slots_of(plan, sizes, blockIdx.z) + shape.first_slot + blockIdx.y;
    const int kernel = blockIdx.y < shape.slots ? slot->kernel : 0;
    if (blockIdx.y > 0 && kernel == 0) return;
    weights += (size_t)ask.trial * sizes.weights;
    running += (size_t)ask.trial * sizes.running;
    tensors += (size_t)blockIdx.z * sizes.tensors;
    sums += (size_t)blockIdx.z * sizes.sums;
    norms += (size_t)blockIdx.z * sizes.norms;
    float* plane = (float*)shared; // [images of a tile, INPUT, INPUT]
    const Terms terms = prepare_naive<INPUT>(shared + tile_images(SIDE) * INPUT * INPUT / 4, plan, weights, sums, norms, running, sizes, shape, ask,
                                             blockIdx.x == 0 && blockIdx.y == 0);
    __syncthreads();
    auto load = [&](int channel, int image, int row, int column, bool owned) {
        const int at = image * shape.channels + channel;
        float sum = 0.0f;
        for (int t = 0; t < terms.count; ++t) {
            const Affine affine = terms.affines[t * shape.channels + channel];
            sum += (fetch_naive<INPUT>(terms.layers[t].x, tensors + terms.layers[t].y, at, row, column) - affine.x) * affine.y + affine.z;
        }
        if (owned && blockIdx.y == 0) tensors[shape.value + ((size_t)at * INPUT + row) * INPUT + column] = sum;
        return shape.relu ? relu(sum) : sum;
    };
    convolve_naive<SIDE, STRIDE>(weights, tensors, sums, slot, kernel, shape.channels, shape.outputs, ask.images, sizes.batch, plane, load);
}

// ---------------------------------------------------------------- kernels

using Node32 = Work<32, 1, SLOTS_32, SLICES_32, CHUNK_32, FLOATS_32>;
using Node16 = Work<16, 1, SLOTS_16, SLICES_16, CHUNK_16, FLOATS_16>;
using Node8 = Work<8, 1, SLOTS_8, SLICES_8, CHUNK_8, FLOATS_8>;
using Down16 = Work<16, 2, SLOTS_DOWN_16, SLICES_DOWN_16, CHUNK_DOWN_16, FLOATS_DOWN_16>;
using Down8 = Work<8, 2, SLOTS_DOWN_8, SLICES_DOWN_8, CHUNK_DOWN_8, FLOATS_DOWN_8>;
using Stem = Work<32, 1, SLOTS_STEM, SLICES_STEM, CHUNK_STEM, FLOATS_STEM>;

// A node's value, and z and statistics of all its slots.
//
// grid [tiles of the outputs, tiles of OUTPUTS channels x groups of slots, lanes]; naive: [tiles of the outputs, slots, lanes]
#define NODE(name, W, BLOCKS)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(W::THREADS, BLOCKS) name(                                                                  \
        const unsigned* __restrict__ plan,   /* [lanes, sizes.plan] */                                                                      \
        const float* __restrict__ weights,   /* [trials, sizes.weights] */                                                                  \
        float* __restrict__ tensors,         /* [lanes, sizes.tensors] */                                                                   \
        float* __restrict__ sums,            /* [lanes, sizes.sums] */                                                                      \
        float* __restrict__ norms,           /* [lanes, sizes.norms] */                                                                     \
        double* __restrict__ running,        /* [trials, sizes.running] */                                                                  \
        const Sizes sizes, const Shape shape)                                                                                               \
    {                                                                                                                                       \
        extern __shared__ float4 shared[]; /* affines [sizes.terms, channels], layers [sizes.terms, even], what Work says */                  \
        node<W>(plan, weights, tensors, sums, norms, running, sizes, shape, shared, Plain<W>());                                            \
    }                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(NAIVE_THREADS) name##_naive(                                                               \
        const unsigned* __restrict__ plan, const float* __restrict__ weights, float* __restrict__ tensors, float* __restrict__ sums,        \
        float* __restrict__ norms, double* __restrict__ running, const Sizes sizes, const Shape shape)                                      \
    {                                                                                                                                       \
        extern __shared__ float4 shared[]; /* plane, then affines [sizes.terms, channels], then layers [sizes.terms] */                      \
        node_naive<W::SIDE, W::STRIDE>(plan, weights, tensors, sums, norms, running, sizes, shape, shared);                                 \
    }

NODE(node_32, Node32, 2)
NODE(node_16, Node16, 2)
NODE(node_8, Node8, 1)
NODE(node_down_16, Down16, 2)
NODE(node_down_8, Down8, 2)

// The convolution of the images, node 0: z and statistics of its slot.
//
// grid [tiles, tiles of OUTPUTS channels, lanes]; naive: [tiles, 1, lanes]
extern "C" __global__ void __launch_bounds__(Stem::THREADS, 4) stem(
    const unsigned* __restrict__ plan,    // [lanes, sizes.plan]
    const unsigned* __restrict__ images,  // [there, PIXELS / 4]: bytes
    const unsigned* __restrict__ samples, // [lanes, batch] of Sample
    const float* __restrict__ values,     // [COLOURS, 256]: what becomes of a byte
    const float* __restrict__ weights,    // [trials, sizes.weights]
    float* __restrict__ tensors,          // [lanes, sizes.tensors]
    float* __restrict__ sums,             // [lanes, sizes.sums]
    const Sizes sizes, const Shape shape, const int there)
{
    extern __shared__ float4 shared[]; // what Work says
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    if (!ask.present || tile_pixels(blockIdx.x, Stem::SIDE, ask.images) == 0) return;
    const Slot* slot = slots_of(plan, sizes, blockIdx.z) + shape.first_slot;
    if (slot->kernel == 0) return;
    const Sample* own = (const Sample*)samples + blockIdx.z * sizes.batch;
    auto load = [&](int channel, int image, int row, int column, bool) {
        float v[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = pixel(images, there, own[image], values, channel, row, column + i);
        return make_float4(v[0], v[1], v[2], v[3]);
    };
    convolve<Stem>(weights + (size_t)ask.trial * sizes.weights, tensors + (size_t)blockIdx.z * sizes.tensors, sums + (size_t)blockIdx.z * sizes.sums, slot,
                   1, COLOURS, shape.outputs, blockIdx.y * OUTPUTS, ask.images, sizes.batch, (float*)shared, load);
}

extern "C" __global__ void __launch_bounds__(NAIVE_THREADS) stem_naive(
    const unsigned* __restrict__ plan, const unsigned* __restrict__ images, const unsigned* __restrict__ samples, const float* __restrict__ values,
    const float* __restrict__ weights, float* __restrict__ tensors, float* __restrict__ sums, const Sizes sizes, const Shape shape, const int there)
{
    extern __shared__ float4 shared[]; // plane
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    if (!ask.present || tile_pixels(blockIdx.x, IMAGE, ask.images) == 0) return;
    const Slot* slot = slots_of(plan, sizes, blockIdx.z) + shape.first_slot;
    if (slot->kernel == 0) return;
    const Sample* own = (const Sample*)samples + blockIdx.z * sizes.batch;
    auto load = [&](int channel, int image, int row, int column, bool) { return pixel(images, there, own[image], values, channel, row, column); };
    convolve_naive<IMAGE, 1>(weights + (size_t)ask.trial * sizes.weights, tensors + (size_t)blockIdx.z * sizes.tensors,
                             sums + (size_t)blockIdx.z * sizes.sums, slot, slot->kernel, COLOURS, shape.outputs, ask.images, sizes.batch, (float*)shared,
                             load);
}

// Value and statistics of the last node: of a warp's channel the statistics of its terms, then four pixels a lane.
//
// grid [tiles, blocks of LAST_CHANNELS channels, lanes]
extern "C" __global__ void __launch_bounds__(WARP* LAST_CHANNELS) last_node(
    const unsigned* __restrict__ plan,   // [lanes, sizes.plan]
    const float* __restrict__ weights,   // [trials, sizes.weights]
    float* __restrict__ tensors,         // [lanes, sizes.tensors]
    float* __restrict__ sums,            // [lanes, sizes.sums]
    float* __restrict__ norms,           // [lanes, sizes.norms]
    double* __restrict__ running,        // [trials, sizes.running]
    const Sizes sizes, const Head head)
{
    constexpr int SIDE = LAST_SIDE, QUADS = SIDE / 4;
    static_assert(tile_images(SIDE) * TILE_ROWS * SIDE == 4 * WARP && TILE_ROWS == SIDE, "a warp has two images");
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    const int lane = threadIdx.x % WARP, channel = blockIdx.y * LAST_CHANNELS + threadIdx.x / WARP, channels = head.channels;
    const int first = tile_image(blockIdx.x, SIDE), image = first + lane / (WARP / 2);
    if (!ask.present || first >= ask.images || channel >= channels) return;
    weights += (size_t)ask.trial * sizes.weights;
    running += (size_t)ask.trial * sizes.running;
    tensors += (size_t)blockIdx.z * sizes.tensors;
    sums += (size_t)blockIdx.z * sizes.sums;
    norms += (size_t)blockIdx.z * sizes.norms;
    const bool there = image < ask.images;
    const int plane = image * channels + channel, row = lane / QUADS % SIDE, column = lane % QUADS * 4, stride = tile_count(SIDE, sizes.batch);
    const int at = (plane * SIDE + row) * SIDE + column;
    const Term* terms = terms_of(plan, sizes, blockIdx.z, head.node);
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int t = 0; t < node_of(plan, sizes, blockIdx.z, head.node).terms; ++t) {
        const Term& term = terms[t];
        Affine affine = make_float4(0.0f, term.weight, 0.0f, 0.0f);
        if (term.kind == NORMALIZED) {
            double mean, squares;
            join_statistics((const float2*)(sums + term.statistics) + channel * stride, SIDE, ask.images, mean, squares);
            affine = affine_of(term, channel, channels, ask.images * SIDE * SIDE, mean, squares, ask, weights, norms, running,
                               blockIdx.x == 0 && lane == 0);
        }
        if (!there) continue;
        const float* data = tensors + term.data;
        add(v, is_pooling(term.kind) ? pool<SIDE>(term.kind, data, plane, row, column) : load4(data + at), affine);
    }
    if (there) store4(tensors + head.value + at, v);
    float mean = 0.25f * (v.x + v.y + v.z + v.w);
    float squares = 0.0f, half = 2.0f;
    squares = fmaf(v.x - mean, v.x - mean, squares);
    squares = fmaf(v.y - mean, v.y - mean, squares);
    squares = fmaf(v.z - mean, v.z - mean, squares);
    squares = fmaf(v.w - mean, v.w - mean, squares);
#pragma unroll
    for (int lanes = 1; lanes < WARP; lanes *= 2, half *= 2.0f) { // by Chan's rule for equal counts
        const float other = __shfl_xor_sync(FULL, mean, lanes), theirs = __shfl_xor_sync(FULL, squares, lanes);
        if (lanes == WARP / 2 && first + 1 >= ask.images) continue; // the tile's second image is not there
        const float apart = mean - other;
        squares = fmaf(apart * half, apart, squares + theirs);
        mean = 0.5f * (mean + other);
    }
    if (lane == 0) ((float2*)(sums + head.statistics))[channel * stride + blockIdx.x] = make_float2(mean, squares);
}

// grid [tiles, 1, lanes]
extern "C" __global__ void __launch_bounds__(NAIVE_THREADS) last_node_naive(
    const unsigned* __restrict__ plan, const float* __restrict__ weights, float* __restrict__ tensors, float* __restrict__ sums,
    float* __restrict__ norms, double* __restrict__ running, const Sizes sizes, const Head head)
{
    extern __shared__ float4 shared[]; // affines [sizes.terms, channels], layers [sizes.terms]
    constexpr int SIDE = LAST_SIDE;
    const Ask& ask = ask_of(plan, sizes, blockIdx.z);
    if (!ask.present || tile_pixels(blockIdx.x, SIDE, ask.images) == 0) return;
    tensors += (size_t)blockIdx.z * sizes.tensors;
    sums += (size_t)blockIdx.z * sizes.sums;
    Shape shape = {};
    shape.node = head.node;
    shape.channels = head.channels;
    const Terms terms = prepare_naive<SIDE>(shared, plan, weights + (size_t)ask.trial * sizes.weights, sums, norms + (size_t)blockIdx.z * sizes.norms,
                                            running + (size_t)ask.trial * sizes.running, sizes, shape, ask, blockIdx.x == 0);
    __syncthreads();
    const int image = tile_image(blockIdx.x, SIDE), pixels = tile_pixels(blockIdx.x, SIDE, ask.images);
    for (int channel = threadIdx.x; channel < head.channels; channel += blockDim.x) {
        double mean = 0.0, squares = 0.0;
        for (int i = 0; i < pixels; ++i) {
            const int plane = (image + i / (SIDE * SIDE)) * head.channels + channel, row = i / SIDE % SIDE, column = i % SIDE;
            float sum = 0.0f;
            for (int t = 0; t < terms.count; ++t) {
                const Affine affine = terms.affines[t * head.channels + channel];
                sum += (fetch_naive<SIDE>(terms.layers[t].x, tensors + terms.layers[t].y, plane, row, column) - affine.x) * affine.y + affine.z;
            }
            tensors[head.value + ((size_t)plane * SIDE + row) * SIDE + column] = sum;
            mean += sum;
        }
        mean /= pixels;
        for (int i = 0; i < pixels; ++i) {
            const int plane = (image + i / (SIDE * SIDE)) * head.channels + channel;
            const double apart = tensors[head.value + (size_t)plane * (SIDE * SIDE) + i % (SIDE * SIDE)] - mean;
            squares += apart * apart;
        }
        ((float2*)(sums + head.statistics))[channel * tile_count(SIDE, sizes.batch) + blockIdx.x] = make_float2((float)mean, (float)squares);
    }
}
