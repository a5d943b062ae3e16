// The random numbers of `advantage_nas::random` on the device: ChaCha with 8 rounds, 64-bit block counter, 64-bit
// stream. The host says where a minibatch begins; a thread makes one block of 16 words, so that any number of threads
// makes the same numbers.

__device__ __forceinline__ unsigned rotate_left(unsigned x, int by)
{
    return (x << by) | (x >> (32 - by));
}

__device__ __forceinline__ void quarter_round(unsigned& a, unsigned& b, unsigned& c, unsigned& d)
{
    a += b; d = rotate_left(d ^ a, 16);
    c += d; b = rotate_left(b ^ c, 12);
    a += b; d = rotate_left(d ^ a, 8);
    c += d; b = rotate_left(b ^ c, 7);
}

// The 16 words of block `counter` of a stream.
__device__ __forceinline__ void chacha8(const unsigned* __restrict__ key, unsigned long long counter,
                                        unsigned long long stream, unsigned (&words)[CHACHA_WORDS])
{
    const unsigned start[CHACHA_WORDS] = {
        0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u, // "expand 32-byte k"
        key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7],
        (unsigned)counter, (unsigned)(counter >> 32), (unsigned)stream, (unsigned)(stream >> 32),
    };
#pragma unroll
    for (int i = 0; i < CHACHA_WORDS; ++i) words[i] = start[i];
#pragma unroll
    for (int round = 0; round < 8; round += 2) {
        quarter_round(words[0], words[4], words[8], words[12]);
        quarter_round(words[1], words[5], words[9], words[13]);
        quarter_round(words[2], words[6], words[10], words[14]);
        quarter_round(words[3], words[7], words[11], words[15]);
        quarter_round(words[0], words[5], words[10], words[15]);
        quarter_round(words[1], words[6], words[11], words[12]);
        quarter_round(words[2], words[7], words[8], words[13]);
        quarter_round(words[3], words[4], words[9], words[14]);
    }
#pragma unroll
    for (int i = 0; i < CHACHA_WORDS; ++i) words[i] += start[i];
}

// (word >> 8) / 2^23 - 1, exact: the uniform number on [-1, 1) of one word.
__device__ __forceinline__ float symmetric_uniform(unsigned word)
{
    return (float)(word >> 8) * 0x1p-23f - 1.0f;
}
