// half, bfloat, as_type and limits.

template <class T, class S> inline T as_type(S source) {
  static_assert(sizeof(T) == sizeof(S), "as_type is for types of one size");
  T target;
  __builtin_memcpy(&target, &source, sizeof target);
  return target;
}

namespace metal_numbers {
template <class T> struct Number { static constexpr bool value = false; };
#define NUMBER(T) template <> struct Number<T> { static constexpr bool value = true; };
NUMBER(bool) NUMBER(char) NUMBER(signed char) NUMBER(uchar) NUMBER(short) NUMBER(ushort)
NUMBER(int) NUMBER(uint) NUMBER(long) NUMBER(ulong) NUMBER(float)
#undef NUMBER
template <bool, class T> struct If {};
template <class T> struct If<true, T> { typedef T type; };
// The type that arithmetic of a 16-bit float and another number is done in.
template <class Narrow, class T> struct With { typedef Narrow type; };
template <class Narrow> struct With<Narrow, float> { typedef float type; };

// IEEE 754 binary16, to nearest, ties to even.
inline ushort half_bits(float value) {
  uint bits = as_type<uint>(value);
  uint sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return ushort(sign | 0x7e00u);
  if (bits >= 0x477ff000u) return ushort(sign | 0x7c00u);  // 65520 is halfway to 2^16
  if (bits < 0x38800000u)  // below 2^-14, where a half counts in 2^-24, as a float from 0.5 on does
    return ushort(sign | (as_type<uint>(as_type<float>(bits) + 0.5f) - as_type<uint>(0.5f)));
  return ushort(sign | ((bits + 0xfffu + (bits >> 13 & 1u) - (112u << 23)) >> 13));
}

inline float half_value(ushort bits) {
  uint sign = uint(bits & 0x8000u) << 16, rest = uint(bits & 0x7fffu) << 13;
  if (rest >= 0x1fu << 23) return as_type<float>(sign | rest | 0x7f800000u);
  return as_type<float>(sign | as_type<uint>(as_type<float>(rest) * 0x1p112f));
}

// The upper half of a float32, to nearest, ties to even.
inline ushort bfloat_bits(float value) {
  uint bits = as_type<uint>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return ushort(bits >> 16 | 0x40u);
  return ushort((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float bfloat_value(ushort bits) { return as_type<float>(uint(bits) << 16); }
}  // namespace metal_numbers

#ifdef __clang__
// Clang only checks (test_clang.py), and its own types can lie in every memory, as Metal's do.
typedef _Float16 half;
typedef __bf16 bfloat;
#else
struct half {
  ushort bits;
  half() = default;
  half(float value) : bits(metal_numbers::half_bits(value)) {}
  operator float() const { return metal_numbers::half_value(bits); }
};

struct bfloat {  // nothing converts to bfloat unasked
  ushort bits;
  bfloat() = default;
  explicit bfloat(float value) : bits(metal_numbers::bfloat_bits(value)) {}
  operator float() const { return metal_numbers::bfloat_value(bits); }
};

#define ARITHMETIC(NARROW, OP)                                                                   \
  inline NARROW operator OP(NARROW a, NARROW b) { return NARROW(float(a) OP float(b)); }         \
  template <class T>                                                                             \
  inline typename metal_numbers::If<metal_numbers::Number<T>::value,                             \
                                    typename metal_numbers::With<NARROW, T>::type>::type         \
  operator OP(NARROW a, T b) {                                                                   \
    typedef typename metal_numbers::With<NARROW, T>::type R;                                     \
    return R(float(R(a)) OP float(R(float(b))));                                                 \
  }                                                                                              \
  template <class T>                                                                             \
  inline typename metal_numbers::If<metal_numbers::Number<T>::value,                             \
                                    typename metal_numbers::With<NARROW, T>::type>::type         \
  operator OP(T a, NARROW b) {                                                                   \
    typedef typename metal_numbers::With<NARROW, T>::type R;                                     \
    return R(float(R(float(a))) OP float(R(b)));                                                 \
  }                                                                                              \
  template <class T> inline NARROW& operator OP##=(NARROW& a, T b) { return a = NARROW(a OP b); }
#define NARROW_FLOAT(NARROW)                                                                     \
  ARITHMETIC(NARROW, +)                                                                          \
  ARITHMETIC(NARROW, -)                                                                          \
  ARITHMETIC(NARROW, *)                                                                          \
  ARITHMETIC(NARROW, /)                                                                          \
  inline NARROW operator-(NARROW a) { a.bits ^= 0x8000u; return a; }                             \
  inline NARROW operator+(NARROW a) { return a; }
NARROW_FLOAT(half)
NARROW_FLOAT(bfloat)
#undef NARROW_FLOAT
#undef ARITHMETIC
#endif

inline half operator""h(long double value) { return half(float(value)); }
inline bfloat operator""bf(long double value) { return bfloat(float(value)); }

#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define MAXFLOAT FLT_MAX
#define INT_MAX __INT_MAX__
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX (2u * INT_MAX + 1u)
#define LONG_MAX __LONG_MAX__
#define LONG_MIN (-LONG_MAX - 1l)
#define ULONG_MAX (2ul * LONG_MAX + 1ul)
