// The toy regression of section 5.1; the network is described in `advantage_nas::network::toy`.
//
// Three steps answer the requests of many trials at once: the minibatches, every edge's share of the predictions, the
// sums over the batch. What to evaluate is data: every request names its trial, its place in the random stream, and
// `slots` pairs (candidate, weight) per edge. A launch may be made for more requests than there are; blocks without one
// end at once.
//
// | kernel      | one block does                                   | naive version: one thread does            |
// | ----------- | ------------------------------------------------ | ----------------------------------------- |
// | toy_images  | 128 ChaCha blocks, 16 pixels each                | one pixel                                 |
// | toy_edges   | one edge, 32 images; a thread one row of outputs | one edge, one image, all outputs in turn  |
// | toy_answers | one request; a warp one sum                      | one sum                                   |
//
// The fast versions keep an image tile in shared memory and the outputs in registers, and mix the filters instead of
// their outputs: sum_k a_k (f_k * x) = (sum_k a_k f_k) * x. With one slot of weight 1 the two are the same bits. All
// sums have a fixed order.
//
// Written on the host, in src/kernels/toy.rs, and put before this text: the constants IMAGE, PIXELS, KERNEL, TAPS, STRIDE,
// OUTPUT and POSITIONS of the network, THREADS, ANSWER_THREADS, TILE and ASK_HEADER of the launches, the Slopes NONE,
// OF_ONE and OF_SEVERAL; the structs Dimensions and Terms.

constexpr int PITCH = 36; // of a tile's row: 8 images and 4 rows of outputs fall into 32 different banks
constexpr int WARP = 32;
constexpr unsigned FULL = 0xffffffffu;

// The requests, `asks` [1 + requests * stride]: their number, then for each of them
// [trial index, stream (2 words), first ChaCha block (2 words), (candidate, weight) [edges, slots]].
__device__ __forceinline__ const unsigned* ask_of(const unsigned* asks, int request, const Dimensions& dimensions)
{
    return asks + 1 + (size_t)request * (ASK_HEADER + 2 * dimensions.edges * dimensions.slots);
}

__device__ __forceinline__ unsigned long long long_word(const unsigned* words)
{
    return words[0] | (unsigned long long)words[1] << 32;
}

// Floats from one request's images to the next: whole ChaCha blocks.
__device__ __forceinline__ int images_pitch(int batch)
{
    return (PIXELS * batch + CHACHA_WORDS - 1) / CHACHA_WORDS * CHACHA_WORDS;
}

// grid [blocks of pixels, requests]
extern "C" __global__ void __launch_bounds__(THREADS) toy_images(
    const unsigned* __restrict__ key,    // [8]
    const unsigned* __restrict__ asks,   // [1 + requests * stride]
    float* __restrict__ images,          // [requests, pixels * batch, padded]
    const Dimensions dimensions)
{
    const int request = blockIdx.y;
    if (request >= asks[0]) return;
    const unsigned* ask = ask_of(asks, request, dimensions);
    const int pitch = images_pitch(dimensions.batch);
    const int block = blockIdx.x * THREADS + threadIdx.x;
    if (block >= pitch / CHACHA_WORDS) return;
    unsigned words[CHACHA_WORDS];
    chacha8(key, long_word(ask + 3) + block, long_word(ask + 1), words);
    float4* out = (float4*)(images + (size_t)request * pitch + block * CHACHA_WORDS);
#pragma unroll
    for (int i = 0; i < CHACHA_WORDS / 4; ++i)
        out[i] = make_float4(symmetric_uniform(words[4 * i]), symmetric_uniform(words[4 * i + 1]),
                             symmetric_uniform(words[4 * i + 2]), symmetric_uniform(words[4 * i + 3]));
}

// grid [blocks of pixels, requests]
extern "C" __global__ void __launch_bounds__(THREADS) toy_images_naive(
    const unsigned* __restrict__ key, const unsigned* __restrict__ asks, float* __restrict__ images,
    const Dimensions dimensions)
{
    const int request = blockIdx.y;
    const int pitch = images_pitch(dimensions.batch);
    const int word = blockIdx.x * THREADS + threadIdx.x; // pixel * batch + image
    if (request >= asks[0] || word >= pitch) return;
    const unsigned* ask = ask_of(asks, request, dimensions);
    const unsigned long long counter = long_word(ask + 3) + word / CHACHA_WORDS;
    unsigned start[CHACHA_WORDS], state[CHACHA_WORDS];
    start[0] = 0x61707865; start[1] = 0x3320646e; start[2] = 0x79622d32; start[3] = 0x6b206574;
    for (int i = 0; i < 8; ++i) start[4 + i] = key[i];
    start[12] = counter; start[13] = counter >> 32; start[14] = ask[1]; start[15] = ask[2];
    for (int i = 0; i < CHACHA_WORDS; ++i) state[i] = start[i];
    for (int round = 0; round < 8; ++round)
        for (int i = 0; i < 4; ++i) { // columns in even rounds, diagonals in odd ones
            const int skew = round % 2;
            const int a = i, b = 4 + (i + skew) % 4, c = 8 + (i + 2 * skew) % 4, d = 12 + (i + 3 * skew) % 4;
            quarter_round(state[a], state[b], state[c], state[d]);
        }
    images[(size_t)request * pitch + word] = symmetric_uniform(state[word % CHACHA_WORDS] + start[word % CHACHA_WORDS]);
}

// Applies FILTERS filters to one row of outputs of one image.
template <int FILTERS>
__device__ __forceinline__ void convolve(const float* pixels,                     // [pixels], PITCH apart, from the row's corner
                                         const float* const (&filters)[FILTERS],  // [taps] each
                                         float (&outputs)[FILTERS][OUTPUT])
{
#pragma unroll
    for (int f = 0; f < FILTERS; ++f)
#pragma unroll
        for (int x = 0; x < OUTPUT; ++x) outputs[f][x] = 0.0f;
#pragma unroll
    for (int ky = 0; ky < KERNEL; ++ky) {
        float row[IMAGE];
#pragma unroll
        for (int x = 0; x < IMAGE; ++x) row[x] = pixels[(ky * IMAGE + x) * PITCH];
#pragma unroll
        for (int f = 0; f < FILTERS; ++f)
#pragma unroll
            for (int kx = 0; kx < KERNEL; ++kx) {
                const float tap = filters[f][ky * KERNEL + kx];
#pragma unroll
                for (int x = 0; x < OUTPUT; ++x) outputs[f][x] = fmaf(tap, row[x * STRIDE + kx], outputs[f][x]);
            }
    }
}

// The sum over the four rows of outputs, which four neighbouring lanes hold; in all of them.
__device__ __forceinline__ float sum_rows(float value)
{
    value += __shfl_xor_sync(FULL, value, 1);
    value += __shfl_xor_sync(FULL, value, 2);
    return value;
}

// grid [edges, tiles of images, requests]
extern "C" __global__ void __launch_bounds__(THREADS) toy_edges(
    const unsigned* __restrict__ asks,     // [1 + requests * stride]
    const float* __restrict__ filters,     // [trials, edges, candidates, taps]
    const float* __restrict__ heads,       // [trials, edges, positions], divided by the number of edges
    const unsigned* __restrict__ teachers, // [trials, edges]
    const float* __restrict__ images,      // [requests, pixels * batch, padded]
    float* __restrict__ differences,       // [requests, edges, batch]: the student's share of the prediction minus the teacher's
    float* __restrict__ shares,            // [requests, edges, batch]: the student's
    float* __restrict__ slopes,            // [requests, edges, slots + 1, batch]: d prediction / d weight of every slot; the last row
                                           // as if the output were all ones. Unless slopes_of is NONE
    const Dimensions dimensions, const int slopes_of)
{
    __shared__ float tile[PIXELS * PITCH]; // [pixels, images of the tile]
    __shared__ float taps[2][TAPS];        // the teacher's filter, the student's mixture
    const int edges = dimensions.edges, candidates = dimensions.candidates;
    const int batch = dimensions.batch, slots = dimensions.slots;
    const int edge = blockIdx.x;
    const int request = blockIdx.z;
    if (request >= asks[0]) return;
    const unsigned* ask = ask_of(asks, request, dimensions);
    const unsigned* pairs = ask + ASK_HEADER + 2 * edge * slots; // [slots, 2]
    const size_t place = (size_t)ask[0] * edges + edge;          // [trials, edges]
    const float* bank = filters + place * candidates * TAPS;     // [candidates, taps]

    const int first = blockIdx.y * TILE;
    const float* source = images + (size_t)request * images_pitch(batch); // [pixels, batch]
    for (int i = threadIdx.x; i < PIXELS * TILE; i += THREADS) {
        const int pixel = i / TILE, image = i % TILE;
        tile[pixel * PITCH + image] = first + image < batch ? source[pixel * batch + first + image] : 0.0f;
    }
    for (int t = threadIdx.x; t < TAPS; t += THREADS) {
        taps[0][t] = bank[teachers[place] * TAPS + t];
        float sum = 0.0f;
        for (int s = 0; s < slots; ++s) sum = fmaf(__uint_as_float(pairs[2 * s + 1]), bank[pairs[2 * s] * TAPS + t], sum);
        taps[1][t] = sum;
    }
    __syncthreads();

    const int image = threadIdx.x / OUTPUT, row = threadIdx.x % OUTPUT;
    const float* pixels = tile + row * STRIDE * IMAGE * PITCH + image;
    const float* head = heads + place * POSITIONS + row * OUTPUT;
    float outputs[2][OUTPUT];
    convolve<2>(pixels, {taps[0], taps[1]}, outputs);
    float teacher = 0.0f, share = 0.0f, unit = 0.0f;
    float inner[OUTPUT]; // v (1 - tanh^2), the derivative with respect to the mixture
#pragma unroll
    for (int x = 0; x < OUTPUT; ++x) {
        const float hidden = portable_tanh(outputs[1][x]);
        teacher = fmaf(head[x], portable_tanh(outputs[0][x]), teacher);
        share = fmaf(head[x], hidden, share);
        inner[x] = head[x] * (1.0f - hidden * hidden);
        unit += inner[x];
    }
    teacher = sum_rows(teacher);
    share = sum_rows(share);
    const bool writes = row == 0 && first + image < batch;
    const size_t cell = ((size_t)request * edges + edge) * batch + first + image; // [requests, edges, batch]
    if (writes) {
        // Edge by edge, so that an edge on which both agree adds exactly zero.
        differences[cell] = share - teacher;
        shares[cell] = share;
    }
    if (slopes_of == NONE) return;

    float* slope = slopes + ((size_t)request * edges + edge) * (slots + 1) * batch + first + image; // [slots + 1], batch apart
    unit = sum_rows(unit);
    if (writes) slope[(size_t)slots * batch] = unit;
    if (slopes_of == OF_ONE) {
        float sum = 0.0f;
#pragma unroll
        for (int x = 0; x < OUTPUT; ++x) sum = fmaf(inner[x], outputs[1][x], sum);
        sum = sum_rows(sum);
        if (writes) slope[0] = sum;
        return;
    }
    for (int s = 0; s < slots; s += 2) { // two at a time, to load the pixels half as often
        const int other = s + 1 < slots ? s + 1 : s;
        convolve<2>(pixels, {bank + pairs[2 * s] * TAPS, bank + pairs[2 * other] * TAPS}, outputs);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float sum = 0.0f;
#pragma unroll
            for (int x = 0; x < OUTPUT; ++x) sum = fmaf(inner[x], outputs[i][x], sum);
            sum = sum_rows(sum);
            if (writes && s + i < slots) slope[(size_t)(s + i) * batch] = sum;
        }
    }
}

// Output of one filter at one position of one image.
__device__ float output_of(const float* source, const float* filter, int batch, int image, int position)
{
    const int corner = (position / OUTPUT * IMAGE + position % OUTPUT) * STRIDE;
    float sum = 0.0f;
    for (int ky = 0; ky < KERNEL; ++ky)
        for (int kx = 0; kx < KERNEL; ++kx)
            sum += source[(corner + ky * IMAGE + kx) * batch + image] * filter[ky * KERNEL + kx];
    return sum;
}

// grid [edges, blocks of images, requests]
extern "C" __global__ void __launch_bounds__(THREADS) toy_edges_naive(
    const unsigned* __restrict__ asks, const float* __restrict__ filters, const float* __restrict__ heads,
    const unsigned* __restrict__ teachers, const float* __restrict__ images, float* __restrict__ differences,
    float* __restrict__ shares, float* __restrict__ slopes, const Dimensions dimensions, const int slopes_of)
{
    const int edges = dimensions.edges, candidates = dimensions.candidates;
    const int batch = dimensions.batch, slots = dimensions.slots;
    const int edge = blockIdx.x, request = blockIdx.z;
    const int image = blockIdx.y * THREADS + threadIdx.x;
    if (request >= asks[0] || image >= batch) return;
    const unsigned* ask = ask_of(asks, request, dimensions);
    const unsigned* pairs = ask + ASK_HEADER + 2 * edge * slots;          // [slots, 2]
    const size_t place = (size_t)ask[0] * edges + edge;                   // [trials, edges]
    const float* bank = filters + place * candidates * TAPS;              // [candidates, taps]
    const float* source = images + (size_t)request * images_pitch(batch); // [pixels, batch]
    const size_t cell = ((size_t)request * edges + edge) * batch + image; // [requests, edges, batch]
    float* slope = slopes + ((size_t)request * edges + edge) * (slots + 1) * batch + image; // [slots + 1], batch apart
    float teacher = 0.0f, share = 0.0f;
    for (int s = 0; slopes_of != NONE && s <= slots; ++s) slope[(size_t)s * batch] = 0.0f;
    for (int position = 0; position < POSITIONS; ++position) {
        const float head = heads[place * POSITIONS + position];
        teacher += head * tanhf(output_of(source, bank + teachers[place] * TAPS, batch, image, position));
        float mixture = 0.0f;
        for (int s = 0; s < slots; ++s)
            mixture += __uint_as_float(pairs[2 * s + 1]) * output_of(source, bank + pairs[2 * s] * TAPS, batch, image, position);
        const float hidden = tanhf(mixture);
        share += head * hidden;
        if (slopes_of == NONE) continue;
        const float inner = head * (1.0f - hidden * hidden);
        for (int s = 0; s < slots; ++s)
            slope[(size_t)s * batch] += inner * output_of(source, bank + pairs[2 * s] * TAPS, batch, image, position);
        slope[(size_t)slots * batch] += inner;
    }
    differences[cell] = share - teacher;
    shares[cell] = share;
}

// The sums over the batch, `answers` [requests, 1 + edges * rows]: the squared errors, then for every edge, if
// `removals`, the squared errors without its share (one row), or else the errors times each of the first `rows` slopes.
//
// grid [requests], dynamic shared memory [batch] floats
extern "C" __global__ void __launch_bounds__(ANSWER_THREADS) toy_answers(
    const unsigned* __restrict__ asks,     // [1 + requests * stride]
    const float* __restrict__ differences, // [requests, edges, batch]
    const float* __restrict__ shares,      // [requests, edges, batch]
    const float* __restrict__ slopes,      // [requests, edges, slots + 1, batch]
    double* __restrict__ answers,          // [requests, 1 + edges * rows]
    const Dimensions dimensions, const Terms terms)
{
    extern __shared__ float errors[];      // [batch]: the student's prediction minus the teacher's
    const int edges = dimensions.edges, batch = dimensions.batch, slots = dimensions.slots;
    const int rows = terms.rows, removals = terms.removals;
    const int request = blockIdx.x;
    if (request >= asks[0]) return;
    const float* difference = differences + (size_t)request * edges * batch; // [edges, batch]
    for (int b = threadIdx.x; b < batch; b += ANSWER_THREADS) {
        float sum = 0.0f;
        for (int edge = 0; edge < edges; ++edge) sum += difference[(size_t)edge * batch + b];
        errors[b] = sum;
    }
    __syncthreads();

    const int lane = threadIdx.x % WARP;
    const int outputs = 1 + edges * rows;
    for (int output = threadIdx.x / WARP; output < outputs; output += ANSWER_THREADS / WARP) {
        const int edge = output > 0 ? (output - 1) / rows : 0, slot = output > 0 ? (output - 1) % rows : 0;
        const size_t cell = (size_t)request * edges + edge;                 // [requests, edges]
        const float* share = shares + cell * batch;                         // [batch]
        const float* slope = slopes + (cell * (slots + 1) + slot) * batch;  // [batch]
        double sum = 0.0;
        for (int b = lane; b < batch; b += WARP) {
            const double error = errors[b];
            if (output == 0) {
                sum += error * error;
            } else if (removals) {
                const double rest = error - share[b];
                sum += rest * rest;
            } else {
                sum += error * slope[b];
            }
        }
#pragma unroll
        for (int offset = WARP / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(FULL, sum, offset);
        if (lane == 0) answers[(size_t)request * outputs + output] = sum;
    }
}

// grid [blocks of sums, requests]
extern "C" __global__ void __launch_bounds__(THREADS) toy_answers_naive(
    const unsigned* __restrict__ asks, const float* __restrict__ differences, const float* __restrict__ shares,
    const float* __restrict__ slopes, double* __restrict__ answers, const Dimensions dimensions, const Terms terms)
{
    const int edges = dimensions.edges, batch = dimensions.batch, slots = dimensions.slots;
    const int rows = terms.rows, removals = terms.removals;
    const int request = blockIdx.y, outputs = 1 + edges * rows;
    const int output = blockIdx.x * THREADS + threadIdx.x;
    if (request >= asks[0] || output >= outputs) return;
    const int edge = output > 0 ? (output - 1) / rows : 0, slot = output > 0 ? (output - 1) % rows : 0;
    const size_t cell = (size_t)request * edges + edge; // [requests, edges]
    double sum = 0.0;
    for (int b = 0; b < batch; ++b) {
        float error = 0.0f;
        for (int e = 0; e < edges; ++e) error += differences[((size_t)request * edges + e) * batch + b];
        if (output == 0) {
            sum += (double)error * error;
        } else if (removals) {
            const double rest = (double)error - shares[cell * batch + b];
            sum += rest * rest;
        } else {
            sum += (double)error * slopes[(cell * (slots + 1) + slot) * batch + b];
        }
    }
    answers[(size_t)request * outputs + output] = sum;
}
