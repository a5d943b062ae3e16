// The part of the toolkit's cuda_bf16.h that kernels of this project may use.
#pragma once
#include <device.h>

namespace soft {
inline float bfloat16_to_float(uint16_t b) { return __uint_as_float((uint32_t)b << 16); }
inline uint16_t float_to_bfloat16(float f) {  // to nearest, ties to even
  uint32_t u = __float_as_uint(f);
  return f != f ? 0x7fff : (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}
}  // namespace soft


struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float f) : bits(soft::float_to_bfloat16(f)) {}
  operator float() const { return soft::bfloat16_to_float(bits); }
};
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
inline float __bfloat162float(__nv_bfloat16 h) { return h; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 h) { return {h.x, h.y}; }
