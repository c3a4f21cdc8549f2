"""Small MSL functions that printed kernels call; a text contains only those that it uses.

The float8 formats: https://arxiv.org/abs/2209.05433.
"""

import re

_SIGNED = {"char": 8, "short": 16, "int": 32, "long": 64}
_BITS = {**_SIGNED, **{f"u{name}": bits for name, bits in _SIGNED.items()}}


def _saturating(name: str) -> str:
    """A float as an integer: toward zero, out of range saturates, NaN is 0."""
    bits, signed = _BITS[name], name in _SIGNED
    dtype = f"{'' if signed else 'u'}int{bits}"
    suffix = ("" if signed else "u") + ("l" if bits == 64 else "")
    high = (1 << (bits - signed)) - 1
    last = f"{high}{suffix}"
    first = f"(-{high}{suffix} - 1{suffix})" if signed else f"0{suffix}"
    low = -float(high + 1) if signed else 0.0
    return f"""\
static inline {name} to_{dtype}(float x) {{
    if (isnan(x)) return {name}(0);
    if (x >= {float(high + 1)!r}f) return {name}({last});
    return x <= {low!r}f ? {name}({first}) : {name}(x);
}}"""


def _wrapping(name: str, sign: str) -> str:
    """Arithmetic of signed integers in two's complement."""
    lines = [
        f"static inline {kind} wrap_{name}({kind} a, {kind} b) "
        f"{{ return {kind}(u{kind}(a) {sign} {'b' if name == 'shl' else f'u{kind}(b)'}); }}"
        for kind in ("int", "long")
    ]
    return "\n".join(lines)


def _group(name: str, start: str, combine: str, neutral: str) -> str:
    """A value combined over the group, in an order that the number of threads decides."""
    return f"""\
static inline float group_{name}(
    float value, threadgroup uchar* memory, uint thread_count, uint lane, uint simdgroup
) {{
    threadgroup float* partial = (threadgroup float*)memory;
    value = {start};
    if (thread_count <= 32) return value;
    if (lane == 0) partial[simdgroup] = value;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    value = {combine}(lane < thread_count / 32 ? partial[lane] : {neutral});
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return value;
}}"""


# 64-bit division is slow on GPUs, and what is divided is mostly small.
FUNCTIONS: dict[str, str] = {
    "trunc_div": """\
static inline long trunc_div(long a, long b) {
    return ((a | b) >> 31) == 0 ? long(uint(a) / uint(b)) : a / b;
}""",
    "floor_div": """\
static inline long floor_div(long a, long b) {
    if (((a | b) >> 31) == 0) return long(uint(a) / uint(b));
    long quotient = a / b;
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
static inline ulong floor_div(ulong a, ulong b) { return a / b; }""",
    "floor_mod": """\
static inline long floor_mod(long a, long b) {
    if (((a | b) >> 31) == 0) return long(uint(a) % uint(b));
    long rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline ulong floor_mod(ulong a, ulong b) { return a % b; }""",
    "share": """\
static inline Tuple_long_long share(long n, long part, long parts) {
    long each = trunc_div(n, parts);
    long rest = n - each * parts;
    long low = each * part + min(part, rest);
    return {low, low + each + (part < rest ? 1 : 0)};
}""",
    "wrap_add": _wrapping("add", "+"),
    "wrap_sub": _wrapping("sub", "-"),
    "wrap_mul": _wrapping("mul", "*"),
    "wrap_shl": _wrapping("shl", "<<"),
    "smaller": "static inline float smaller(float a, float b) { return b < a ? b : a; }",
    "larger": "static inline float larger(float a, float b) { return b > a ? b : a; }",
    "minimum": """\
static inline float minimum(float a, float b) {
    if (isnan(a) || isnan(b)) return NAN;
    if (a == b) return signbit(a) ? a : b;
    return a < b ? a : b;
}""",
    "maximum": """\
static inline float maximum(float a, float b) {
    if (isnan(a) || isnan(b)) return NAN;
    if (a == b) return signbit(a) ? b : a;
    return a > b ? a : b;
}""",
    "ldexp_in_steps": """\
static inline float ldexp_in_steps(float x, int power) {
    int half_power = power >> 1;
    float first = as_type<float>(uint(half_power + 127) << 23);  // of NaN any power comes
    return x * first * as_type<float>(uint(power - half_power + 127) << 23);
}""",
    "from_float8_e4m3fn": """\
static inline float from_float8_e4m3fn(uchar bits) {
    uint size = bits & 0x7fu;
    float value = as_type<float>((size << 20) + (120u << 23));
    if (size < 8u) value = float(size) * 0.001953125f;
    if (size == 0x7fu) value = NAN;
    return bits & 0x80u ? -value : value;
}""",
    "from_float8_e5m2": """\
static inline float from_float8_e5m2(uchar bits) {
    return float(as_type<half>(ushort(uint(bits) << 8)));
}""",
    "to_float8_e4m3fn": """\
// To nearest, ties to even; from 464 on, half way to the 480 that it lacks, NaN.
static inline uchar to_float8_e4m3fn(float x) {
    uint bits = as_type<uint>(x);
    uint size = bits & 0x7fffffffu;
    uint code = (size + ((size >> 20) & 1u) + 0x7ffffu - (120u << 23)) >> 20;
    if (size < (121u << 23)) code = uint(rint(as_type<float>(size) * 512.0f));
    if (size > 0x43e80000u) code = 0x7fu;
    return uchar(code | ((bits >> 24) & 0x80u));
}""",
    "to_float8_e5m2": """\
// To nearest, ties to even; from 61440 on, half way from 57344 to 65536, infinity.
static inline uchar to_float8_e5m2(float x) {
    uint bits = as_type<uint>(x);
    uint size = bits & 0x7fffffffu;
    uint code = (size + ((size >> 21) & 1u) + 0xfffffu - (112u << 23)) >> 21;
    if (size < (113u << 23)) code = uint(rint(as_type<float>(size) * 65536.0f));
    if (size > 0x476fffffu) code = 0x7cu;
    if (size > 0x7f800000u) code = 0x7eu;
    return uchar(code | ((bits >> 24) & 0x80u));
}""",
    **{f"to_{'' if n in _SIGNED else 'u'}int{b}": _saturating(n) for n, b in _BITS.items()},
    "group_sum": _group("sum", "simd_sum(value)", "simd_sum", "0.0f"),
    "group_max": _group(
        "max", "simd_max(isnan(value) ? -INFINITY : value)", "simd_max", "-INFINITY"
    ),
}


def used(text: str) -> list[str]:
    """The functions that a text calls, those before it that they call themselves."""
    needed: set[str] = set()
    pending = [text]
    while pending:
        called = set(re.findall(r"\b(\w+)\(", pending.pop())) & set(FUNCTIONS)
        pending += [FUNCTIONS[name] for name in called - needed]
        needed |= called
    return [function for name, function in FUNCTIONS.items() if name in needed]
