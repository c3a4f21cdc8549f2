// vec<T, 2>, vec<T, 3>, vec<T, 4>: construction, members, element-wise operators; no swizzles.

#ifdef __clang__
#define VECTORS(T)                                        \
  typedef T T##2 __attribute__((ext_vector_type(2)));     \
  typedef T T##3 __attribute__((ext_vector_type(3)));     \
  typedef T T##4 __attribute__((ext_vector_type(4)));
#else
namespace metal {
template <class T, int N> struct vec;

template <class T> struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  vec() = default;
  vec(T all) : x(all), y(all) {}
  vec(T x, T y) : x(x), y(y) {}
  template <class S> explicit vec(vec<S, 2> v) : x(T(v.x)), y(T(v.y)) {}
  T& operator[](int i) { return (&x)[i]; }
  const T& operator[](int i) const { return (&x)[i]; }
};

template <class T> struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;
  vec() = default;
  vec(T all) : x(all), y(all), z(all) {}
  vec(T x, T y, T z) : x(x), y(y), z(z) {}
  template <class S> explicit vec(vec<S, 3> v) : x(T(v.x)), y(T(v.y)), z(T(v.z)) {}
  T& operator[](int i) { return (&x)[i]; }
  const T& operator[](int i) const { return (&x)[i]; }
};

template <class T> struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;
  vec() = default;
  vec(T all) : x(all), y(all), z(all), w(all) {}
  vec(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
  vec(vec<T, 2> xy, vec<T, 2> zw) : x(xy.x), y(xy.y), z(zw.x), w(zw.y) {}
  template <class S> explicit vec(vec<S, 4> v) : x(T(v.x)), y(T(v.y)), z(T(v.z)), w(T(v.w)) {}
  T& operator[](int i) { return (&x)[i]; }
  const T& operator[](int i) const { return (&x)[i]; }
};

template <class T> struct Same { typedef T type; };  // a parameter that T is not deduced from

#define EACH(R, EXPRESSION)                         \
  vec<R, N> result;                                 \
  for (int i = 0; i < N; i++) result[i] = R(EXPRESSION); \
  return result;
#define INFIX(R, OP)                                                                             \
  template <class T, int N> inline vec<R, N> operator OP(vec<T, N> a, vec<T, N> b) {             \
    EACH(R, a[i] OP b[i])                                                                        \
  }                                                                                              \
  template <class T, int N>                                                                      \
  inline vec<R, N> operator OP(vec<T, N> a, typename Same<T>::type b) { EACH(R, a[i] OP b) }     \
  template <class T, int N>                                                                      \
  inline vec<R, N> operator OP(typename Same<T>::type a, vec<T, N> b) { EACH(R, a OP b[i]) }
#define ASSIGNS(OP)                                                                              \
  INFIX(T, OP)                                                                                   \
  template <class T, int N, class S> inline vec<T, N>& operator OP##=(vec<T, N>& a, S b) {       \
    return a = a OP b;                                                                           \
  }
ASSIGNS(+) ASSIGNS(-) ASSIGNS(*) ASSIGNS(/) ASSIGNS(%) ASSIGNS(&) ASSIGNS(|) ASSIGNS(^)
ASSIGNS(<<) ASSIGNS(>>)
INFIX(bool, <) INFIX(bool, <=) INFIX(bool, >) INFIX(bool, >=) INFIX(bool, ==) INFIX(bool, !=)
template <class T, int N> inline vec<T, N> operator-(vec<T, N> a) { EACH(T, -a[i]) }
template <class T, int N> inline vec<T, N> operator~(vec<T, N> a) { EACH(T, ~a[i]) }
template <int N> inline vec<bool, N> operator!(vec<bool, N> a) { EACH(bool, !a[i]) }
#undef ASSIGNS
#undef INFIX

template <class T, int N> inline T dot(vec<T, N> a, vec<T, N> b) {
  T total = a[0] * b[0];
  for (int i = 1; i < N; i++) total += a[i] * b[i];
  return total;
}
template <int N> inline bool any(vec<bool, N> a) {
  for (int i = 0; i < N; i++) if (a[i]) return true;
  return false;
}
template <int N> inline bool all(vec<bool, N> a) { return !any(!a); }
}  // namespace metal

#define VECTORS(T)                                                                               \
  typedef metal::vec<T, 2> T##2;                                                                 \
  typedef metal::vec<T, 3> T##3;                                                                 \
  typedef metal::vec<T, 4> T##4;
#endif

VECTORS(bool) VECTORS(char) VECTORS(uchar) VECTORS(short) VECTORS(ushort) VECTORS(int)
VECTORS(uint) VECTORS(long) VECTORS(ulong) VECTORS(half) VECTORS(bfloat) VECTORS(float)
#undef VECTORS
