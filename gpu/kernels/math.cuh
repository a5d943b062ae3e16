// Functions whose every rounding is written down. With --fmad=false nothing else is fused, so that all devices, and the
// CPU where it fuses, get the same bits.

// tanh x = sign(x) m / (m + 2) with m = e^(2|x|) - 1, as the CPU supernet has it.
//
// 2|x| = k ln 2 + r with whole k; e^r - 1 by its Taylor polynomial of degree 7; m = 2^k (e^r - 1) + (2^k - 1). At most
// 3 units in the last place.
__device__ __forceinline__ float portable_tanh(float x)
{
    const float ROUND = 12582912.0f; // adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits
    const float LIMIT = 20.0f;       // tanh rounds to one from 9.02 on
    const float doubled = fabsf(x) + fabsf(x);
    const float limited = LIMIT < doubled ? LIMIT : doubled; // false for NaN, which goes through
    const float rounded = fmaf(limited, 1.44269504f, ROUND);
    const float k = rounded - ROUND;
    float r = fmaf(k, -0.693359375f, limited);
    r = fmaf(k, 2.12194440e-4f, r);
    float series = 1.0f / 5040.0f;
    series = fmaf(series, r, 1.0f / 720.0f);
    series = fmaf(series, r, 1.0f / 120.0f);
    series = fmaf(series, r, 1.0f / 24.0f);
    series = fmaf(series, r, 1.0f / 6.0f);
    series = fmaf(series, r, 0.5f);
    const float small = fmaf(series * r, r, r);
    const float power = __uint_as_float((__float_as_uint(rounded) << 23) + 0x3f800000u);
    const float grown = fmaf(power, small, power - 1.0f);
    return copysignf(grown / (grown + 2.0f), x);
}
