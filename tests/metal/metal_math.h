// The functions of <metal_math>, <metal_integer> and <metal_relational>, correctly rounded or as
// the C library does them. There are none for bfloat, and mixed types are ambiguous, as in Metal.

namespace metal {
#define FLOATS(DEFINE, NAME, FUNCTION) DEFINE(float, NAME, FUNCTION) DEFINE(half, NAME, FUNCTION)
#define UNARY(T, NAME, F) inline T NAME(T x) { return T(F(float(x))); }
#define BINARY(T, NAME, F) inline T NAME(T x, T y) { return T(F(float(x), float(y))); }
#define PREDICATE(T, NAME, F) inline bool NAME(T x) { return bool(F(float(x))); }
inline float reciprocal_root(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float fraction(float x) {  // below 1 also for tiny negative numbers
  float part = x - __builtin_floorf(x);
  return part < 1.0f ? part : 0x1.fffffep-1f;
}
inline float exp_ten(float x) { return __builtin_powf(10.0f, x); }

#define FUNCTIONS                                                                                \
  FLOATS(UNARY, sin, __builtin_sinf) FLOATS(UNARY, cos, __builtin_cosf)                          \
  FLOATS(UNARY, tan, __builtin_tanf) FLOATS(UNARY, asin, __builtin_asinf)                        \
  FLOATS(UNARY, acos, __builtin_acosf) FLOATS(UNARY, atan, __builtin_atanf)                      \
  FLOATS(UNARY, sinh, __builtin_sinhf) FLOATS(UNARY, cosh, __builtin_coshf)                      \
  FLOATS(UNARY, tanh, __builtin_tanhf) FLOATS(UNARY, asinh, __builtin_asinhf)                    \
  FLOATS(UNARY, acosh, __builtin_acoshf) FLOATS(UNARY, atanh, __builtin_atanhf)                  \
  FLOATS(UNARY, exp, __builtin_expf) FLOATS(UNARY, exp2, __builtin_exp2f)                        \
  FLOATS(UNARY, exp10, metal::exp_ten) FLOATS(UNARY, log, __builtin_logf)                        \
  FLOATS(UNARY, log2, __builtin_log2f) FLOATS(UNARY, log10, __builtin_log10f)                    \
  FLOATS(UNARY, sqrt, __builtin_sqrtf) FLOATS(UNARY, rsqrt, metal::reciprocal_root)              \
  FLOATS(UNARY, floor, __builtin_floorf) FLOATS(UNARY, ceil, __builtin_ceilf)                    \
  FLOATS(UNARY, trunc, __builtin_truncf) FLOATS(UNARY, rint, __builtin_rintf)                    \
  FLOATS(UNARY, round, __builtin_roundf) FLOATS(UNARY, fabs, __builtin_fabsf)                    \
  FLOATS(UNARY, abs, __builtin_fabsf) FLOATS(UNARY, fract, metal::fraction)                      \
  FLOATS(BINARY, atan2, __builtin_atan2f) FLOATS(BINARY, pow, __builtin_powf)                    \
  FLOATS(BINARY, powr, __builtin_powf) FLOATS(BINARY, fmod, __builtin_fmodf)                     \
  FLOATS(BINARY, fdim, __builtin_fdimf) FLOATS(BINARY, fmin, __builtin_fminf)                    \
  FLOATS(BINARY, fmax, __builtin_fmaxf) FLOATS(BINARY, min, __builtin_fminf)                     \
  FLOATS(BINARY, max, __builtin_fmaxf)
FUNCTIONS
namespace precise { FUNCTIONS }
namespace fast { FUNCTIONS }
#undef FUNCTIONS
FLOATS(BINARY, copysign, __builtin_copysignf)
FLOATS(PREDICATE, isnan, __builtin_isnan)
FLOATS(PREDICATE, isinf, __builtin_isinf)
FLOATS(PREDICATE, isfinite, __builtin_isfinite)
FLOATS(PREDICATE, isnormal, __builtin_isnormal)
FLOATS(PREDICATE, signbit, __builtin_signbit)
#undef PREDICATE
#undef BINARY
#undef UNARY
#undef FLOATS

inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline half fma(half x, half y, half z) {  // exact in long double, so rounded once from a float
  long double exact = (long double)float(x) * float(y) + float(z);
  float near = float(exact);  // to odd, so that the second rounding sees what the first dropped
  if ((long double)near != exact && !(as_type<uint>(near) & 1u)) {
    bool outward = ((long double)near < exact) == (near > 0);
    near = as_type<float>(as_type<uint>(near) + (outward ? 1u : -1u));
  }
  return half(near);
}
inline float ldexp(float x, int power) { return __builtin_ldexpf(x, power); }
inline float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f; }
inline float mix(float x, float y, float a) { return x + (y - x) * a; }
inline float step(float edge, float x) { return x < edge ? 0.0f : 1.0f; }
inline float saturate(float x) { return min(max(x, 0.0f), 1.0f); }
inline float clamp(float x, float low, float high) { return min(max(x, low), high); }
inline half clamp(half x, half low, half high) { return min(max(x, low), high); }

#define INTEGER(T, UNSIGNED)                                                                     \
  inline T min(T x, T y) { return y < x ? y : x; }                                               \
  inline T max(T x, T y) { return x < y ? y : x; }                                               \
  inline T clamp(T x, T low, T high) { return min(max(x, low), high); }                           \
  inline T abs(T x) { return x < T(0) ? T(UNSIGNED(0) - UNSIGNED(x)) : x; }                      \
  inline T popcount(T x) { return T(__builtin_popcountl(UNSIGNED(x))); }                         \
  inline T clz(T x) {                                                                            \
    return T(x ? __builtin_clzl(UNSIGNED(x)) - int(64 - 8 * sizeof(T)) : int(8 * sizeof(T)));    \
  }                                                                                              \
  inline T ctz(T x) { return T(x ? __builtin_ctzl(UNSIGNED(x)) : int(8 * sizeof(T))); }          \
  inline T rotate(T x, T by) {                                                                   \
    uint bits = 8 * sizeof(T), left = uint(by) % bits;                                           \
    return left ? T(UNSIGNED(x) << left | UNSIGNED(x) >> (bits - left)) : x;                     \
  }
INTEGER(char, uchar) INTEGER(uchar, uchar) INTEGER(short, ushort) INTEGER(ushort, ushort)
INTEGER(int, uint) INTEGER(uint, uint) INTEGER(long, ulong) INTEGER(ulong, ulong)
#undef INTEGER
inline int mulhi(int x, int y) { return int(long(x) * long(y) >> 32); }
inline uint mulhi(uint x, uint y) { return uint(ulong(x) * ulong(y) >> 32); }
inline long mulhi(long x, long y) { return long((__int128)x * y >> 64); }
inline ulong mulhi(ulong x, ulong y) { return ulong((unsigned __int128)x * y >> 64); }

template <class T> inline T select(T other, T chosen, bool condition) {
  return condition ? chosen : other;
}
#ifndef __clang__
template <class T, int N> inline vec<T, N> select(vec<T, N> a, vec<T, N> b, vec<bool, N> c) {
  EACH(T, c[i] ? b[i] : a[i])
}
#define OVER(NAME) \
  template <class T, int N> inline vec<T, N> NAME(vec<T, N> a) { EACH(T, NAME(a[i])) }
#define OVER_TWO(NAME) \
  template <class T, int N> inline vec<T, N> NAME(vec<T, N> a, vec<T, N> b) { \
    EACH(T, NAME(a[i], b[i]))                                                  \
  }
OVER(abs) OVER(fabs) OVER(floor) OVER(ceil) OVER(trunc) OVER(rint) OVER(sqrt) OVER(rsqrt) OVER(exp)
OVER_TWO(min) OVER_TWO(max) OVER_TWO(fmin) OVER_TWO(fmax) OVER_TWO(fmod) OVER_TWO(copysign)
template <class T, int N> inline vec<T, N> fma(vec<T, N> a, vec<T, N> b, vec<T, N> c) {
  EACH(T, fma(a[i], b[i], c[i]))
}
template <class T, int N> inline vec<T, N> clamp(vec<T, N> a, vec<T, N> low, vec<T, N> high) {
  EACH(T, clamp(a[i], low[i], high[i]))
}
#undef OVER
#undef OVER_TWO
#undef EACH
#endif
}  // namespace metal
