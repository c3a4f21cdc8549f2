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
    "not there yet": """
        histogram histogramdd linalg.cholesky_ex linalg.ldl_factor linalg.ldl_factor_ex
        linalg.ldl_solve lu nn.functional.linear_cross_entropy""",
}

# Names of the database that numbatorch does not have.
ABSENT = {name: reason for reason, names in REASONS.items() for name in names.split()}

TORCH = "PyTorch's own is further from the truth, measured beside SciPy's or mpmath's"
WHOLE = "an integer times 0.2 is refused, where PyTorch cuts the factor"
LOSSES = "losses of integers, bool or complex numbers are refused"
ROUNDED = "both are a few roundings off"
TRIANGLE = "the gradient stays in the triangle that is read"

# Variants that fail in some dtype, and why.
EXCEPT: dict[str, str] = {
    "__rdiv__": "a name of Python 2",
    "addbmm": WHOLE,
    "addmv": WHOLE,
    "as_strided/partial_views": "a view of a view does not begin before the view",
    "baddbmm": WHOLE,
    "cholesky_inverse": TRIANGLE,
    "cholesky_solve": TRIANGLE,
    "cov": "PyTorch sums float32 weights in float32, and looks at the values of weights",
    "digamma": TORCH,
    "histc": "PyTorch bins bfloat16 in bfloat16",
    "linalg.norm/subgradients_at_zero": "norms of negative order at 0 have no slope",
    "linalg.pinv/hermitian": "the samples are not Hermitian, so a gradient has no meaning",
    "log_softmax/with_dtype": "complex numbers as real ones are refused",
    "logcumsumexp": ROUNDED,
    "matrix_exp": ROUNDED,
    "nn.functional.cosine_embedding_loss": LOSSES,
    "nn.functional.ctc_loss": ROUNDED,
    "nn.functional.hardsigmoid": TORCH,
    "nn.functional.margin_ranking_loss": LOSSES,
    "nn.functional.poisson_nll_loss": LOSSES,
    "nn.functional.softmin/with_dtype": "complex numbers as real ones are refused",
    "nn.functional.triplet_margin_loss": LOSSES,
    "nn.functional.triplet_margin_with_distance_loss": "samples pass a module of PyTorch's",
    **{f"polygamma/polygamma_n_{n}": TORCH for n in range(5)},
    "scatter": "2.5 as an integer is refused",
    "sign": "sign has no meaning for bool",
    **{f"special.bessel_{name}": TORCH for name in ("j0", "j1", "y0", "y1")},
    "softmax/with_dtype": "complex numbers as real ones are refused",
    **dict.fromkeys(("pca_lowrank", "svd_lowrank"), "not there yet"),
}
# Variants whose method or in-place form fails, and why.
FORMS = {
    "__rdiv__": "a name of Python 2",
    "addbmm": "in place PyTorch lets a tensor of one element grow",
    "as_strided/partial_views": "a view of a view does not begin before the view",
}
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
