// What is behind the last node of NAS-Bench-201's network: batch norm, ReLU, average over all pixels, linear layer, softmax and cross-entropy; and the
// way back to the batch norm.
//
// | kernel       | one block does                              | naive version: one thread does |
// | ------------ | ------------------------------------------- | ------------------------------ |
// | head_forward | one image; a warp a channel, then a class   | one image                      |
// | head_finish  | one lane's loss                             | – (a few additions)            |
// | head_weights | 32 weights; the images in 8 slices          | one weight                     |
//
// Loss and way back of an image need nothing of the other images but the moments of the last node, so that one pass over its pixels does everything: the
// gradient of an average reaches all positive pixels alike, and what the batch norm's gradient needs are their number and the sum of x - mean over them.
// What becomes of that in the pixels, `back_last` of back.cu knows.
//
// Written on the host, in src/kernels/nas_bench_201: the constants and structs.

constexpr int WARPS = HEAD_THREADS / WARP;
constexpr double NORM_EPSILON = 1e-5; // NORM_EPSILON and NORM_MOMENTUM of network::nas_bench_201::parent
constexpr double NORM_MOMENTUM = 0.1;

__device__ __forceinline__ float lowest() { return __uint_as_float(0xff800000u); } // minus infinity

// The batch norm of a channel: y = (x - mean) scale + shift.
struct Channel { float mean, scale, shift; };

// Sets it up from mean and sum of squared deviations; if it `keeps`, for later launches too, and moves the running statistics if these are to move.
// norm: [2, channels]; running: [2, channels]
__device__ __forceinline__ Channel prepare(const float* weight, float* norm, double* running, const Head& head, const Ask& ask, int channel,
                                           double mean, double squares, bool keeps)
{
    const double count = (double)ask.images * head.side * head.side;
    const double inverse = 1.0 / sqrt(squares / count + NORM_EPSILON);
    if (keeps) {
        norm[channel] = (float)mean;
        norm[head.channels + channel] = (float)inverse;
        if (ask.running) {
            // Unbiased; of a single number there is none, and the variance is zero anyway.
            const double unbiased = squares / fmax(count - 1.0, 1.0);
            double* const means = running + channel;
            double* const variances = running + head.channels + channel;
            *means = fma(NORM_MOMENTUM, mean - *means, *means);
            *variances = fma(NORM_MOMENTUM, unbiased - *variances, *variances);
        }
    }
    return {(float)mean, (float)(weight[head.scale + channel] * inverse), weight[head.shift + channel]};
}

__device__ __forceinline__ float sum_of_warp(float value)
{
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(FULL, value, offset);
    return value;
}

__device__ __forceinline__ double sum_of_warp(double value)
{
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(FULL, value, offset);
    return value;
}

// grid [batch, 1, lanes], dynamic shared memory [3 * channels + 2 * classes] floats
extern "C" __global__ void __launch_bounds__(HEAD_THREADS) head_forward(
    const unsigned* __restrict__ plan,    // [lanes, sizes.plan]
    const unsigned* __restrict__ samples, // [lanes, batch] Samples
    const float* __restrict__ weights,    // [trials, sizes.weights]
    float* __restrict__ tensors,          // [lanes, sizes.tensors]
    float* __restrict__ sums,             // [lanes, sizes.sums]
    float* __restrict__ norms,            // [lanes, sizes.norms]
    double* __restrict__ running,         // [trials, sizes.running]
    double* __restrict__ losses,          // [lanes, batch, 2]: loss, whether it was right
    const Sizes sizes, const Head head)
{
    extern __shared__ float room[];
    float* const features = room;                // [channels]
    float* const positive = room + head.channels; // [channels]: pixels that the ReLU lets through
    float* const apart = positive + head.channels; // [channels]: sum of x - mean over them
    float* const logits = apart + head.channels;  // [classes]
    float* const slopes = logits + head.classes;  // [classes]
    const int image = blockIdx.x, request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present || image >= ask.images) return;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int pixels = head.side * head.side, channels = head.channels, classes = head.classes;
    const int tiles = tile_count(head.side, sizes.batch);
    const float* weight = weights + (size_t)ask.trial * sizes.weights;
    float* tensor = tensors + (size_t)request * sizes.tensors;
    float* sum = sums + (size_t)request * sizes.sums;
    float* norm = norms + (size_t)request * sizes.norms + head.norm;
    double* statistics = running + (size_t)ask.trial * sizes.running + head.running;
    const float share = 1.0f / (float)pixels;

    for (int c = warp; c < channels; c += WARPS) {
        double mean, squares;
        join_statistics((const float2*)(sum + head.statistics) + (size_t)c * tiles, head.side, ask.images, mean, squares);
        const Channel channel = prepare(weight, norm, statistics, head, ask, c, mean, squares, image == 0 && lane == 0);
        const float* plane = tensor + head.value + ((size_t)image * channels + c) * pixels; // [side, side]
        float total = 0.0f, count = 0.0f, moved = 0.0f;
        for (int p = lane; p < pixels; p += WARP) {
            const float x = plane[p] - channel.mean;
            const float y = fmaf(x, channel.scale, channel.shift);
            total += y < 0.0f ? 0.0f : y; // NaN stays
            count += y > 0.0f ? 1.0f : 0.0f;
            moved += y > 0.0f ? x : 0.0f;
        }
        total = sum_of_warp(total);
        count = sum_of_warp(count);
        moved = sum_of_warp(moved);
        if (lane == 0) {
            features[c] = total * share;
            positive[c] = count;
            apart[c] = moved;
        }
    }
    __syncthreads();

    for (int k = warp; k < classes; k += WARPS) {
        const float* row = weight + head.weight + (size_t)k * channels; // [channels]
        float logit = 0.0f;
        for (int c = lane; c < channels; c += WARP) logit = fmaf(row[c], features[c], logit);
        logit = sum_of_warp(logit);
        if (lane == 0) logits[k] = logit + weight[head.bias + k];
    }
    __syncthreads();

    if (warp == WARPS - 1) { // it has the fewest classes
        float largest = lowest();
        for (int k = lane; k < classes; k += WARP) largest = fmaxf(largest, logits[k]);
#pragma unroll
        for (int offset = WARP / 2; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(FULL, largest, offset));
        double total = 0.0;
        int first = classes; // of the largest ones
        for (int k = lane; k < classes; k += WARP) {
            total += exp((double)logits[k] - largest);
            if (logits[k] == largest) first = min(first, k);
        }
        total = sum_of_warp(total);
#pragma unroll
        for (int offset = WARP / 2; offset > 0; offset /= 2) first = min(first, __shfl_xor_sync(FULL, first, offset));
        const int label = ((const Sample*)samples)[(size_t)request * sizes.batch + image].label;
        for (int k = lane; k < classes; k += WARP) {
            const double probability = exp((double)logits[k] - largest) / total;
            slopes[k] = (float)((probability - (k == label ? 1.0 : 0.0)) / ask.images);
        }
        if (lane == 0) {
            double* loss = losses + 2 * ((size_t)request * sizes.batch + image);
            loss[0] = log(total) + ((double)largest - logits[label]);
            loss[1] = first == label ? 1.0 : 0.0;
        }
    }
    __syncthreads();

    for (int k = threadIdx.x; k < classes; k += HEAD_THREADS) {
        tensor[head.logits + (size_t)image * classes + k] = logits[k];
        tensor[head.logit_slopes + (size_t)image * classes + k] = slopes[k];
    }
    for (int c = threadIdx.x; c < channels; c += HEAD_THREADS) {
        float slope = 0.0f;
        for (int k = 0; k < classes; ++k) slope = fmaf(slopes[k], weight[head.weight + (size_t)k * channels + c], slope);
        tensor[head.features + (size_t)image * channels + c] = features[c];
        tensor[head.feature_slopes + (size_t)image * channels + c] = slope;
        sum[head.sum + (size_t)c * sizes.batch + image] = slope * share * positive[c];
        sum[head.sum + (size_t)(channels + c) * sizes.batch + image] = slope * share * apart[c];
    }
}

// grid [blocks of images, 1, lanes]
extern "C" __global__ void __launch_bounds__(HEAD_THREADS) head_forward_naive(
    const unsigned* __restrict__ plan, const unsigned* __restrict__ samples, const float* __restrict__ weights, float* __restrict__ tensors,
    float* __restrict__ sums, float* __restrict__ norms, double* __restrict__ running, double* __restrict__ losses, const Sizes sizes, const Head head)
{
    const int image = blockIdx.x * HEAD_THREADS + threadIdx.x, request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present || image >= ask.images) return;
    const int pixels = head.side * head.side, channels = head.channels, classes = head.classes;
    const float* weight = weights + (size_t)ask.trial * sizes.weights;
    float* tensor = tensors + (size_t)request * sizes.tensors;
    float* sum = sums + (size_t)request * sizes.sums;
    float* norm = norms + (size_t)request * sizes.norms + head.norm;
    double* statistics = running + (size_t)ask.trial * sizes.running + head.running;
    float* features = tensor + head.features + (size_t)image * channels;      // [channels]
    float* slopes = tensor + head.feature_slopes + (size_t)image * channels;  // [channels]
    float* logits = tensor + head.logits + (size_t)image * classes;           // [classes]
    float* logit_slopes = tensor + head.logit_slopes + (size_t)image * classes; // [classes]

    for (int c = 0; c < channels; ++c) {
        const float2* parts = (const float2*)(sum + head.statistics) + (size_t)c * tile_count(head.side, sizes.batch);
        double mean = 0.0, squares = 0.0;
        for (int tile = 0; tile < tile_count(head.side, ask.images); ++tile)
            mean += (double)tile_pixels(tile, head.side, ask.images) * parts[tile].x;
        mean /= (double)ask.images * pixels;
        for (int tile = 0; tile < tile_count(head.side, ask.images); ++tile) {
            const double moved = parts[tile].x - mean;
            squares += parts[tile].y + (double)tile_pixels(tile, head.side, ask.images) * moved * moved;
        }
        const Channel channel = prepare(weight, norm, statistics, head, ask, c, mean, squares, image == 0);
        float total = 0.0f, positive = 0.0f, apart = 0.0f;
        for (int p = 0; p < pixels; ++p) {
            const float x = tensor[head.value + ((size_t)image * channels + c) * pixels + p] - channel.mean;
            const float y = fmaf(x, channel.scale, channel.shift);
            total += y < 0.0f ? 0.0f : y;
            positive += y > 0.0f ? 1.0f : 0.0f;
            apart += y > 0.0f ? x : 0.0f;
        }
        features[c] = total / (float)pixels;
        sum[head.sum + (size_t)c * sizes.batch + image] = positive; // times the slope, further down
        sum[head.sum + (size_t)(channels + c) * sizes.batch + image] = apart;
    }

    float largest = lowest();
    for (int k = 0; k < classes; ++k) {
        logits[k] = weight[head.bias + k];
        for (int c = 0; c < channels; ++c) logits[k] = fmaf(weight[head.weight + (size_t)k * channels + c], features[c], logits[k]);
        largest = fmaxf(largest, logits[k]);
    }
    double total = 0.0;
    int first = classes;
    for (int k = classes - 1; k >= 0; --k) {
        total += exp((double)logits[k] - largest);
        if (logits[k] == largest) first = k;
    }
    const int label = ((const Sample*)samples)[(size_t)request * sizes.batch + image].label;
    for (int k = 0; k < classes; ++k) {
        const double probability = exp((double)logits[k] - largest) / total;
        logit_slopes[k] = (float)((probability - (k == label ? 1.0 : 0.0)) / ask.images);
    }
    losses[2 * ((size_t)request * sizes.batch + image)] = log(total) + ((double)largest - logits[label]);
    losses[2 * ((size_t)request * sizes.batch + image) + 1] = first == label ? 1.0 : 0.0;

    for (int c = 0; c < channels; ++c) {
        slopes[c] = 0.0f;
        for (int k = 0; k < classes; ++k) slopes[c] = fmaf(logit_slopes[k], weight[head.weight + (size_t)k * channels + c], slopes[c]);
        for (int part = 0; part < 2; ++part) sum[head.sum + (size_t)(part * channels + c) * sizes.batch + image] *= slopes[c] / (float)pixels;
    }
}

// grid [1, 1, lanes]
extern "C" __global__ void __launch_bounds__(WARP) head_finish(
    const unsigned* __restrict__ plan,  // [lanes, sizes.plan]
    const double* __restrict__ losses,  // [lanes, batch, 2]
    double* __restrict__ outcomes,      // [places, 2]: mean loss, number of images that were right
    const Sizes sizes)
{
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const double* loss = losses + 2 * (size_t)request * sizes.batch; // [batch, 2]
    double total = 0.0, right = 0.0;
    for (int image = threadIdx.x; image < ask.images; image += WARP) {
        total += loss[2 * image];
        right += loss[2 * image + 1];
    }
    total = sum_of_warp(total);
    right = sum_of_warp(right);
    if (threadIdx.x == 0) {
        outcomes[2 * (size_t)ask.outcome] = total / ask.images;
        outcomes[2 * (size_t)ask.outcome + 1] = right;
    }
}

// The share of an image in gradient number `place` of [classes, channels], [classes], [channels], [channels]; that of a scale still lacks its
// 1/√(v + ε).
__device__ __forceinline__ double share_of(const float* tensor, const float* sum, const Sizes& sizes, const Head& head, int place, int image)
{
    const int channels = head.channels, classes = head.classes;
    const int linear = classes * channels;
    if (place < linear) {
        const float slope = tensor[head.logit_slopes + (size_t)image * classes + place / channels];
        return (double)slope * tensor[head.features + (size_t)image * channels + place % channels];
    }
    if (place < linear + classes) return tensor[head.logit_slopes + (size_t)image * classes + place - linear];
    const int row = place - linear - classes; // of [scale or shift, channels]; the sums of shifts come first
    const int other = row < channels ? row + channels : row - channels;
    return sum[head.sum + (size_t)other * sizes.batch + image];
}

// What it is multiplied by once all images are added up.
__device__ __forceinline__ double factor_of(const float* norm, const Head& head, int place)
{
    const int row = place - head.classes * head.channels - head.classes;
    return row >= 0 && row < head.channels ? norm[head.channels + row] : 1.0;
}

// grid [blocks of weights, 1, lanes]
extern "C" __global__ void __launch_bounds__(HEAD_THREADS) head_weights(
    const unsigned* __restrict__ plan,  // [lanes, sizes.plan]
    const float* __restrict__ tensors,  // [lanes, sizes.tensors]
    const float* __restrict__ sums,     // [lanes, sizes.sums]
    const float* __restrict__ norms,    // [lanes, sizes.norms]
    float* __restrict__ partials,       // [lanes, sizes.partials]
    const Sizes sizes, const Head head)
{
    __shared__ double parts[WARPS][WARP]; // [slices, weights]
    const int request = blockIdx.z;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present) return;
    const int slice = threadIdx.x / WARP, lane = threadIdx.x % WARP, place = blockIdx.x * WARP + lane;
    const int places = head.classes * head.channels + head.classes + 2 * head.channels;
    const float* tensor = tensors + (size_t)request * sizes.tensors;
    const float* sum = sums + (size_t)request * sizes.sums;
    double part = 0.0;
    if (place < places)
        for (int image = slice; image < ask.images; image += WARPS) part += share_of(tensor, sum, sizes, head, place, image);
    parts[slice][lane] = part;
    __syncthreads();
    if (slice > 0 || place >= places) return;
    for (int s = 1; s < WARPS; ++s) part += parts[s][lane];
    const float* norm = norms + (size_t)request * sizes.norms + head.norm; // [2, channels]
    partials[(size_t)request * sizes.partials + head.partial + place] = (float)(part * factor_of(norm, head, place));
}

// grid [blocks of weights, 1, lanes]
extern "C" __global__ void __launch_bounds__(HEAD_THREADS) head_weights_naive(
    const unsigned* __restrict__ plan, const float* __restrict__ tensors, const float* __restrict__ sums, const float* __restrict__ norms,
    float* __restrict__ partials, const Sizes sizes, const Head head)
{
    const int request = blockIdx.z, place = blockIdx.x * HEAD_THREADS + threadIdx.x;
    const Ask& ask = ask_of(plan, sizes, request);
    if (!ask.present || place >= head.classes * head.channels + head.classes + 2 * head.channels) return;
    const float* norm = norms + (size_t)request * sizes.norms + head.norm;
    double total = 0.0;
    for (int image = 0; image < ask.images; ++image)
        total += share_of(tensors + (size_t)request * sizes.tensors, sums + (size_t)request * sizes.sums, sizes, head, place, image);
    partials[(size_t)request * sizes.partials + head.partial + place] = (float)(total * factor_of(norm, head, place));
}
