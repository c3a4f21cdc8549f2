// Barriers, the functions of a simdgroup, atomics. runner.cpp has the threads.

extern "C" {
// Waits for the threads of the group.
void metal_barrier(const char* name, int line);
// Waits for the threads of the simdgroup and gives the values of all, `size` bytes each.
const void* metal_meet(const void* value, uint size, const char* name, int line, uint* lane,
                       uint* lanes);
// Ends the launch with an error.
[[noreturn]] void metal_fail(const char* name, const char* problem, int line);
}

namespace metal {
enum class mem_flags : uint {
  mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4, mem_device_and_threadgroup = 3
};
inline mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }

inline void threadgroup_barrier(mem_flags, int line = __builtin_LINE()) {
  metal_barrier("threadgroup_barrier", line);
}
inline void simdgroup_barrier(mem_flags, int line = __builtin_LINE()) {
  uint lane, lanes;
  metal_meet("", 1, "simdgroup_barrier", line, &lane, &lanes);
}

// Values of the simdgroup's threads.
template <class T> struct Lanes {
  static_assert(sizeof(T) < 8 || !metal_numbers::Number<T>::value,
                "64-bit numbers do not cross lanes");
  const T* values;
  uint lane, lanes;
  int line;
  const char* name;
  Lanes(T value, const char* name, int line) : line(line), name(name) {
    values = (const T*)metal_meet(&value, sizeof value, name, line, &lane, &lanes);
  }
  T at(uint i) const {
    if (i >= lanes) metal_fail(name, "reads a thread that the simdgroup does not have", line);
    return values[i];
  }
};

#define REDUCES(NAME, EXPRESSION)                                                                \
  template <class T> inline T NAME(T value, int line = __builtin_LINE()) {                       \
    Lanes<T> all(value, #NAME, line);                                                            \
    T a = all.values[0];                                                                         \
    for (uint i = 1; i < all.lanes; i++) {                                                       \
      T b = all.values[i];                                                                       \
      a = EXPRESSION;                                                                            \
    }                                                                                            \
    return a;                                                                                    \
  }
REDUCES(simd_sum, T(a + b))
REDUCES(simd_product, T(a * b))
REDUCES(simd_max, max(a, b))
REDUCES(simd_min, min(a, b))
REDUCES(simd_and, T(a & b))
REDUCES(simd_or, T(a | b))
REDUCES(simd_xor, T(a ^ b))
#undef REDUCES
inline bool simd_any(bool value, int line = __builtin_LINE()) { return simd_or(value, line); }
inline bool simd_all(bool value, int line = __builtin_LINE()) { return simd_and(value, line); }

#define SHUFFLES(NAME, SOURCE)                                                                   \
  template <class T> inline T NAME(T value, ushort by, int line = __builtin_LINE()) {            \
    Lanes<T> all(value, #NAME, line);                                                            \
    return all.at(SOURCE);                                                                       \
  }
SHUFFLES(simd_shuffle, by)
SHUFFLES(simd_broadcast, by)
SHUFFLES(simd_shuffle_xor, all.lane ^ by)
// Threads without a source keep their value.
SHUFFLES(simd_shuffle_down, all.lane + by < all.lanes ? all.lane + by : all.lane)
SHUFFLES(simd_shuffle_up, all.lane >= by ? all.lane - by : all.lane)
#undef SHUFFLES
template <class T> inline T simd_broadcast_first(T value, int line = __builtin_LINE()) {
  return Lanes<T>(value, "simd_broadcast_first", line).values[0];
}
template <class T> inline T simd_prefix_inclusive_sum(T value, int line = __builtin_LINE()) {
  Lanes<T> all(value, "simd_prefix_inclusive_sum", line);
  T total = all.values[0];
  for (uint i = 1; i <= all.lane; i++) total = T(total + all.values[i]);
  return total;
}
template <class T> inline T simd_prefix_exclusive_sum(T value, int line = __builtin_LINE()) {
  Lanes<T> all(value, "simd_prefix_exclusive_sum", line);
  T total = T(0);
  for (uint i = 0; i < all.lane; i++) total = T(total + all.values[i]);
  return total;
}

// One thread runs at a time, so that plain loads and stores are atomic.
enum memory_order { memory_order_relaxed };
template <class T> struct atomic { T value; };
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;

#define ATOMIC(NAME, EXPRESSION)                                                                 \
  template <class A, class T>                                                                    \
  inline T atomic_fetch_##NAME##_explicit(A* object, T b, memory_order) {                        \
    decltype(object->value) a = object->value;                                                   \
    object->value = EXPRESSION;                                                                  \
    return a;                                                                                    \
  }
ATOMIC(add, a + b) ATOMIC(sub, a - b) ATOMIC(and, a & b) ATOMIC(or, a | b) ATOMIC(xor, a ^ b)
ATOMIC(min, metal::min(a, decltype(a)(b))) ATOMIC(max, metal::max(a, decltype(a)(b)))
#undef ATOMIC
template <class A> inline auto atomic_load_explicit(const A* object, memory_order) {
  return object->value;
}
template <class A, class T> inline void atomic_store_explicit(A* object, T value, memory_order) {
  object->value = value;
}
template <class A, class T> inline T atomic_exchange_explicit(A* object, T value, memory_order) {
  T old = object->value;
  object->value = value;
  return old;
}
template <class A, class T>
inline bool atomic_compare_exchange_weak_explicit(A* object, T* expected, T desired, memory_order,
                                                  memory_order) {
  if (object->value == *expected) {
    object->value = desired;
    return true;
  }
  *expected = object->value;
  return false;
}
}  // namespace metal
