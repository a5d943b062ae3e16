// Gradients of filters, dW[o][c][ky][kx] = Σ over images and pixels dz[o][y][x] · max(0, x)[c][stride y + ky − k/2][stride x + kx − k/2], and of scale
// and shift of the batch norms behind them.
//
// | kernel          | outputs | one block does                                                  | naive version: one thread does |
// | --------------- | ------- | --------------------------------------------------------------- | ------------------------------ |
// | weights_32      | 32x32   | one slot, one split, 16 input x 16 output channels, all taps    | one weight of one split        |
// | weights_16      | 16x16   | the same                                                        | the same                       |
// | weights_8       | 8x8     | the same, two images at a time                                  | the same                       |
// | weights_down_16 | 16x16   | the same with stride 2                                          | the same                       |
// | weights_down_8  | 8x8     | the same with stride 2, one image at a time                     | the same                       |
// | weights_stem    | 32x32   | one split, 3 input x 16 output channels, the images from bytes  | the same                       |
//
// One launch is made for all convolutions of a side, those that take no part end at once. The sum is cut in SPLITS parts, of every SPLITS-th tile of
// TILE_ROWS rows; parts without a tile are zero. `finish_gradient` of update.cu adds the parts.
//
// A thread of the fast versions has 4 output channels x all taps of one input channel in registers, its part of a tile's rows, and takes 4 pixels of dz at a
// time past a window of x that moves through registers; of 1x1 filters 4 x 4 channels. dz = own·g + other·(z − mean) + all is formed on the way to shared memory, x goes through its ReLU
// there; while a tile is multiplied, faster warps load the next one. The threads' parts are added through shared memory, in order.
//
// Fast versions know kernels of 3x3 and 1x1, naive ones all odd ones; what a version does not know is left as it is.
//
// Written on the host, in src/kernels/nas_bench_201: the constants and structs.

constexpr int OUTPUTS = WEIGHT_TILE;      // output channels of a block
constexpr int EACH = 4;                   // of a thread
constexpr int GROUPS = OUTPUTS / EACH;
constexpr int IMAGE = 32;                 // side of the images
constexpr int COLORS = 3;
constexpr int VALUES = 256;               // of a byte
constexpr int PADDING = 4;                // black pixels around an image before it is cropped

// What a channel of dz is made of.
struct Channel { float own, other, mean, all; };

__device__ __forceinline__ float rectified(float x, bool relu) { return relu && x < 0.0f ? 0.0f : x; } // NaN stays

// A pixel of a sample: flipped if it says so, padded with black, and cropped, as the host's `Images::crop`.
// images: [images, IMAGE_WORDS] bytes [COLORS, IMAGE, IMAGE]; table: [COLORS, VALUES]
__device__ __forceinline__ float pixel_of(const unsigned* images, const float* table, const Sample& sample, int color, int y, int x)
{
    const int row = y + sample.top - PADDING, column = x + sample.left - PADDING;
    unsigned byte = 0;
    if (row >= 0 && row < IMAGE && column >= 0 && column < IMAGE) {
        const int at = (color * IMAGE + row) * IMAGE + (sample.flip ? IMAGE - 1 - column : column);
        byte = images[(size_t)sample.image * IMAGE_WORDS + at / 4] >> 8 * (at % 4) & (VALUES - 1);
    }
    return table[color * VALUES + byte];
}

// How a tile lies in shared memory: x [INPUTS, ROWS of every image, PITCH], dz [OUTPUTS, PIXELS].
template <int SIDE_, int STRIDE_, int KERNEL_, int INPUTS_>
struct Tile {
    static constexpr int SIDE = SIDE_, STRIDE = STRIDE_, KERNEL = KERNEL_, INPUTS = INPUTS_, TAPS = KERNEL * KERNEL;
    static constexpr int SOURCE = SIDE * STRIDE, HALO = KERNEL / 2;
    static constexpr int IMAGES = STRIDE == 1 ? tile_images(SIDE) : 1; // with stride 2, those of two would not fit
    static constexpr int ROWS = (TILE_ROWS - 1) * STRIDE + KERNEL, LINES = IMAGES * TILE_ROWS, PIXELS = LINES * SIDE;
    // Columns of x that 4 pixels of dz meet: those that the 4 before them met, too, then 4 · STRIDE new ones, which begin on 16 bytes.
    static constexpr int CARRY = HALO == 0 ? 0 : KERNEL - STRIDE, NEW = 4 * STRIDE;
    static constexpr int FIRST = HALO == 0 || STRIDE == 2 ? 4 : 3; // where column 0 lies in its row
    static constexpr int PITCH = SOURCE + 4;
    // Eight input channels side by side fill all banks with 16 bytes each: from one to the next an odd number of them.
    static constexpr int PLANE = IMAGES * ROWS * PITCH / 8 * 8 + (IMAGES * ROWS * PITCH % 8 <= 4 ? 4 : 12);
    static constexpr int DPLANE = PIXELS + 4;
    // Without neighbours, a thread has 4 input channels instead of taps, LANES apart.
    static constexpr int WIDE = KERNEL == 1 ? 4 : 1, LANES = INPUTS / WIDE;
    static constexpr int SLICES = WEIGHT_THREADS / (LANES * GROUPS);              // of the lines
    static constexpr int PARTS = SLICES > LINES ? SLICES / LINES : 1, SPAN = SIDE / PARTS; // pixels of a line at a time
    static constexpr int QUADS = SOURCE / 4;
    static constexpr int ROUNDS = STRIDE; // in which x is loaded, each as much as there are registers for
    static constexpr int HELD = (INPUTS * IMAGES * ROWS * QUADS + ROUNDS * WEIGHT_THREADS - 1) / (ROUNDS * WEIGHT_THREADS); // of 16 bytes
    static constexpr int DHELD = OUTPUTS * PIXELS / 4 / WEIGHT_THREADS;
    static constexpr bool HALVES = false; // whether dz is loaded one half after the other, as far as there are registers for it
    // The sums at the end, [OUTPUTS, SUMS]: input channels and groups of outputs of a slice fall into different banks, from one group to the next 16 banks
    // if two have them all, and 4 if four have.
    static constexpr int SUMS = INPUTS * TAPS / 8 * 8 + (LANES == 16 ? 4 : 9);
    static constexpr int WORDS = INPUTS * PLANE + OUTPUTS * DPLANE;
    static_assert(SLICES * LANES * GROUPS == WEIGHT_THREADS && (LANES == 16 || LANES == 4) && SUMS >= INPUTS * TAPS && LINES * PARTS % SLICES == 0 && SPAN % 4 == 0, "threads share a tile evenly");
    static_assert(DHELD * WEIGHT_THREADS * 4 == OUTPUTS * PIXELS && OUTPUTS * SUMS <= WORDS && PLANE >= IMAGES * ROWS * PITCH, "a tile fits");

    // Channels that are stored, of so many; what a number of x becomes.
    static __device__ __forceinline__ int stored(int inputs) { return inputs; }
    static __device__ __forceinline__ float kept(float x) { return x; }

    static __device__ __forceinline__ int count(int images) { return IMAGES == 2 ? (images + 1) / 2 : images * (SIDE / TILE_ROWS); }
    static __device__ __forceinline__ int image(int tile) { return IMAGES == 2 ? 2 * tile : tile / (SIDE / TILE_ROWS); }
    static __device__ __forceinline__ int row(int tile) { return IMAGES == 2 ? 0 : tile % (SIDE / TILE_ROWS) * TILE_ROWS; }
};

// x of a tile, from the value of a node, by way of registers.
template <class T>
struct FromNode {
    const float* x; // [images, channels, SOURCE, SOURCE] from the block's first channel on
    int channels, inputs, images;
    bool relu;
    float4 held[T::HELD];

    __device__ __forceinline__ void load(int tile, int round)
    {
        const int thread = thread_anew(), top = T::row(tile) * T::STRIDE - T::HALO, there = images - T::image(tile);
        const float* const first = x + (size_t)T::image(tile) * channels * (T::SOURCE * T::SOURCE);
#pragma unroll
        for (int h = 0; h < T::HELD; ++h) {
            const int i = (round * T::HELD + h) * WEIGHT_THREADS + thread;
            const int quad = i % T::QUADS, line = i / T::QUADS % (T::IMAGES * T::ROWS), c = i / (T::QUADS * T::IMAGES * T::ROWS);
            const int image = line / T::ROWS, y = top + line % T::ROWS;
            held[h] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (c < inputs && image < there && y >= 0 && y < T::SOURCE)
                held[h] = load_whole<float4>(first + ((image * channels + c) * T::SOURCE + y) * T::SOURCE + 4 * quad);
        }
    }

    // to: [INPUTS, PLANE]
    __device__ __forceinline__ void store(float* to, int round)
    {
        const int thread = thread_anew();
#pragma unroll
        for (int h = 0; h < T::HELD; ++h) {
            const int i = (round * T::HELD + h) * WEIGHT_THREADS + thread;
            const int quad = i % T::QUADS, line = i / T::QUADS % (T::IMAGES * T::ROWS), c = i / (T::QUADS * T::IMAGES * T::ROWS);
            float* row = to + c * T::PLANE + line * T::PITCH;
            float4 v = held[h];
            v.x = T::kept(rectified(v.x, relu)), v.y = T::kept(rectified(v.y, relu));
            v.z = T::kept(rectified(v.z, relu)), v.w = T::kept(rectified(v.w, relu));
            if (T::FIRST == 3) { // moved by one column, so that a row's lanes pass on their first
                const float next = __shfl_down_sync(FULL, v.x, 1);
                if (c < T::stored(inputs)) {
                    if (quad == 0) *(float2*)(row + 2) = make_float2(0.0f, v.x);
                    store_whole(row + 4 + 4 * quad, make_float4(v.y, v.z, v.w, quad == T::QUADS - 1 ? 0.0f : next));
                }
            } else if (c < T::stored(inputs)) {
                if (quad == 0) row[3] = 0.0f;
                store_whole(row + 4 + 4 * quad, v);
            }
        }
    }
};

// x of a tile, from the bytes of the images.
template <class T>
struct FromBytes {
    static constexpr int COLUMNS = T::SOURCE + 2;
    static constexpr int HELD = (COLORS * T::ROWS * COLUMNS + WEIGHT_THREADS - 1) / WEIGHT_THREADS;
    const unsigned* bytes;  // [images, IMAGE_WORDS]
    const float* table;     // [COLORS, VALUES], in shared memory
    const Sample* samples;  // [batch]
    float held[HELD];

    __device__ __forceinline__ void load(int tile, int)
    {
        const Sample& sample = samples[T::image(tile)];
        const int thread = thread_anew(), top = T::row(tile) - T::HALO;
#pragma unroll
        for (int h = 0; h < HELD; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int x = i % COLUMNS - 1, y = top + i / COLUMNS % T::ROWS, color = i / (COLUMNS * T::ROWS);
            held[h] = 0.0f;
            if (color < COLORS && y >= 0 && y < T::SOURCE && x >= 0 && x < T::SOURCE) held[h] = pixel_of(bytes, table, sample, color, y, x);
        }
    }

    __device__ __forceinline__ void store(float* to, int)
    {
        const int thread = thread_anew();
#pragma unroll
        for (int h = 0; h < HELD; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int column = i % COLUMNS, line = i / COLUMNS % T::ROWS, color = i / (COLUMNS * T::ROWS);
            if (color < COLORS) to[color * T::PLANE + line * T::PITCH + T::FIRST - 1 + column] = held[h];
        }
    }
};

// The channels of dz of a block by all its threads, a warp a channel; and the gradients of scale and shift.
// sums, norms: of the lane; weights: of the trial; gradients: [2, outputs of the slot], or null
template <int SIDE>
__device__ __forceinline__ void join_channels(const Slot& slot, const float* sums, const float* norms, const float* weights, float* gradients, int first,
                                              int outputs, int images, int batch, Channel* channels)
{
    const int lane = threadIdx.x % WARP;
    const size_t tiles = tile_count(SIDE, batch);
    for (int o = threadIdx.x / WARP; o < outputs; o += WEIGHT_THREADS / WARP) {
        const int output = first + o;
        Channel channel = {slot.weight, 0.0f, 0.0f, 0.0f};
        if (slot.normalized) {
            const double sum = join_sums(sums + slot.gradient_sum + output * tiles, SIDE, images);
            const double inverse = norms[slot.norm + slot.outputs + output];
            const double product = join_sums(sums + slot.sum + output * tiles, SIDE, images) * inverse;
            const double own = slot.weight * (slot.scale == NOWHERE ? 1.0 : (double)weights[slot.scale + output]) * inverse;
            const double count = (double)images * SIDE * SIDE;
            channel = {(float)own, (float)(-own * inverse * product / count), norms[slot.norm + output], (float)(-own * sum / count)};
            if (gradients && lane == 0) {
                gradients[output] = (float)product;
                gradients[slot.outputs + output] = (float)sum;
            }
        }
        if (lane == 0) channels[o] = channel;
    }
}

__device__ __forceinline__ float slope_of(const Channel& channel, float g, float z)
{
    return fmaf(g, channel.own, fmaf(z - channel.mean, channel.other, channel.all));
}

// dz of a tile, four pixels of a channel at a time, by way of registers.
template <class T>
struct FromSlot {
    const float *g, *z;      // [images, channels, SIDE, SIDE] from the block's first channel on
    const Channel* channels; // [OUTPUTS], in shared memory
    int all, outputs, images;
    bool normalized;
    float4 slopes[T::DHELD], values[T::DHELD];

    template <int BEGIN, int END>
    __device__ __forceinline__ void load(int tile)
    {
        const int thread = thread_anew();
#pragma unroll
        for (int h = BEGIN; h < END; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int pixel = i % (T::PIXELS / 4) * 4, o = i / (T::PIXELS / 4);
            const int image = T::image(tile) + pixel / (TILE_ROWS * T::SIDE);
            slopes[h] = values[h] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (o < outputs && image < images) {
                const size_t at = ((size_t)image * all + o) * T::SIDE * T::SIDE + T::row(tile) * T::SIDE + pixel % (TILE_ROWS * T::SIDE);
                slopes[h] = load_whole<float4>(g + at);
                if (normalized) values[h] = load_whole<float4>(z + at);
            }
        }
    }

    // to: [OUTPUTS, DPLANE]
    template <int BEGIN, int END>
    __device__ __forceinline__ void store(float* to, int tile)
    {
        const int thread = thread_anew();
#pragma unroll
        for (int h = BEGIN; h < END; ++h) {
            const int i = h * WEIGHT_THREADS + thread;
            const int pixel = i % (T::PIXELS / 4) * 4, o = i / (T::PIXELS / 4);
            float4 d = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (o < outputs && T::image(tile) + pixel / (TILE_ROWS * T::SIDE) < images) {
                const Channel channel = channels[o];
                d.x = slope_of(channel, slopes[h].x, values[h].x);
                d.y = slope_of(channel, slopes[h].y, values[h].y);
                d.z = slope_of(channel, slopes[h].z, values[h].z);
                d.w = slope_of(channel, slopes[h].w, values[h].w);
            }
            store_whole(to + o * T::DPLANE + pixel, d);
        }
    }
};

// Every SPLITS-th tile from `begin` on: x to xs and dz to ds, where multiply() finds them.
template <class T, int SPLITS, class From, class Slopes, class Multiply>
__device__ __forceinline__ void walk_tiles(From& from, Slopes& slopes, float* xs, float* ds, int begin, int end, const Multiply& multiply)
{
    for (int tile = begin; tile < end; tile += SPLITS) {
        if (T::ROUNDS == 1) from.load(tile, 0);
        __syncthreads(); // the tile before is multiplied
        if (T::ROUNDS == 1) from.store(xs, 0);
#pragma unroll 1
        for (int round = 0; T::ROUNDS > 1 && round < T::ROUNDS; ++round) {
            from.load(tile, round);
            from.store(xs, round);
        }
        if (T::HALVES) {
            slopes.template load<0, T::DHELD / 2>(tile);
            slopes.template store<0, T::DHELD / 2>(ds, tile);
            asm volatile("" ::: "memory");
            slopes.template load<T::DHELD / 2, T::DHELD>(tile);
            slopes.template store<T::DHELD / 2, T::DHELD>(ds, tile);
        } else {
            slopes.template load<0, T::DHELD>(tile);
            slopes.template store<0, T::DHELD>(ds, tile);
        }
        __syncthreads();
        multiply();
    }
}

// Part `split` of the gradient for some channels.
// partial: [slot.outputs, slot.inputs, TAPS] from the block's first channels on
template <class T, int SPLITS, class From>
__device__ __forceinline__ void gradient_of(From& from, FromSlot<T>& slopes, const Slot& slot, float* room, float* partial, int split, int inputs,
                                            int outputs, int images)
{
    float* const xs = room;                        // [INPUTS, PLANE]
    float* const ds = room + T::INPUTS * T::PLANE; // [OUTPUTS, DPLANE]
    const int input = threadIdx.x % T::LANES, group = threadIdx.x / T::LANES % GROUPS, slice = threadIdx.x / (T::LANES * GROUPS);
    const bool works = input < inputs && group * EACH < outputs;
    float acc[EACH][T::WIDE * T::TAPS];
#pragma unroll
    for (int o = 0; o < EACH; ++o)
#pragma unroll
        for (int tap = 0; tap < T::WIDE * T::TAPS; ++tap) acc[o][tap] = 0.0f;

    walk_tiles<T, SPLITS>(from, slopes, xs, ds, split, T::count(images), [&] {
        if (!works) return;
#pragma unroll 1
        for (int unit = slice; unit < T::LINES * T::PARTS; unit += T::SLICES) {
            const int line = unit / T::PARTS, begin = unit % T::PARTS * T::SPAN;
            const float* row = xs + input * T::PLANE + (line / TILE_ROWS * T::ROWS + line % TILE_ROWS * T::STRIDE) * T::PITCH + T::STRIDE * begin + 4;
            const float* slope = ds + group * EACH * T::DPLANE + line * T::SIDE + begin;
            float window[T::WIDE * T::KERNEL][T::CARRY + T::NEW]; // rows of x, of every input channel
#pragma unroll
            for (int line = 0; line < T::WIDE * T::KERNEL; ++line)
#pragma unroll
                for (int i = 0; i < T::CARRY; ++i) window[line][T::NEW + i] = row[line * T::PITCH - T::CARRY + i];
#pragma unroll 2
            for (int pixel = 0; pixel < T::SPAN; pixel += 4) {
#pragma unroll
                for (int line = 0; line < T::WIDE * T::KERNEL; ++line) {
#pragma unroll
                    for (int i = 0; i < T::CARRY; ++i) window[line][i] = window[line][T::NEW + i];
#pragma unroll
                    for (int i = 0; i < T::STRIDE; ++i) {
                        const float4 v = load_whole<float4>(row + (T::WIDE == 1 ? line * T::PITCH : line * T::LANES * T::PLANE) + T::STRIDE * pixel + 4 * i);
                        window[line][T::CARRY + 4 * i] = v.x;
                        window[line][T::CARRY + 4 * i + 1] = v.y;
                        window[line][T::CARRY + 4 * i + 2] = v.z;
                        window[line][T::CARRY + 4 * i + 3] = v.w;
                    }
                }
#pragma unroll
                for (int o = 0; o < EACH; ++o) {
                    const float4 d = load_whole<float4>(slope + o * T::DPLANE + pixel);
#pragma unroll
                    for (int line = 0; line < T::WIDE * T::KERNEL; ++line)
#pragma unroll
                        for (int kx = 0; kx < T::KERNEL; ++kx) {
                            float& sum = acc[o][line * T::KERNEL + kx];
                            sum = fmaf(d.x, window[line][kx], sum);
                            sum = fmaf(d.y, window[line][kx + T::STRIDE], sum);
                            sum = fmaf(d.z, window[line][kx + 2 * T::STRIDE], sum);
                            sum = fmaf(d.w, window[line][kx + 3 * T::STRIDE], sum);
                        }
                }
            }
        }
    });

    float* const sums = room + group * EACH * T::SUMS + input * T::TAPS; // of [OUTPUTS, SUMS]
    for (int s = 0; s < T::SLICES; ++s) {
        __syncthreads();
        if (slice == s && works)
#pragma unroll
            for (int o = 0; o < EACH; ++o)
#pragma unroll
                for (int tap = 0; tap < T::WIDE * T::TAPS; ++tap) {
                    float& sum = sums[o * T::SUMS + (T::WIDE == 1 ? tap : tap * T::LANES)];
                    sum = s == 0 ? acc[o][tap] : sum + acc[o][tap];
                }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < outputs * T::INPUTS * T::TAPS; i += WEIGHT_THREADS) {
        const int at = i % (T::INPUTS * T::TAPS), o = i / (T::INPUTS * T::TAPS);
        if (at < inputs * T::TAPS) partial[(size_t)o * slot.inputs * T::TAPS + at] = room[o * T::SUMS + at];
    }
}

// What a block has to do.
struct Work {
    const Ask* ask;
    const Slot* slot; // null if it has nothing to do
    int split, first_input, inputs, first_output, outputs;
};

__device__ __forceinline__ Work work_of(const unsigned* plan, const unsigned* slots, const Sizes& sizes, int splits, int input_blocks, int tile)
{
    Work work = {};
    work.ask = &ask_of(plan, sizes, blockIdx.z);
    if (!work.ask->present) return work;
    const Slot* slot = slots_of(plan, sizes, blockIdx.z) + slots[blockIdx.x / splits];
    if (slot->kernel == 0) return work;
    work.split = blockIdx.x % splits;
    work.first_input = blockIdx.y % input_blocks * tile;
    work.first_output = blockIdx.y / input_blocks * OUTPUTS;
    if (work.first_input >= slot->inputs || work.first_output >= slot->outputs) return work;
    work.inputs = min(slot->inputs - work.first_input, tile);
    work.outputs = min(slot->outputs - work.first_output, OUTPUTS);
    work.slot = slot;
    return work;
}

// Where part `split` of a slot's gradients begins in its lane's.
__device__ __forceinline__ size_t part_of(const Slot& slot, int split)
{
    return slot.partial + (size_t)split * slot.outputs * slot.inputs * slot.kernel * slot.kernel;
}

// Wide, Narrow: tiles of 3x3 and 1x1 filters; Slopes: how dz is loaded.
template <class Wide, class Narrow, template <class> class Slopes, int SPLITS>
__device__ __forceinline__ void weights_of(const unsigned* plan, const unsigned* slots, const float* tensors, const float* sums, const float* norms,
                                           const float* weights, float* partials, const Sizes& sizes, int input_blocks,
                                           float* room,       // x and dz of a tile; in the end the sums
                                           Channel* channels) // [OUTPUTS]
{
    const Work work = work_of(plan, slots, sizes, SPLITS, input_blocks, WEIGHT_TILE);
    if (!work.slot || (work.slot->kernel != 3 && work.slot->kernel != 1)) return;
    constexpr int SIDE = Wide::SIDE, STRIDE = Wide::STRIDE;
    const Slot& slot = *work.slot;
    const int images = work.ask->images;
    const float* tensor = tensors + (size_t)blockIdx.z * sizes.tensors;
    float* partial = partials + (size_t)blockIdx.z * sizes.partials;
    const bool writes = slot.scale != NOWHERE && work.split == 0 && work.first_input == 0;
    join_channels<SIDE>(slot, sums + (size_t)blockIdx.z * sizes.sums, norms + (size_t)blockIdx.z * sizes.norms,
                        weights + (size_t)work.ask->trial * sizes.weights, writes ? partial + part_of(slot, SPLITS) : nullptr, work.first_output,
                        work.outputs, images, sizes.batch, channels);
    const size_t first = (size_t)work.first_output * SIDE * SIDE;
    const float* g = tensor + slot.gradient + first;
    const float* z = tensor + slot.output + first;
    const float* x = tensor + slot.source + (size_t)work.first_input * SIDE * SIDE * STRIDE * STRIDE;
    float* out = partial + part_of(slot, work.split) + ((size_t)work.first_output * slot.inputs + work.first_input) * slot.kernel * slot.kernel;
    if (slot.kernel == 3) {
        FromNode<Wide> from = {x, slot.inputs, work.inputs, images, slot.relu != 0};
        Slopes<Wide> slopes = {g, z, channels, slot.outputs, work.outputs, images, slot.normalized != 0};
        gradient_of<Wide, SPLITS>(from, slopes, slot, room, out, work.split, work.inputs, work.outputs, images);
    } else {
        FromNode<Narrow> from = {x, slot.inputs, work.inputs, images, slot.relu != 0};
        Slopes<Narrow> slopes = {g, z, channels, slot.outputs, work.outputs, images, slot.normalized != 0};
        gradient_of<Narrow, SPLITS>(from, slopes, slot, room, out, work.split, work.inputs, work.outputs, images);
    }
}

// A weight of a slot: its part `split` of the gradient, in the order of tiles, rows and columns. x_of(image, channel, row, column): what is convolved.
template <int SIDE, int STRIDE, int SPLITS, class X>
__device__ __forceinline__ void naive_weight(const Slot& slot, const float* tensor, const float* sum, const float* norm, const float* weight, float* partial,
                                             int split, int place, int images, int batch, const X& x_of)
{
    const int kernel = slot.kernel, taps = kernel * kernel;
    const int o = place / (slot.inputs * taps), c = place / taps % slot.inputs, ky = place / kernel % kernel, kx = place % kernel;
    Channel channel = {slot.weight, 0.0f, 0.0f, 0.0f};
    if (slot.normalized) {
        double total = 0.0, product = 0.0;
        for (int tile = 0; tile < tile_count(SIDE, images); ++tile) {
            total += sum[slot.gradient_sum + (size_t)o * tile_count(SIDE, batch) + tile];
            product += sum[slot.sum + (size_t)o * tile_count(SIDE, batch) + tile];
        }
        const double inverse = norm[slot.norm + slot.outputs + o];
        const double own = slot.weight * (slot.scale == NOWHERE ? 1.0 : (double)weight[slot.scale + o]) * inverse;
        const double count = (double)images * SIDE * SIDE;
        product *= inverse;
        channel = {(float)own, (float)(-own * inverse * product / count), norm[slot.norm + o], (float)(-own * total / count)};
        if (slot.scale != NOWHERE && split == 0 && place % (slot.inputs * taps) == 0) {
            partial[part_of(slot, SPLITS) + o] = (float)product;
            partial[part_of(slot, SPLITS) + slot.outputs + o] = (float)total;
        }
    }
    typedef Tile<SIDE, STRIDE, 3, WEIGHT_TILE> Tiles;
    float gradient = 0.0f;
    for (int tile = split; tile < Tiles::count(images); tile += SPLITS)
        for (int line = 0; line < Tiles::LINES; ++line) {
            const int image = Tiles::image(tile) + line / TILE_ROWS, y = Tiles::row(tile) + line % TILE_ROWS;
            const int source_y = STRIDE * y + ky - kernel / 2;
            if (image >= images || source_y < 0 || source_y >= STRIDE * SIDE) continue;
#pragma unroll 1
            for (int x = 0; x < SIDE; ++x) {
                const int source_x = STRIDE * x + kx - kernel / 2;
                if (source_x < 0 || source_x >= STRIDE * SIDE) continue;
                const size_t at = (((size_t)image * slot.outputs + o) * SIDE + y) * SIDE + x;
                const float z = slot.normalized ? tensor[slot.output + at] : 0.0f;
                gradient = fmaf(slope_of(channel, tensor[slot.gradient + at], z), x_of(image, c, source_y, source_x), gradient);
            }
        }
    partial[part_of(slot, split) + place] = gradient;
}

// x of the naive versions.
struct NodePixel {
    const float* x; // [images, channels, side, side]
    int channels, side;
    bool relu;
    __device__ __forceinline__ float operator()(int image, int channel, int y, int column) const
    {
        return rectified(x[(((size_t)image * channels + channel) * side + y) * side + column], relu);
    }
};

struct BytePixel {
    const unsigned* images;
    const float* table;
    const Sample* samples;
    __device__ __forceinline__ float operator()(int image, int channel, int y, int column) const
    {
        return pixel_of(images, table, samples[image], channel, y, column);
    }
};

template <int SIDE, int STRIDE, int SPLITS>
__device__ __forceinline__ void naive_weights_of(const unsigned* plan, const unsigned* slots, const float* tensors, const float* sums, const float* norms,
                                                 const float* weights, float* partials, const Sizes& sizes)
{
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const Slot& slot = slots_of(plan, sizes, request)[slots[blockIdx.x / SPLITS]];
    if (slot.kernel == 0) return;
    const float* tensor = tensors + (size_t)request * sizes.tensors;
    const NodePixel x_of = {tensor + slot.source, slot.inputs, SIDE * STRIDE, slot.relu != 0};
    const int places = slot.outputs * slot.inputs * slot.kernel * slot.kernel;
    for (int place = blockIdx.y * WEIGHT_THREADS + threadIdx.x; place < places; place += gridDim.y * WEIGHT_THREADS)
        naive_weight<SIDE, STRIDE, SPLITS>(slot, tensor, sums + (size_t)request * sizes.sums, norms + (size_t)request * sizes.norms,
                                           weights + (size_t)ask.trial * sizes.weights, partials + (size_t)request * sizes.partials,
                                           blockIdx.x % SPLITS, place, ask.images, sizes.batch, x_of);
}

// Shared memory is declared in the kernels themselves: in a template, the software device would take it for something else.
// grid [slots * splits, blocks of channels, lanes]; naive [slots * splits, blocks of weights, lanes]
#define WEIGHTS(name, SIDE, STRIDE, SPLITS)                                                                                                              \
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
        typedef Tile<SIDE, STRIDE, 3, WEIGHT_TILE> Wide;                                                                                                 \
        typedef Tile<SIDE, STRIDE, 1, WEIGHT_TILE> Narrow;                                                                                               \
        __shared__ __align__(16) float room[Wide::WORDS];                                                                                                \
        __shared__ Channel channels[OUTPUTS];                                                                                                            \
        weights_of<Wide, Narrow, FromSlot, SPLITS>(plan, slots, tensors, sums, norms, weights, partials, sizes, input_blocks, room, channels);           \
    }                                                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(WEIGHT_THREADS) name##_naive(                                                                           \
        const unsigned* __restrict__ plan, const unsigned* __restrict__ slots, const float* __restrict__ tensors, const float* __restrict__ sums,        \
        const float* __restrict__ norms, const float* __restrict__ weights, float* __restrict__ partials, const Sizes sizes, const int)                  \
    {                                                                                                                                                    \
        naive_weights_of<SIDE, STRIDE, SPLITS>(plan, slots, tensors, sums, norms, weights, partials, sizes);                                             \
    }
WEIGHTS(weights_32, 32, 1, SPLITS_32)
WEIGHTS(weights_16, 16, 1, SPLITS_16)
WEIGHTS(weights_8, 8, 1, SPLITS_8)
WEIGHTS(weights_down_16, 16, 2, SPLITS_16)
WEIGHTS(weights_down_8, 8, 2, SPLITS_8)

// grid [splits, blocks of output channels, lanes]
extern "C" __global__ void __launch_bounds__(WEIGHT_THREADS, 2) weights_stem(
    const unsigned* __restrict__ plan,    // [lanes, sizes.plan]
    const unsigned* __restrict__ images,  // [images, IMAGE_WORDS]
    const unsigned* __restrict__ samples, // [lanes, batch] Samples
    const float* __restrict__ table,      // [COLORS, VALUES]
    const float* __restrict__ tensors,    // [lanes, sizes.tensors]
    const float* __restrict__ sums,       // [lanes, sizes.sums]
    const float* __restrict__ norms,      // [lanes, sizes.norms]
    const float* __restrict__ weights,    // [trials, sizes.weights]
    float* __restrict__ partials,         // [lanes, sizes.partials]
    const Sizes sizes, const unsigned slot_number)
{
    typedef Tile<IMAGE, 1, 3, 4> Stem; // of 4 input channels, one is not there
    __shared__ __align__(16) float room[Stem::WORDS];
    __shared__ Channel channels[OUTPUTS];
    __shared__ float values[COLORS * VALUES];
    const Work work = work_of(plan, &slot_number, sizes, SPLITS_32, 1, 4);
    if (!work.slot || work.slot->kernel != 3) return;
    const Slot& slot = *work.slot;
    for (int i = threadIdx.x; i < COLORS * VALUES; i += WEIGHT_THREADS) values[i] = table[i];
    float* partial = partials + (size_t)blockIdx.z * sizes.partials;
    join_channels<IMAGE>(slot, sums + (size_t)blockIdx.z * sizes.sums, norms + (size_t)blockIdx.z * sizes.norms,
                         weights + (size_t)work.ask->trial * sizes.weights,
                         slot.scale != NOWHERE && work.split == 0 ? partial + part_of(slot, SPLITS_32) : nullptr, work.first_output, work.outputs,
                         work.ask->images, sizes.batch, channels);
    __syncthreads();
    const float* tensor = tensors + (size_t)blockIdx.z * sizes.tensors + (size_t)work.first_output * IMAGE * IMAGE;
    FromBytes<Stem> from = {images, values, (const Sample*)samples + (size_t)blockIdx.z * sizes.batch};
    FromSlot<Stem> slopes = {tensor + slot.gradient, tensor + slot.output, channels, slot.outputs, work.outputs, work.ask->images, slot.normalized != 0};
    gradient_of<Stem, SPLITS_32>(from, slopes, slot, room, partial + part_of(slot, work.split) + (size_t)work.first_output * COLORS * 9, work.split,
                                 COLORS, work.outputs, work.ask->images);
}

// grid [splits, blocks of weights, lanes]
extern "C" __global__ void __launch_bounds__(WEIGHT_THREADS) weights_stem_naive(
    const unsigned* __restrict__ plan, const unsigned* __restrict__ images, const unsigned* __restrict__ samples, const float* __restrict__ table,
    const float* __restrict__ tensors, const float* __restrict__ sums, const float* __restrict__ norms, const float* __restrict__ weights,
    float* __restrict__ partials, const Sizes sizes, const unsigned slot_number)
{
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const Slot& slot = slots_of(plan, sizes, request)[slot_number];
    if (slot.kernel == 0) return;
    const BytePixel x_of = {images, table, (const Sample*)samples + (size_t)request * sizes.batch};
    const int places = slot.outputs * slot.inputs * slot.kernel * slot.kernel;
    for (int place = blockIdx.y * WEIGHT_THREADS + threadIdx.x; place < places; place += gridDim.y * WEIGHT_THREADS)
        naive_weight<IMAGE, 1, SPLITS_32>(slot, tensors + (size_t)request * sizes.tensors, sums + (size_t)request * sizes.sums,
                                          norms + (size_t)request * sizes.norms, weights + (size_t)ask.trial * sizes.weights,
                                          partials + (size_t)request * sizes.partials, blockIdx.x, place, ask.images, sizes.batch, x_of);
}
