// The way back through the network of NAS-Bench-201: the gradients of all nodes, and what they say about the edges' weights.
//
// A node's gradient is gathered from all that reads it, so that it is written once and nothing is added up in global memory. The batch norms
// behind the convolutions are gone through on load: dz = own * g + other * (z - mean) + all, with factors from sums that the blocks of an earlier
// kernel left behind, and every block joins anew. While the gradient is at hand, it is summed for the batch norms in front of the node, and
// for the weights of the edges.
//
// | kernel       | one block does                                  | naive version                       |
// | ------------ | ----------------------------------------------- | ----------------------------------- |
// | back_SIDE    | a tile of a node, BACK_CHANNELS channels        | a tile, a channel; a thread a pixel |
// | back_up_SIDE | the same, where convolutions have stride 2      | the same                            |
// | back_last    | a tile of the last node, BACK_CHANNELS channels | the same                            |
// | answers      | the derivative by the weight of one candidate   | none                                |
//
// The fast version of back goes over steps of STEP output channels of a slot, whose dz and filters lie in shared memory, twice, so that one
// step is loaded while the other one is used. A lane has strips of 8 pixels and 4 channels. Slices of warps have channels of their own, and
// are added up at the end, in order. With stride 2, a lane has two rows, and which taps meet a pixel depends on whether its row and column are
// odd: 9 products for 4 pixels, no zeros among them.
//
// Written on the host, in src/kernels/nas_bench_201/backward.rs: the constants BACK_CHANNELS, BACK_THREADS, BACK_UP_THREADS, NAIVE_THREADS,
// ANSWER_THREADS and BACK_FACTORS, the struct Answering.

// What a block reads and writes of its lane, and where it is.
struct Own {
    const Ask* ask;
    const Node* node;
    const Term* terms;
    const Out* outs;
    const float* weights;
    float* tensors;
    float* sums;
    const float* norms;
    int tile, first_image, first_row, tiles;
};

template <int SIDE>
__device__ __forceinline__ Own own_of(const unsigned* plan, const float* weights, float* tensors, float* sums, const float* norms,
                                      const Sizes& sizes, int node)
{
    const int lane = blockIdx.z, tile = blockIdx.x;
    Own own;
    own.ask = &ask_of(plan, sizes, lane);
    own.node = &node_of(plan, sizes, lane, node);
    own.terms = terms_of(plan, sizes, lane, node);
    own.outs = outs_of(plan, sizes, lane, node);
    own.weights = weights + (size_t)own.ask->trial * sizes.weights;
    own.tensors = tensors + (size_t)lane * sizes.tensors;
    own.sums = sums + (size_t)lane * sizes.sums;
    own.norms = norms + (size_t)lane * sizes.norms;
    own.tile = tile;
    own.first_image = tile_image(tile, SIDE);
    own.first_row = tile_row(tile, SIDE);
    own.tiles = tile_count(SIDE, sizes.batch);
    return own;
}

// Of the gradient through a batch norm: own, other, all, mean. sum: of g; product: of g times z - mean; share: one over
// the number of what is summed.
__device__ __forceinline__ float4 factors_of(double weight, double scale, float mean, float inverse, double sum, double product, double share)
{
    const double factor = weight * scale * inverse, part = factor * share;
    return make_float4((float)factor, (float)(-part * inverse * (product * inverse)), (float)(-part * sum), mean);
}

__device__ __forceinline__ float through_norm(const float4& factors, float g, float z)
{
    return fmaf(factors.x, g, fmaf(factors.y, z - factors.w, factors.z));
}

// Of a slot's channel; the rest as above.
__device__ __forceinline__ float4 slot_factors(const Own& own, const Slot& slot, int channel, double sum, double product, double share)
{
    if (!slot.normalized) return make_float4(slot.weight, 0.0f, 0.0f, 0.0f);
    const double scale = slot.scale == NOWHERE ? 1.0 : own.weights[slot.scale + channel];
    const float mean = own.norms[slot.norm + channel], inverse = own.norms[slot.norm + slot.outputs + channel];
    return factors_of(slot.weight, scale, mean, inverse, sum, product, share);
}

__device__ __forceinline__ float warp_sum(float value)
{
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(FULL, value, offset);
    return value;
}

// A 3x3 average divides by the product of two of these.
__device__ __forceinline__ float pooled_part(int place, int side) { return place == 0 || place == side - 1 ? 0.5f : 1.0f / 3.0f; }

// Sums of three rows of a plane at 6 columns, from one before the quad x to one after it; rows weighted if BACK.
template <int SIDE, bool BACK>
__device__ __forceinline__ void pool_rows(const float* plane, int y, int x, float (&columns)[6])
{
#pragma unroll
    for (int i = 0; i < 6; ++i) columns[i] = 0.0f;
#pragma unroll
    for (int row = y - 1; row <= y + 1; ++row) {
        if (row < 0 || row >= SIDE) continue;
        const float part = BACK ? pooled_part(row, SIDE) : 1.0f;
        const float* at = plane + row * SIDE + x;
        const float4 four = *(const float4*)at;
        if (x > 0) columns[0] = fmaf(part, at[-1], columns[0]);
        columns[1] = fmaf(part, four.x, columns[1]);
        columns[2] = fmaf(part, four.y, columns[2]);
        columns[3] = fmaf(part, four.z, columns[3]);
        columns[4] = fmaf(part, four.w, columns[4]);
        if (x + 4 < SIDE) columns[5] = fmaf(part, at[4], columns[5]);
    }
}

// 3x3 averages of a plane at four pixels.
template <int SIDE>
__device__ __forceinline__ float4 pooled(const float* plane, int y, int x)
{
    float columns[6];
    pool_rows<SIDE, false>(plane, y, x, columns);
    const float part = pooled_part(y, SIDE);
    float out[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = (columns[i] + columns[i + 1] + columns[i + 2]) * (part * pooled_part(x + i, SIDE));
    return make_float4(out[0], out[1], out[2], out[3]);
}

// The gradient of that with respect to four pixels. plane: of the averages' gradient.
template <int SIDE>
__device__ __forceinline__ float4 pooled_back(const float* plane, int y, int x)
{
    float columns[6];
    pool_rows<SIDE, true>(plane, y, x, columns);
#pragma unroll
    for (int i = 0; i < 6; ++i) columns[i] *= pooled_part(x + i - 1, SIDE); // those outside are 0
    return make_float4(columns[0] + columns[1] + columns[2], columns[1] + columns[2] + columns[3], columns[2] + columns[3] + columns[4],
                       columns[3] + columns[4] + columns[5]);
}

// Four neighbouring pixels of a tile.
struct Quad {
    bool there; // its image is one of the minibatch
    int image, y, x;
};

template <int SIDE>
__device__ __forceinline__ Quad quad_of(const Own& own, int quad)
{
    const int pixel = 4 * quad, image = own.first_image + pixel / (TILE_ROWS * SIDE);
    return {image < own.ask->images, image, own.first_row + pixel / SIDE % TILE_ROWS, pixel % SIDE};
}

// A plane of a tensor [batch, channels, side, side].
template <int SIDE>
__device__ __forceinline__ size_t plane_of(int image, int channels, int channel)
{
    return ((size_t)image * channels + channel) * (SIDE * SIDE);
}

// Quads of a channel of a tile that a lane has.
template <int SIDE> constexpr int OWN_QUADS = tile_images(SIDE) * TILE_ROWS * SIDE / (4 * WARP);

// What other layers than convolutions add to a node's gradient.
template <int SIDE>
__device__ __forceinline__ void add_outs(const Own& own, const Quad& quad, int channels, int channel, float4& g)
{
    for (int i = 0; i < own.node->outs; ++i) {
        const Out& out = own.outs[i];
        float4 more;
        if (out.kind == HALVE) {
            const float* plane = own.tensors + out.gradient + plane_of<SIDE / 2>(quad.image, channels, channel);
            const float2 two = *(const float2*)(plane + quad.y / 2 * (SIDE / 2) + quad.x / 2);
            more = make_float4(0.25f * two.x, 0.25f * two.x, 0.25f * two.y, 0.25f * two.y);
        } else {
            const float* plane = own.tensors + out.gradient + plane_of<SIDE>(quad.image, channels, channel);
            more = out.kind == POOL ? pooled_back<SIDE>(plane, quad.y, quad.x) : *(const float4*)(plane + quad.y * SIDE + quad.x);
        }
        g.x = fmaf(out.weight, more.x, g.x);
        g.y = fmaf(out.weight, more.y, g.y);
        g.z = fmaf(out.weight, more.z, g.z);
        g.w = fmaf(out.weight, more.w, g.w);
    }
}

// Whether g times what a term multiplies is summed.
__device__ __forceinline__ bool is_summed(const Ask& ask, const Term& term)
{
    return term.kind == NORMALIZED || (ask.edges && term.place != NOWHERE && term.kind != HALVE);
}

// Sums over the gradient of a channel of a tile, by a warp: for batch norms, and for the weights of edges.
template <int SIDE>
__device__ __forceinline__ void sum_up(const Own& own, int channels, int channel, unsigned gradient_sum,
                                       const float4 (&g)[OWN_QUADS<SIDE>]) // 0 where there is no image
{
    const int lane = threadIdx.x % WARP;
    const size_t place = (size_t)channel * own.tiles + own.tile; // [channels, tiles]
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < OWN_QUADS<SIDE>; ++j) sum += (g[j].x + g[j].y) + (g[j].z + g[j].w);
    sum = warp_sum(sum);
    if (lane == 0) own.sums[gradient_sum + place] = sum;
    for (int i = 0; i < own.node->terms; ++i) {
        const Term& term = own.terms[i];
        if (!is_summed(*own.ask, term)) continue;
        const float mean = term.kind == NORMALIZED ? own.norms[term.norm + channel] : 0.0f;
        sum = 0.0f;
#pragma unroll
        for (int j = 0; j < OWN_QUADS<SIDE>; ++j) {
            const Quad quad = quad_of<SIDE>(own, lane + WARP * j);
            if (!quad.there) continue;
            const float* plane = own.tensors + term.data + plane_of<SIDE>(quad.image, channels, channel);
            const float4 u = term.kind == POOL ? pooled<SIDE>(plane, quad.y, quad.x) : *(const float4*)(plane + quad.y * SIDE + quad.x);
            sum = fmaf(g[j].x, u.x - mean, sum);
            sum = fmaf(g[j].y, u.y - mean, sum);
            sum = fmaf(g[j].z, u.z - mean, sum);
            sum = fmaf(g[j].w, u.w - mean, sum);
        }
        sum = warp_sum(sum);
        if (lane == 0) own.sums[term.sum + place] = sum;
    }
}

// Quads of what lanes have added up change places, so that neighbouring lanes store to different banks.
__device__ __forceinline__ int part_swap(int channel) { return (channel >> 2 & 1) | (channel >> 1 & 4); }

// How the fast version of back cuts its work.
template <int SIDE_, int STRIDE_>
struct Cut {
    static constexpr int SIDE = SIDE_, STRIDE = STRIDE_;
    static constexpr int OUTPUT = SIDE / STRIDE;                  // height and width of the convolutions' outputs
    static constexpr int IMAGES = tile_images(SIDE), PIXELS = IMAGES * TILE_ROWS * SIDE;
    static constexpr int ROWS = TILE_ROWS / STRIDE + (STRIDE == 1 ? 2 : 1); // of dz that a tile needs
    static constexpr int BORDER = STRIDE == 1 ? 1 : 0;            // columns of zeros before the first; one behind the last
    // Of a row of dz: strips that are loaded at the same time fall into different banks.
    static constexpr int PITCH = STRIDE == 1 ? OUTPUT + 4 : OUTPUT == 8 ? 24 : 48;
    static constexpr int PLANE = IMAGES * ROWS * PITCH;
    static constexpr int TAP_PITCH = BACK_CHANNELS + 4;           // of a tap's channels: filters are stored with few conflicts
    static constexpr int STEP = 8, SLICES = PIXELS == 256 ? 2 : 4, CHUNK = STEP / SLICES;
    static constexpr int SPAN = 8;                                // columns of a lane
    static constexpr int STRIPS = PIXELS / (SPAN * STRIDE);
    static constexpr int ABREAST = STRIPS >= 16 ? 2 : 4;          // lanes that have the same strip, and 4 channels each
    static constexpr int STRIP_WARPS = STRIPS * ABREAST / WARP, CHANNEL_WARPS = BACK_CHANNELS / (4 * ABREAST);
    static constexpr int SLICE_WARPS = STRIP_WARPS * CHANNEL_WARPS, WARPS = SLICES * SLICE_WARPS, THREADS = WARP * WARPS;
    static constexpr int STAGE = STEP * (PLANE + 9 * TAP_PITCH);
    static constexpr int PARTS = SLICES * BACK_CHANNELS * PIXELS;
    static constexpr int ROOM = 2 * STAGE > PARTS ? 2 * STAGE : PARTS;
    static constexpr int OWN_OUTPUTS = STEP / WARPS, QUADS = OUTPUT / 4, AT_ONCE = WARP / QUADS; // rows that a warp loads at once
    static constexpr int OWN_LOADS = (IMAGES * ROWS + AT_ONCE - 1) / AT_ONCE;
    static_assert(STRIPS * ABREAST % WARP == 0 && STEP % WARPS == 0, "whole warps");

    // The row of dz that a lane loads: such that those of neighbours fall into different banks; 8 rows change places.
    __device__ static __forceinline__ int row_of(int i, int lane)
    {
        const int row = i * AT_ONCE + lane / QUADS, low = row % 8, high = row - low;
        if (STRIDE == 2 || high + 8 > IMAGES * ROWS) return row;
        if (OUTPUT == 16) return high + low % 2 * 4 + low / 2;
        if (OUTPUT == 8) return high + low % 4 * 2 + low / 4;
        return row;
    }

    // Of strips that are loaded at the same time, rows that fall into different banks.
    __device__ static __forceinline__ int strip_row(int row)
    {
        return STRIDE == 1 && SIDE == 16 ? (row & 1) | (row & 2) << 1 | (row & 4) >> 1 : row;
    }

    // Where a slice leaves what it has added up of a quad.
    __device__ static __forceinline__ int part_of(int slice, int channel, int quad)
    {
        return (slice * BACK_CHANNELS + channel) * PIXELS + 4 * (quad ^ part_swap(channel));
    }
};

// The products of one output channel: dz [rows, pitch], taps [9, channels] turned by half a circle.
template <class C>
__device__ __forceinline__ void multiply(const float* dz, const float* taps, float (&sum)[C::STRIDE][C::SPAN][4])
{
    auto add = [&](int row, int x, float value, const float4& tap) {
        sum[row][x][0] = fmaf(value, tap.x, sum[row][x][0]);
        sum[row][x][1] = fmaf(value, tap.y, sum[row][x][1]);
        sum[row][x][2] = fmaf(value, tap.z, sum[row][x][2]);
        sum[row][x][3] = fmaf(value, tap.w, sum[row][x][3]);
    };
    if constexpr (C::STRIDE == 1) {
#pragma unroll
        for (int ky = 0; ky < 3; ++ky) {
            const float* row = dz + ky * C::PITCH;
            __align__(16) float near[C::SPAN + 2];
            *(float4*)near = *(const float4*)row;
            *(float4*)(near + 4) = *(const float4*)(row + 4);
            *(float2*)(near + 8) = *(const float2*)(row + 8);
#pragma unroll
            for (int kx = 0; kx < 3; ++kx) {
                const float4 tap = *(const float4*)(taps + (3 * ky + kx) * C::TAP_PITCH);
#pragma unroll
                for (int x = 0; x < C::SPAN; ++x) add(0, x, near[x + kx], tap);
            }
        }
    } else {
        __align__(16) float near[2][8]; // 5 columns of rows p, p + 1
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            *(float4*)near[row] = *(const float4*)(dz + row * C::PITCH);
            near[row][4] = dz[row * C::PITCH + 4];
        }
#pragma unroll
        for (int ky = 0; ky < 3; ++ky)
#pragma unroll
            for (int kx = 0; kx < 3; ++kx) {
                // In rows 2p and 2p + 1, the middle tap and the outer ones; of these the first meets dz of the row below. So in columns.
                const float4 tap = *(const float4*)(taps + (8 - 3 * ky - kx) * C::TAP_PITCH);
#pragma unroll
                for (int x = 0; x < C::SPAN / 2; ++x) add(ky != 1, 2 * x + (kx != 1), near[ky == 0][x + (kx == 0)], tap);
            }
    }
}

// Goes over the steps of all slots: a step is STEP output channels of a slot from `begin` on, of which one is loaded while the other one is multiplied.
// load(slot, begin, stage); put(factors of the slot, begin, stage, kernel), which finishes what load began; multiply(kernel, begin, stage). Whether there was any.
template <class C, class Load, class Put, class Multiply>
__device__ __forceinline__ bool walk(const Own& own, const Sizes& sizes, const Shape& shape, const Slot* slots, float* room, float4* factors,
                                     const Load& load, const Put& put, const Multiply& multiply)
{
    constexpr int OUTPUT = C::OUTPUT;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, images = own.ask->images, outputs = shape.outputs;
    // As many slots at a time as there is room for the factors of.
    const int at_once = BACK_FACTORS / max(outputs, 1);
    bool convolves = false;
    float *stage = room, *other = room + C::STAGE;
    for (int begin_slot = 0; begin_slot < shape.slots; begin_slot += at_once) {
        const int end_slot = min(begin_slot + at_once, shape.slots);
        auto next_slot = [&](int slot) {
            while (slot < end_slot && slots[slot].kernel == 0) ++slot;
            return slot;
        };
        int slot = next_slot(begin_slot), begin = 0;
        if (slot == end_slot) continue;
        convolves = true;
        load(slots[slot], begin, stage);

        // A warp joins the sums of 4 channels at once; a lane ends up with one of their 8 sums.
        const int entries = (end_slot - begin_slot) * outputs;
        const double share = 1.0 / (images * (OUTPUT * OUTPUT));
        for (int four = 4 * warp; four < entries; four += 4 * C::WARPS) {
            double value[8];
            unsigned from[8]; // where in the sums, of the gradient and of that times z - mean
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int entry = four + i;
                value[2 * i] = value[2 * i + 1] = 0.0;
                from[2 * i] = from[2 * i + 1] = NOWHERE;
                if (entry >= entries) continue;
                const Slot& of = slots[begin_slot + entry / outputs];
                if (of.kernel == 0 || !of.normalized) continue;
                const unsigned row = entry % outputs * tile_count(OUTPUT, sizes.batch); // [outputs, tiles]
                from[2 * i] = of.gradient_sum + row;
                from[2 * i + 1] = of.sum + row;
            }
            for (int tile = lane; tile < tile_count(OUTPUT, images); tile += WARP) {
                float more[8];
#pragma unroll
                for (int i = 0; i < 8; ++i) more[i] = from[i] == NOWHERE ? 0.0f : own.sums[from[i] + tile];
#pragma unroll
                for (int i = 0; i < 8; ++i) value[i] += more[i];
            }
#pragma unroll
            for (int offset = WARP / 2, half = 4; offset > 0; offset /= 2, half /= 2) {
                if (half > 0) {
                    const bool upper = lane & offset;
#pragma unroll
                    for (int i = 0; i < half; ++i) {
                        const double kept = upper ? value[i + half] : value[i], sent = upper ? value[i] : value[i + half];
                        value[i] = kept + __shfl_xor_sync(FULL, sent, offset);
                    }
                } else {
                    value[0] += __shfl_xor_sync(FULL, value[0], offset);
                }
            }
            const double product = __shfl_xor_sync(FULL, value[0], 4);
            const int entry = four + lane / 8;
            if (lane % 8 == 0 && entry < entries) {
                const Slot& of = slots[begin_slot + entry / outputs];
                if (of.kernel != 0) factors[entry] = slot_factors(own, of, entry % outputs, value[0], product, share);
            }
        }
        __syncthreads();
        put(factors + (slot - begin_slot) * outputs, begin, stage, slots[slot].kernel);
        __syncthreads();
        for (bool more = true; more;) {
            const int kernel = slots[slot].kernel, present = begin;
            begin += C::STEP;
            if (begin >= outputs) {
                begin = 0;
                slot = next_slot(slot + 1);
            }
            more = slot < end_slot;
            if (more) load(slots[slot], begin, other);
            multiply(kernel, present, stage);
            if (more) {
                put(factors + (slot - begin_slot) * outputs, begin, other, slots[slot].kernel);
                __syncthreads();
            }
            float* const used = stage;
            stage = other;
            other = used;
        }
    }
    return convolves;
}

// What the slices have added up and what other layers add, written, and the sums over it.
template <class C>
__device__ __forceinline__ void finish(const Own& own, const Shape& shape, const float* room, bool convolves)
{
    constexpr int SIDE = C::SIDE;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, channels = shape.channels, first = blockIdx.y * BACK_CHANNELS;
    for (int c = warp; c < BACK_CHANNELS && first + c < channels; c += C::WARPS) {
        float4 whole[OWN_QUADS<SIDE>];
#pragma unroll
        for (int j = 0; j < OWN_QUADS<SIDE>; ++j) {
            whole[j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            const Quad quad = quad_of<SIDE>(own, lane + WARP * j);
            if (!quad.there) continue;
            const size_t at = plane_of<SIDE>(quad.image, channels, first + c) + quad.y * SIDE + quad.x;
            if (convolves) {
#pragma unroll
                for (int s = 0; s < C::SLICES; ++s) {
                    __align__(16) float more[4];
                    *(float4*)more = *(const float4*)(room + C::part_of(s, c, lane + WARP * j));
                    whole[j].x += more[0];
                    whole[j].y += more[1];
                    whole[j].z += more[2];
                    whole[j].w += more[3];
                }
                if (shape.relu) {
                    const float4 value = *(const float4*)(own.tensors + shape.value + at);
                    if (!(value.x > 0.0f)) whole[j].x = 0.0f;
                    if (!(value.y > 0.0f)) whole[j].y = 0.0f;
                    if (!(value.z > 0.0f)) whole[j].z = 0.0f;
                    if (!(value.w > 0.0f)) whole[j].w = 0.0f;
                }
            }
            add_outs<SIDE>(own, quad, channels, first + c, whole[j]);
            *(float4*)(own.tensors + shape.gradient + at) = whole[j];
        }
        sum_up<SIDE>(own, channels, first + c, shape.gradient_sum, whole);
    }
}

// grid [tiles, blocks of channels, lanes]
template <class C>
__device__ __forceinline__ void back(const unsigned* plan, const float* weights, float* tensors, float* sums, const float* norms,
                                     const Sizes& sizes, const Shape& shape,
                                     float* room,     // two stages, each dz [STEP, images, rows, pitch] and taps [STEP, 9, tap pitch]; in the
                                                      // end sums [slices, channels, pixels]
                                     float4* factors) // [slots, outputs]: own, other, all, mean
{
    constexpr int SIDE = C::SIDE, OUTPUT = C::OUTPUT;
    if (!ask_of(plan, sizes, blockIdx.z).present) return;
    const Own own = own_of<SIDE>(plan, weights, tensors, sums, norms, sizes, shape.node);
    const int images = own.ask->images, outputs = shape.outputs, channels = shape.channels;
    if (own.first_image >= images) return;
    const Slot* slots = slots_of(plan, sizes, blockIdx.z) + shape.first_slot;

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int slice = warp / C::SLICE_WARPS, part = warp % C::SLICE_WARPS;
    const int strip = part % C::STRIP_WARPS * (WARP / C::ABREAST) + lane / C::ABREAST;
    const int channel = (part / C::STRIP_WARPS * C::ABREAST + lane % C::ABREAST) * 4; // the first of 4
    constexpr int PER_ROW = SIDE / C::SPAN, STRIP_ROWS = TILE_ROWS / C::STRIDE;
    const int sx = strip % PER_ROW, sy = C::strip_row(strip / PER_ROW % STRIP_ROWS), si = strip / (PER_ROW * STRIP_ROWS);
    const int first = blockIdx.y * BACK_CHANNELS; // channel of the node
    const bool works = first + channel < channels;
    const int first_row = own.first_row / C::STRIDE - C::BORDER; // of dz

    float sum[C::STRIDE][C::SPAN][4];
#pragma unroll
    for (int row = 0; row < C::STRIDE; ++row)
#pragma unroll
        for (int x = 0; x < C::SPAN; ++x)
#pragma unroll
            for (int o = 0; o < 4; ++o) sum[row][x][o] = 0.0f;

    // A step is 8 output channels of a slot from `begin` on, each of which a warp loads. What goes through the batch norm waits in registers; filters
    // go to shared memory straight away.
    float4 g[C::OWN_OUTPUTS][C::OWN_LOADS], z[C::OWN_OUTPUTS][C::OWN_LOADS];
    auto load = [&](const Slot& slot, int begin, float* stage) {
        const int kernel = slot.kernel, normalized = slot.normalized, width = min(BACK_CHANNELS, channels - first);
#pragma unroll
        for (int n = 0; n < C::OWN_OUTPUTS; ++n) {
            const int o = warp + n * C::WARPS;
            if (begin + o >= outputs) continue;
            const size_t plane = plane_of<OUTPUT>(own.first_image, outputs, begin + o);
            const float* gradient = own.tensors + slot.gradient + plane;
            const float* output = own.tensors + slot.output + plane;
#pragma unroll
            for (int i = 0; i < C::OWN_LOADS; ++i) {
                const int row = C::row_of(i, lane), image = row / C::ROWS, y = first_row + row % C::ROWS;
                g[n][i] = z[n][i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (row >= C::IMAGES * C::ROWS || own.first_image + image >= images || y < 0 || y >= OUTPUT) continue;
                const int at = image * outputs * (OUTPUT * OUTPUT) + y * OUTPUT + lane % C::QUADS * 4;
                g[n][i] = *(const float4*)(gradient + at);
                if (normalized) z[n][i] = *(const float4*)(output + at);
            }
            const float* filters = own.weights + slot.filters + ((size_t)(begin + o) * channels + first) * (kernel * kernel);
            float* taps = stage + C::STEP * C::PLANE + 9 * o * C::TAP_PITCH;
            if (kernel == 3) {
#pragma unroll
                for (int i = lane; i < 9 * BACK_CHANNELS; i += WARP)
                    copy_async<4>(taps + (8 - i % 9) * C::TAP_PITCH + i / 9, filters + i, i < 9 * width);
            } else {
#pragma unroll
                for (int tap = lane / BACK_CHANNELS; tap < 9; tap += WARP / BACK_CHANNELS) {
                    const int c = lane % BACK_CHANNELS;
                    copy_async<4>(taps + tap * C::TAP_PITCH + c, filters + c, tap == 4 && c < width);
                }
            }
        }
        copy_commit();
    };
    // Puts dz to shared memory.
    auto put = [&](const float4* of_slot, int begin, float* stage, int) {
#pragma unroll
        for (int n = 0; n < C::OWN_OUTPUTS; ++n) {
            const int o = warp + n * C::WARPS;
            if (begin + o >= outputs) continue;
            const float4 of = of_slot[begin + o];
#pragma unroll
            for (int i = 0; i < C::OWN_LOADS; ++i) {
                const int row = C::row_of(i, lane), image = row / C::ROWS, y = first_row + row % C::ROWS;
                float4 dz = make_float4(through_norm(of, g[n][i].x, z[n][i].x), through_norm(of, g[n][i].y, z[n][i].y),
                                        through_norm(of, g[n][i].z, z[n][i].z), through_norm(of, g[n][i].w, z[n][i].w));
                if (own.first_image + image >= images || y < 0 || y >= OUTPUT) dz = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                const bool last = lane % C::QUADS == C::QUADS - 1;
                float* to = stage + o * C::PLANE + row * C::PITCH + lane % C::QUADS * 4;
                if constexpr (C::BORDER == 1) {
                    // A column of zeros first: everything moves by one, so that whole quads are stored.
                    const float before = __shfl_up_sync(FULL, dz.w, 1);
                    if (row >= C::IMAGES * C::ROWS) continue;
                    *(float4*)to = make_float4(lane % C::QUADS == 0 ? 0.0f : before, dz.x, dz.y, dz.z);
                    if (last) *(float2*)(to + 4) = make_float2(dz.w, 0.0f);
                } else {
                    if (row >= C::IMAGES * C::ROWS) continue;
                    *(float4*)to = make_float4(dz.x, dz.y, dz.z, dz.w);
                    if (last) to[4] = 0.0f;
                }
            }
        }
        copy_wait<0>();
    };

    auto multiply_step = [&](int kernel, int begin, const float* stage) {
        if (!works) return;
        const int there = min(C::CHUNK, outputs - begin - slice * C::CHUNK);
        const float* dz = stage + slice * C::CHUNK * C::PLANE + (si * C::ROWS + sy) * C::PITCH + sx * (C::SPAN / C::STRIDE);
        const float* tap = stage + C::STEP * C::PLANE + slice * C::CHUNK * 9 * C::TAP_PITCH + channel;
        if (kernel == 3 || C::STRIDE == 2) {
#pragma unroll C::STRIDE
            for (int o = 0; o < there; ++o) {
                multiply<C>(dz, tap, sum);
                dz += C::PLANE;
                tap += 9 * C::TAP_PITCH;
            }
        } else {
#pragma unroll 1
            for (int o = 0; o < there; ++o) {
                const float* row = dz + C::PITCH;
                const float4 middle = *(const float4*)(tap + 4 * C::TAP_PITCH);
                __align__(16) float near[C::SPAN + 2];
                *(float4*)near = *(const float4*)row;
                *(float4*)(near + 4) = *(const float4*)(row + 4);
                *(float2*)(near + 8) = *(const float2*)(row + 8);
#pragma unroll
                for (int x = 0; x < C::SPAN; ++x) {
                    sum[0][x][0] = fmaf(near[x + 1], middle.x, sum[0][x][0]);
                    sum[0][x][1] = fmaf(near[x + 1], middle.y, sum[0][x][1]);
                    sum[0][x][2] = fmaf(near[x + 1], middle.z, sum[0][x][2]);
                    sum[0][x][3] = fmaf(near[x + 1], middle.w, sum[0][x][3]);
                }
                dz += C::PLANE;
                tap += 9 * C::TAP_PITCH;
            }
        }
    };

    const bool convolves = walk<C>(own, sizes, shape, slots, room, factors, load, put, multiply_step);

    // The slices side by side.
    if (convolves) {
        __syncthreads();
        if (works) {
#pragma unroll
            for (int o = 0; o < 4; ++o)
#pragma unroll
                for (int row = 0; row < C::STRIDE; ++row)
#pragma unroll
                    for (int x = 0; x < C::SPAN; x += 4) {
                        const int pixel = (si * TILE_ROWS + C::STRIDE * sy + row) * SIDE + sx * C::SPAN + x;
                        *(float4*)(room + C::part_of(slice, channel + o, pixel / 4)) = make_float4(sum[row][x][o], sum[row][x + 1][o], sum[row][x + 2][o], sum[row][x + 3][o]);
                    }
        }
        __syncthreads();
    }
    finish<C>(own, shape, room, convolves);
}

// Sum over a channel of a tile, from global memory, of its gradient, or of that times what a term multiplies; by one thread.
template <int SIDE>
__device__ __forceinline__ float sum_naive(const Own& own, int channels, int channel, unsigned gradient, const Term* term)
{
    const float mean = term && term->kind == NORMALIZED ? own.norms[term->norm + channel] : 0.0f;
    float sum = 0.0f;
    for (int pixel = 0; pixel < tile_pixels(own.tile, SIDE, own.ask->images); ++pixel) {
        const int image = own.first_image + pixel / (TILE_ROWS * SIDE), y = own.first_row + pixel / SIDE % TILE_ROWS, x = pixel % SIDE;
        const size_t plane = plane_of<SIDE>(image, channels, channel);
        const float g = own.tensors[gradient + plane + y * SIDE + x];
        float u = 1.0f;
        if (term && term->kind == POOL) {
            u = 0.0f;
            for (int row = max(y - 1, 0); row <= min(y + 1, SIDE - 1); ++row)
                for (int column = max(x - 1, 0); column <= min(x + 1, SIDE - 1); ++column)
                    u += own.tensors[term->data + plane + row * SIDE + column];
            u *= pooled_share(y, x, SIDE);
        } else if (term) {
            u = own.tensors[term->data + plane + y * SIDE + x] - mean;
        }
        sum += g * u;
    }
    return sum;
}

// All sums over a channel of a tile; a thread one of them.
template <int SIDE>
__device__ __forceinline__ void sum_up_naive(const Own& own, int channels, int channel, unsigned gradient, unsigned gradient_sum)
{
    const size_t place = (size_t)channel * own.tiles + own.tile; // [channels, tiles]
    for (int i = threadIdx.x; i <= own.node->terms; i += NAIVE_THREADS) {
        if (i == 0) own.sums[gradient_sum + place] = sum_naive<SIDE>(own, channels, channel, gradient, nullptr);
        else if (is_summed(*own.ask, own.terms[i - 1]))
            own.sums[own.terms[i - 1].sum + place] = sum_naive<SIDE>(own, channels, channel, gradient, &own.terms[i - 1]);
    }
}

// grid [tiles, channels, lanes]
template <class C>
__device__ __forceinline__ void back_naive(const unsigned* plan, const float* weights, float* tensors, float* sums, const float* norms,
                                           const Sizes& sizes, const Shape& shape, float4* factors) // of one output channel
{
    constexpr int SIDE = C::SIDE, OUTPUT = C::OUTPUT, OWN_PIXELS = C::PIXELS / NAIVE_THREADS;
    if (!ask_of(plan, sizes, blockIdx.z).present) return;
    const Own own = own_of<SIDE>(plan, weights, tensors, sums, norms, sizes, shape.node);
    const int images = own.ask->images, channels = shape.channels, channel = blockIdx.y;
    if (own.first_image >= images) return;
    const Slot* slots = slots_of(plan, sizes, blockIdx.z) + shape.first_slot;
    const double share = 1.0 / (images * (OUTPUT * OUTPUT));
    int image[OWN_PIXELS], y[OWN_PIXELS], x[OWN_PIXELS];
    float whole[OWN_PIXELS];
    for (int n = 0; n < OWN_PIXELS; ++n) {
        const int pixel = n * NAIVE_THREADS + threadIdx.x;
        image[n] = own.first_image + pixel / (TILE_ROWS * SIDE), y[n] = own.first_row + pixel / SIDE % TILE_ROWS, x[n] = pixel % SIDE;
        whole[n] = 0.0f;
    }
    for (int s = 0; s < shape.slots; ++s) {
        const Slot& slot = slots[s];
        for (int o = 0; slot.kernel && o < slot.outputs; ++o) {
            __syncthreads();
            if (threadIdx.x == 0) {
                double sum = 0.0, product = 0.0;
                const size_t at = (size_t)o * tile_count(OUTPUT, sizes.batch); // [outputs, tiles]
                for (int tile = 0; slot.normalized && tile < tile_count(OUTPUT, images); ++tile) {
                    sum += own.sums[slot.gradient_sum + at + tile];
                    product += own.sums[slot.sum + at + tile];
                }
                factors[0] = slot_factors(own, slot, o, sum, product, share);
            }
            __syncthreads();
            const float* filter = own.weights + slot.filters + ((size_t)o * channels + channel) * slot.kernel * slot.kernel;
            for (int n = 0; n < OWN_PIXELS; ++n) {
                if (image[n] >= images) continue;
                const size_t plane = plane_of<OUTPUT>(image[n], slot.outputs, o);
                for (int ky = 0; ky < slot.kernel; ++ky)
                    for (int kx = 0; kx < slot.kernel; ++kx) {
                        // What this tap multiplies this pixel for, if the stride meets it.
                        const int row = y[n] + slot.kernel / 2 - ky, column = x[n] + slot.kernel / 2 - kx;
                        if (row < 0 || column < 0 || row % C::STRIDE != 0 || column % C::STRIDE != 0) continue;
                        if (row / C::STRIDE >= OUTPUT || column / C::STRIDE >= OUTPUT) continue;
                        const size_t at = plane + row / C::STRIDE * OUTPUT + column / C::STRIDE;
                        const float z = slot.normalized ? own.tensors[slot.output + at] : 0.0f;
                        whole[n] += filter[ky * slot.kernel + kx] * through_norm(factors[0], own.tensors[slot.gradient + at], z);
                    }
            }
        }
    }
    for (int n = 0; n < OWN_PIXELS; ++n) {
        if (image[n] >= images) continue;
        const size_t plane = plane_of<SIDE>(image[n], channels, channel), at = plane + y[n] * SIDE + x[n];
        if (shape.relu && !(own.tensors[shape.value + at] > 0.0f)) whole[n] = 0.0f;
        for (int i = 0; i < own.node->outs; ++i) {
            const Out& out = own.outs[i];
            const float* g = own.tensors + out.gradient;
            if (out.kind == SKIP) whole[n] += out.weight * g[at];
            if (out.kind == HALVE)
                whole[n] += out.weight * 0.25f * g[plane_of<SIDE / 2>(image[n], channels, channel) + y[n] / 2 * (SIDE / 2) + x[n] / 2];
            for (int row = max(y[n] - 1, 0); out.kind == POOL && row <= min(y[n] + 1, SIDE - 1); ++row)
                for (int column = max(x[n] - 1, 0); column <= min(x[n] + 1, SIDE - 1); ++column)
                    whole[n] += out.weight * g[plane + row * SIDE + column] * pooled_share(row, column, SIDE);
        }
        own.tensors[shape.gradient + at] = whole[n];
    }
    __syncthreads();
    sum_up_naive<SIDE>(own, channels, channel, shape.gradient, shape.gradient_sum);
}

// Shared memory is declared in the kernels themselves: in a template, the software device would take it for something else.
#define BACK(name, SIDE, STRIDE, THREADS_, BLOCKS)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS_, BLOCKS)                                                                          \
        name(const unsigned* __restrict__ plan, /* [lanes, sizes.plan] */                                                                   \
             const float* __restrict__ weights, /* [trials, sizes.weights] */                                                               \
             float* tensors,                    /* [lanes, sizes.tensors] */                                                                \
             float* sums,                       /* [lanes, sizes.sums] */                                                                   \
             const float* __restrict__ norms,   /* [lanes, sizes.norms] */                                                                  \
             const Sizes sizes, const Shape shape)                                                                                          \
    {                                                                                                                                       \
        __shared__ __align__(16) float room[Cut<SIDE, STRIDE>::ROOM];                                                                       \
        __shared__ __align__(16) float4 factors[BACK_FACTORS];                                                                              \
        static_assert(Cut<SIDE, STRIDE>::THREADS == THREADS_, "threads of a block");                                                        \
        back<Cut<SIDE, STRIDE>>(plan, weights, tensors, sums, norms, sizes, shape, room, factors);                                          \
    }                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(NAIVE_THREADS, 4)                                                                             \
        name##_naive(const unsigned* __restrict__ plan, const float* __restrict__ weights, float* tensors, float* sums,                     \
                     const float* __restrict__ norms, const Sizes sizes, const Shape shape)                                                 \
    {                                                                                                                                       \
        __shared__ __align__(16) float4 factors[1];                                                                                         \
        back_naive<Cut<SIDE, STRIDE>>(plan, weights, tensors, sums, norms, sizes, shape, factors);                                          \
    }
BACK(back_32, 32, 1, BACK_THREADS, 2)
BACK(back_16, 16, 1, BACK_THREADS, 2)
BACK(back_8, 8, 1, BACK_THREADS, 2)
BACK(back_up_32, 32, 2, BACK_UP_THREADS, 3)
BACK(back_up_16, 16, 2, BACK_UP_THREADS, 3)

// The head's batch norm at one channel: of the gradient through it, and of its output y.
struct HeadChannel {
    float4 factors; // of a gradient of y
    float scale, shift;
};

__device__ __forceinline__ HeadChannel head_channel(const Own& own, const Head& head, int channel, double sum, double product, double share)
{
    const float mean = own.norms[head.norm + channel], inverse = own.norms[head.norm + head.channels + channel];
    const double scale = own.weights[head.scale + channel];
    return {factors_of(1.0, scale, mean, inverse, sum, product, share), (float)(scale * inverse), own.weights[head.shift + channel]};
}

// slope: of the average; share: one pixel's.
__device__ __forceinline__ float through_head(const HeadChannel& of, float slope, float x)
{
    const float y = fmaf(x - of.factors.w, of.scale, of.shift);
    return through_norm(of.factors, y > 0.0f ? slope : 0.0f, x);
}

// The gradient of the last node. grid [tiles, blocks of channels, lanes]
extern "C" __global__ void __launch_bounds__(BACK_THREADS) back_last(
    const unsigned* __restrict__ plan,  // [lanes, sizes.plan]
    const float* __restrict__ weights,  // [trials, sizes.weights]
    float* tensors,                     // [lanes, sizes.tensors]
    float* sums,                        // [lanes, sizes.sums]
    const float* __restrict__ norms,    // [lanes, sizes.norms]
    const Sizes sizes, const Head head)
{
    constexpr int SIDE = 8;
    if (!ask_of(plan, sizes, blockIdx.z).present) return;
    const Own own = own_of<SIDE>(plan, weights, tensors, sums, norms, sizes, head.node);
    const int images = own.ask->images, channels = head.channels;
    if (own.first_image >= images) return;
    const double share = 1.0 / (images * (SIDE * SIDE));
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, first = blockIdx.y * BACK_CHANNELS;
    for (int c = first + warp; c < min(first + BACK_CHANNELS, channels); c += BACK_THREADS / WARP) {
        const float* of_images = own.sums + head.sum + (size_t)c * sizes.batch; // [2, channels, batch]
        const float* products = of_images + (size_t)channels * sizes.batch;
        double sum = 0.0, product = 0.0;
        for (int image = lane; image < images; image += WARP) {
            sum += of_images[image];
            product += products[image];
        }
#pragma unroll
        for (int offset = WARP / 2; offset > 0; offset /= 2) {
            sum += __shfl_xor_sync(FULL, sum, offset);
            product += __shfl_xor_sync(FULL, product, offset);
        }
        const HeadChannel of = head_channel(own, head, c, sum, product, share);
        float4 g[OWN_QUADS<SIDE>];
#pragma unroll
        for (int j = 0; j < OWN_QUADS<SIDE>; ++j) {
            g[j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            const Quad quad = quad_of<SIDE>(own, lane + WARP * j);
            if (!quad.there) continue;
            const size_t at = plane_of<SIDE>(quad.image, channels, c) + quad.y * SIDE + quad.x;
            const float slope = own.tensors[head.feature_slopes + quad.image * channels + c] * (1.0f / (SIDE * SIDE));
            const float4 x = *(const float4*)(own.tensors + head.value + at);
            g[j] = make_float4(through_head(of, slope, x.x), through_head(of, slope, x.y), through_head(of, slope, x.z), through_head(of, slope, x.w));
            *(float4*)(own.tensors + head.gradient + at) = g[j];
        }
        sum_up<SIDE>(own, channels, c, head.gradient_sum, g);
    }
}

// grid [tiles, channels, lanes]
extern "C" __global__ void __launch_bounds__(NAIVE_THREADS, 4) back_last_naive(
    const unsigned* __restrict__ plan, const float* __restrict__ weights, float* tensors, float* sums, const float* __restrict__ norms,
    const Sizes sizes, const Head head)
{
    constexpr int SIDE = 8;
    if (!ask_of(plan, sizes, blockIdx.z).present) return;
    const Own own = own_of<SIDE>(plan, weights, tensors, sums, norms, sizes, head.node);
    const int images = own.ask->images, channels = head.channels, c = blockIdx.y;
    if (own.first_image >= images) return;
    double sum = 0.0, product = 0.0;
    for (int image = 0; image < images; ++image) {
        sum += own.sums[head.sum + (size_t)c * sizes.batch + image];
        product += own.sums[head.sum + (size_t)(channels + c) * sizes.batch + image];
    }
    const HeadChannel of = head_channel(own, head, c, sum, product, 1.0 / (images * (SIDE * SIDE)));
    const int image = own.first_image + threadIdx.x / (SIDE * SIDE), pixel = threadIdx.x % (SIDE * SIDE);
    if (image < images) {
        const size_t at = plane_of<SIDE>(image, channels, c) + pixel;
        const float slope = own.tensors[head.feature_slopes + image * channels + c] / (SIDE * SIDE);
        own.tensors[head.gradient + at] = through_head(of, slope, own.tensors[head.value + at]);
    }
    __syncthreads();
    sum_up_naive<SIDE>(own, channels, c, head.gradient, head.gradient_sum);
}

// Derivatives of the loss with respect to the weights of the edges. grid [edges * candidates, 1, lanes]
extern "C" __global__ void __launch_bounds__(ANSWER_THREADS) answers(
    const unsigned* __restrict__ plan,    // [lanes, sizes.plan]
    const unsigned* __restrict__ targets, // [cells, edges] Targets
    const float* __restrict__ sums,       // [lanes, sizes.sums]
    const float* __restrict__ norms,      // [lanes, sizes.norms]
    double* __restrict__ out,             // [lanes, edges, candidates]
    const Sizes sizes, const Answering answering)
{
    __shared__ double parts[ANSWER_THREADS / WARP];
    const int lane = blockIdx.z, place = blockIdx.x; // edge * candidates + candidate
    const Ask& ask = ask_of(plan, sizes, lane);
    if (!ask.present) return;
    sums += (size_t)lane * sizes.sums;
    norms += (size_t)lane * sizes.norms;
    double sum = 0.0;
    for (int cell = 0; ask.edges && cell < answering.cells; ++cell) {
        const Target& target = ((const Target*)targets)[cell * answering.edges + place / answering.candidates];
        const Term* terms = terms_of(plan, sizes, lane, target.node);
        const int count = node_of(plan, sizes, lane, target.node).terms;
        const Term* term = nullptr;
        for (int i = 0; i < count; ++i)
            if (terms[i].place == place) term = &terms[i];
        if (!term && !ask.units) continue;
        const float* inverses = term && term->kind == NORMALIZED ? norms + term->norm + target.channels : nullptr;
        const float* from = sums + (term ? term->sum : target.gradient_sum); // [channels, tiles]
        const int row = tile_count(target.side, sizes.batch), there = tile_count(target.side, ask.images);
        for (int i = threadIdx.x; i < target.channels * there; i += ANSWER_THREADS) {
            const int channel = i / there, tile = i % there;
            sum += (inverses ? (double)inverses[channel] : 1.0) * from[(size_t)channel * row + tile];
        }
    }
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(FULL, sum, offset);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    sum = 0.0;
    for (int i = 0; i < ANSWER_THREADS / WARP; ++i) sum += parts[i];
    out[(size_t)lane * gridDim.x + place] = sum;
}
