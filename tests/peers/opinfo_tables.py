"""What of PyTorch's operator database is not compared, and why."""

REASONS = {
    "numbatorch has no sparse tensors": "to_sparse sparse.mm sparse.sampled_addmm",
    "not part of PyTorch's public interface": """
        _batch_norm_with_update _chunk_cat _native_batch_norm_legit _segment_reduce
        _softmax_backward_data _unsafe_masked_index _unsafe_masked_index_put_accumulate
        _upsample_bilinear2d_aa grid_sampler_2d grid_sampler_3d hash_tensor
        max_pool2d_with_indices_backward native_batch_norm native_dropout_backward
        native_group_norm native_layer_norm torch._scaled_mm torch._scaled_mm_v2
        torch.ops.aten._efficient_attention_forward torch.ops.aten._flash_attention_forward
        torch.ops.aten._safe_softmax.default""",
    "torch.masked is a prototype": """
        masked.amax masked.amin masked.argmax masked.argmin masked.cumprod masked.cumsum
        masked.log_softmax masked.logaddexp masked.logsumexp masked.mean masked.median masked.norm
        masked.normalize masked.prod masked.softmax masked.softmin masked.std masked.sum
        masked.var""",
    "a view as a copy, for PyTorch's functionalization: clone() of the view is that": """
        alias_copy as_strided_copy as_strided_scatter conj_physical diagonal_copy expand_copy
        permute_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy
        unfold_copy view_copy""",
    "compiles CUDA text of a program's own": """
        jiterator_2inputs_2outputs jiterator_4inputs_with_extra_args jiterator_binary
        jiterator_binary_return_by_ref jiterator_unary""",
    "changes the size of memory": "resize_ resize_as_",
    "orthogonal polynomials and functions of Airy, which PyTorch cannot differentiate": """
        special.airy_ai special.chebyshev_polynomial_t special.chebyshev_polynomial_u
        special.chebyshev_polynomial_v special.chebyshev_polynomial_w special.hermite_polynomial_h
        special.hermite_polynomial_he special.laguerre_polynomial_l special.legendre_polynomial_p
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w
        special.spherical_bessel_j0""",
    "there is no complex32": "chalf",
}

# Names of the database that numbatorch does not have.
ABSENT = {name: reason for reason, names in REASONS.items() for name in names.split()}

TORCH = "PyTorch's own is further from the truth, measured beside SciPy's or mpmath's"
NUMBER = "a number that the dtype does not hold is refused, where PyTorch cuts it"
ROUNDED = "both are a few roundings off"
SCIPY = "SciPy's is some 100 roundings off for norms of 30"

# Variants of which some sample fails, and why.
EXCEPT: dict[str, str] = {
    "digamma": TORCH,
    "logcumsumexp": f"{ROUNDED}; a complex one may be another logarithm of the same number",
    "masked_fill": NUMBER,
    "matrix_exp": SCIPY,
    "nn.functional.ctc_loss": ROUNDED,
    "nn.functional.hardsigmoid": TORCH,
    "scatter": NUMBER,
}
# Variants of which only some reference input fails: why, and in which dtypes.
REFERENCE: dict[str, tuple[str, str]] = {
    "angle": ("of -0.0 it is pi, as in NumPy", "float32 bfloat16"),
    **dict.fromkeys(
        ("byte", "char", "short", "int", "long"),
        (
            "a float out of the integer's range becomes its end, which PyTorch leaves open",
            "float32 float64 bfloat16 complex64",
        ),
    ),
    **dict.fromkeys(
        ("pow", "float_power", "__rpow__"),
        (
            "of a complex power beyond the largest number the angle has no digits left",
            "complex64",
        ),
    ),
    **dict.fromkeys(
        ("mul", "__rmul__", "square"),
        (
            "complex products whose parts overflow: a fused product and sum is no NaN there",
            "complex64",
        ),
    ),
    **dict.fromkeys(
        ("polygamma/polygamma_n_0", "special.polygamma/special_polygamma_n_0"),
        (TORCH, "float64"),
    ),
    **dict.fromkeys(
        ("igamma", "igammac"),
        ("of large equal operands PyTorch has 10 digits, as the sum in 80 digits shows", "float64"),
    ),
    "signal.windows.kaiser": ("for a large beta PyTorch divides by infinity", "float32 float64"),
}
# Variants of which one side has NaN where the other has a number, and why; the rest is compared.
NAN = {
    **dict.fromkeys(
        ("add", "sub", "rsub", "__radd__", "__rsub__"),
        "PyTorch multiplies complex infinities by alpha, which makes NaN of them",
    ),
    **dict.fromkeys(("igamma", "igammac"), "NaN beside infinity is NaN, and 0 or 1 in PyTorch"),
    **dict.fromkeys(
        ("i0", "special.i1", "special.modified_bessel_i0", "special.modified_bessel_i1"),
        "at infinity it is infinite, and NaN in PyTorch",
    ),
    "logaddexp": "complex numbers with infinite parts are NaN in PyTorch",
    "special.zeta": "where both operands are large it is 0, as in SciPy, and NaN in PyTorch",
    "polygamma": "at infinity it is 0, and NaN in PyTorch",
    "expm1": "of complex infinities the array API standard has numbers",
    "sgn": "NaN has no sign, as in NumPy and the array API standard",
    "sigmoid": "of complex numbers it is 0 where e**-x is infinite",
    "sign": "NaN has no sign, as in NumPy and the array API standard",
}
# Variants whose method or in-place form fails, and why.
FORMS: dict[str, str] = {}
# Variants whose wrong inputs are taken, and why.
TAKEN = "windows of half types are fine"
TAKES: dict[str, str] = {
    **{
        f"signal.windows.{name}": TAKEN
        for name in """bartlett blackman cosine exponential gaussian general_cosine general_hamming
        hamming hann kaiser nuttall""".split()
    },
    "cov": "weights are values, which are not read before anything runs",
}
