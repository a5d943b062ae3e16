// The part of the toolkit's cuda_fp16.h that kernels of this project may use.
#pragma once
#include <device.h>

namespace soft {
inline float half_to_float(uint16_t h) {
  uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
  float f = (float)mantissa * 0x1p-24f;
  return sign ? -f : f;
}
inline uint16_t float_to_half(float f) {  // to nearest, ties to even
  uint32_t u = __float_as_uint(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return 0x7fff;
  if (a >= 0x477ff000u) return sign | 0x7c00u;
  if (a < 0x38800000u) return sign | (uint16_t)nearbyintf(__uint_as_float(a) * 0x1p24f);
  uint32_t r = a - 0x38000000u;
  return sign | (r + 0xfffu + (r >> 13 & 1)) >> 13;
}
}  // namespace soft

struct __half {
  uint16_t bits;
  __half() = default;
  __half(float f) : bits(soft::float_to_half(f)) {}
  operator float() const { return soft::half_to_float(bits); }
};
using half = __half;
struct alignas(4) __half2 { __half x, y; };
using half2 = __half2;
inline __half __float2half(float f) { return __half(f); }
inline __half __float2half_rn(float f) { return __half(f); }
inline float __half2float(__half h) { return h; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline float2 __half22float2(__half2 h) { return {h.x, h.y}; }
inline __half __hadd(__half a, __half b) { return (float)a + (float)b; }
inline __half __hmul(__half a, __half b) { return (float)a * (float)b; }
inline __half __hfma(__half a, __half b, __half c) { return (float)((double)(float)a * (float)b + (float)c); }
