"""Which module holds which names. Written by `make surface` from public functions and records."""

FAMILIES = {
    "ops.activation": {
        "Tensor": "hardshrink leaky_relu relu silu",
        "nn.functional": "hardshrink logsigmoid",
        "nt": "celu hardshrink leaky_relu relu selu silu",
        "records": (
            "celu elu gelu gelu_slope gelu_tanh hardshrink hardsigmoid hardswish hardtanh "
            "leaky_relu logsigmoid mish prelu relu selu silu softplus softshrink softsign "
            "tanhshrink threshold"
        ),
    },
    "ops.aminmax": {"Tensor": "aminmax", "nt": "aminmax", "records": "aminmax"},
    "ops.arithmetic": {
        "Tensor": (
            "add clamp clamp_max clamp_min clip div divide float_power ldexp masked_fill "
            "nextafter positive pow sub subtract true_divide"
        ),
        "nt": (
            "add clamp clamp_max clamp_min clip div divide float_power ldexp masked_fill "
            "nextafter positive pow rsub sub subtract true_divide"
        ),
    },
    "ops.attention": {"nn.functional": "attention", "records": "attention attention_backward"},
    "ops.averaging": {
        "nn.functional": (
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d "
            "avg_pool3d lp_pool1d lp_pool2d lp_pool3d"
        ),
        "nt": "adaptive_avg_pool1d avg_pool1d",
        "records": (
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d "
            "avg_pool3d lp_pool1d lp_pool2d lp_pool3d"
        ),
    },
    "ops.bags": {"records": "sum_bags sum_bags_backward"},
    "ops.bands": {"records": "banded"},
    "ops.batch_norm": {
        "nn.functional": "group_norm local_response_norm",
        "nt": "group_norm",
        "records": "batch_norm group_norm instance_norm local_response_norm",
    },
    "ops.bessel": {
        "Tensor": "i0",
        "nt": "i0",
        "records": (
            "bessel_j0 bessel_j1 bessel_y0 bessel_y1 i0 i0e i1 i1e modified_bessel_k0 "
            "modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1"
        ),
        "special": (
            "bessel_j0 bessel_j1 bessel_y0 bessel_y1 i0 i0e i1 i1e modified_bessel_i0 "
            "modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0 "
            "scaled_modified_bessel_k1"
        ),
    },
    "ops.binary": {
        "Tensor": (
            "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign "
            "floor_divide fmax fmin fmod heaviside maximum minimum mul multiply remainder"
        ),
        "nt": (
            "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign "
            "floor_divide fmax fmin fmod heaviside maximum minimum mul multiply remainder"
        ),
        "records": (
            "add bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor "
            "copysign div floor_divide fmax fmin fmod heaviside ldexp maximum minimum mul "
            "nextafter pow remainder sub"
        ),
    },
    "ops.cast": {"records": "cast"},
    "ops.circular": {
        "Tensor": (
            "acos acosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan "
            "atan2 atanh cosh deg2rad hypot rad2deg sinc sinh"
        ),
        "nt": (
            "acos acosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan "
            "atan2 atanh cosh deg2rad hypot rad2deg sinc sinh"
        ),
        "records": "acos acosh asin asinh atan atan2 atanh cosh deg2rad hypot rad2deg sinc sinh",
        "special": "sinc",
    },
    "ops.compact": {"records": "compact run_starts unique_rows"},
    "ops.compare": {
        "Tensor": (
            "eq ge greater greater_equal gt isfinite isinf isnan isneginf isposinf isreal le less "
            "less_equal logical_and logical_not logical_or logical_xor lt ne not_equal signbit"
        ),
        "nt": (
            "eq ge greater greater_equal gt isfinite isinf isnan isneginf isposinf isreal le less "
            "less_equal logical_and logical_not logical_or logical_xor lt ne not_equal signbit"
        ),
        "records": (
            "eq ge gt isfinite isinf isnan isneginf isposinf isreal le logical_and logical_not "
            "logical_or logical_xor lt ne signbit where"
        ),
    },
    "ops.comparing": {
        "Tensor": "isclose nan_to_num",
        "nt": "isclose isin nan_to_num",
        "records": "isin nan_to_num",
    },
    "ops.complex": {
        "Tensor": "angle conj is_complex sgn",
        "nt": "angle complex conj imag is_complex polar real sgn view_as_complex view_as_real",
        "records": "angle",
    },
    "ops.conv": {"records": "convolution convolution_input convolution_weight"},
    "ops.convolve": {
        "nn.functional": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        "nt": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        "records": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    },
    "ops.covariance": {
        "Tensor": "corrcoef cov renorm",
        "nt": "corrcoef cov renorm",
        "records": "corrcoef cov renorm",
    },
    "ops.ctc": {"nn.functional": "ctc_loss", "records": "ctc ctc_backward ctc_loss"},
    "ops.custom": {"records": "after"},
    "ops.demanded": {"records": "divisor within"},
    "ops.determinant": {
        "Tensor": "logdet",
        "linalg": "det slogdet",
        "nt": "logdet",
        "records": "adjugate adjugate_slope det slogdet",
    },
    "ops.diagonals": {
        "Tensor": "diag diag_embed diagflat diagonal tril triu",
        "nt": "diag diag_embed diagflat diagonal tril triu vander",
        "records": "diag diag_embed vander",
    },
    "ops.differences": {
        "Tensor": "diff",
        "nt": "cumulative_trapezoid diff gradient trapezoid trapz",
        "records": "cumulative_trapezoid diff gradient trapezoid",
    },
    "ops.distance": {
        "Tensor": "dist",
        "nn.functional": "bilinear cosine_similarity pairwise_distance pdist",
        "nt": "bilinear cdist cosine_similarity dist pairwise_distance pdist",
        "records": "bilinear cdist cosine_similarity pairwise_distance pdist squares_apart",
    },
    "ops.distributions": {
        "Tensor": "bernoulli",
        "nt": "bernoulli beta binomial gamma poisson",
        "records": "binomial poisson standard_gamma",
    },
    "ops.dropping": {
        "nn.functional": (
            "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout"
        ),
        "nt": "alpha_dropout dropout feature_alpha_dropout feature_dropout",
        "records": "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout",
    },
    "ops.einsum": {
        "Tensor": "trace",
        "nt": "einsum tensordot trace",
        "records": "einsum tensordot trace",
    },
    "ops.embedding": {"records": "embedding_bag"},
    "ops.error_functions": {
        "Tensor": "erfc erfinv",
        "nt": "erfc erfinv",
        "records": "erfc erfcx erfinv log_ndtr ndtri",
        "special": "erfc erfcx erfinv log_ndtr ndtri",
    },
    "ops.experts": {
        "nn.functional": "expert_linear",
        "records": "expert_matmul expert_matmul_input expert_matmul_weight",
    },
    "ops.factors": {
        "Tensor": "lu_solve",
        "linalg": "lu lu_factor lu_factor_ex lu_solve qr",
        "nt": "lu_solve lu_unpack",
        "records": "lu lu_factor pivots_to_permutation qr",
    },
    "ops.fft": {
        "fft": (
            "fft fft2 fftn fftshift hfft hfft2 hfftn ifft ifft2 ifftn ifftshift ihfft ihfft2 "
            "ihfftn irfft irfft2 irfftn rfft rfft2 rfftn"
        ),
    },
    "ops.float_parts": {"Tensor": "frexp", "nt": "frexp", "records": "frexp"},
    "ops.folding": {
        "nn.functional": "fold unfold",
        "records": "fold fold_images unfold_images windows",
    },
    "ops.fourier": {"records": "fft irfft rfft"},
    "ops.gamma": {
        "Tensor": "digamma igamma igammac lgamma mvlgamma polygamma",
        "nt": "digamma igamma igammac lgamma mvlgamma polygamma",
        "records": "digamma igamma igamma_by_shape igammac lgamma trigamma zeta zeta_by_power",
        "special": "digamma gammainc gammaincc gammaln multigammaln polygamma psi zeta",
    },
    "ops.grid": {"nn.functional": "affine_grid grid_sample", "records": "affine_grid grid_sample"},
    "ops.gru": {"records": "gru_backward gru_steps"},
    "ops.gumbel": {"nn.functional": "gumbel_softmax"},
    "ops.histograms": {
        "Tensor": "histogram",
        "nt": "histogram histogramdd",
        "records": "histogram",
    },
    "ops.index": {"records": "count_numbers gather index_add scatter_add take take_within"},
    "ops.infos": {
        "Tensor": "lu",
        "linalg": "cholesky_ex solve_ex",
        "nt": "lu",
        "records": "cholesky_ex solve_ex",
    },
    "ops.interpolate": {
        "nn.functional": "interpolate upsample upsample_bilinear upsample_nearest",
        "records": "interpolate",
    },
    "ops.joining": {
        "nt": (
            "atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors cartesian_prod cat "
            "column_stack concat concatenate dstack hstack meshgrid row_stack stack vstack"
        ),
    },
    "ops.layers": {"nn.functional": "layer_norm normalize rms_norm", "nt": "layer_norm rms_norm"},
    "ops.ldl": {"linalg": "ldl_factor ldl_factor_ex ldl_solve", "records": "ldl_factor ldl_places"},
    "ops.linalg": {
        "Tensor": "cholesky_inverse cholesky_solve inverse triangular_solve",
        "linalg": "cholesky inv inv_ex solve solve_triangular",
        "nt": "cholesky_inverse cholesky_solve inverse triangular_solve",
        "records": "cholesky inv inv_ex solve solve_triangular",
    },
    "ops.linear": {"nn.functional": "linear"},
    "ops.linear_loss": {"nn.functional": "linear_cross_entropy"},
    "ops.logarithms": {
        "Tensor": "exp2 log10 logaddexp logaddexp2 logit xlogy",
        "nt": "exp2 log10 logaddexp logaddexp2 logit xlogy",
        "records": "entr exp2 log10 logaddexp logaddexp2 logit xlog1py xlogy",
        "special": "entr exp2 logit xlog1py xlogy",
    },
    "ops.loss": {"nn.functional": "cross_entropy nll_loss", "records": "cross_entropy nll_loss"},
    "ops.low_rank": {"nt": "pca_lowrank svd_lowrank"},
    "ops.lstm": {"records": "lstm_backward lstm_steps"},
    "ops.margin_loss": {
        "nn.functional": (
            "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss "
            "multilabel_margin_loss multilabel_soft_margin_loss triplet_margin_loss "
            "triplet_margin_with_distance_loss"
        ),
        "records": (
            "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss "
            "multilabel_margin_loss multilabel_soft_margin_loss triplet_margin_loss"
        ),
    },
    "ops.matmul": {
        "Tensor": "bmm dot matmul mm outer",
        "linalg": "matmul",
        "nt": "bmm dot matmul mm outer",
        "records": "matmul outer",
    },
    "ops.matrix_functions": {
        "Tensor": "matrix_exp",
        "linalg": "matrix_exp matrix_power matrix_rank multi_dot pinv tensorinv tensorsolve",
        "nt": "matrix_exp",
        "records": "lstsq matrix_exp pinv",
    },
    "ops.matrix_norms": {
        "linalg": "cond matrix_norm norm",
        "records": "linalg_cond linalg_matrix_norm",
    },
    "ops.moments": {"records": "nanmean var var_mean"},
    "ops.multi_head": {
        "nn.functional": "multi_head_attention_forward",
        "records": "multi_head_attention_forward",
    },
    "ops.nll": {
        "records": (
            "cross_entropy_rows cross_entropy_rows_backward mean_of_counted "
            "mean_of_counted_backward nll_mean nll_mean_backward nll_rows nll_rows_backward"
        ),
    },
    "ops.nonlinear": {
        "Tensor": "gelu prelu softplus",
        "nn.functional": (
            "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu mish prelu relu relu6 "
            "rrelu selu silu softplus softshrink softsign tanhshrink threshold"
        ),
        "nt": "gelu prelu rrelu softplus threshold",
    },
    "ops.norm": {"records": "layer_norm layer_norm_backward rms_norm rms_norm_backward"},
    "ops.older_linalg": {
        "Tensor": "cholesky det matrix_power pinverse qr slogdet svd",
        "linalg": "diagonal",
        "nt": "chain_matmul cholesky det matrix_power pinverse qr slogdet svd",
    },
    "ops.operands": {"records": "buffer compiled const empty iota"},
    "ops.padding": {"nn.functional": "pad", "nt": "constant_pad_nd", "records": "pad padded"},
    "ops.parts": {"records": "complex component conj imag real sgn"},
    "ops.permutation": {"records": "places_in_order"},
    "ops.points": {"records": "spread_points sum_points weigh_points"},
    "ops.pool": {"records": "max_windows put_back"},
    "ops.pooling": {
        "nn.functional": (
            "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_pool1d max_pool2d "
            "max_pool3d"
        ),
        "records": (
            "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_pool1d max_pool2d "
            "max_pool3d"
        ),
    },
    "ops.products": {
        "Tensor": "addbmm addmm addmv addr baddbmm cross inner kron mv vdot",
        "linalg": "cross vecdot",
        "nt": "addbmm addmm addmv addr baddbmm cross inner kron mv vdot",
        "records": (
            "addbmm addmm addmv addr baddbmm cross inner kron linalg_cross linalg_vecdot mv vdot"
        ),
    },
    "ops.quant": {
        "Tensor": "dequantize",
        "nt": "dequantize",
        "records": "dequantize quant_matmul quant_take",
    },
    "ops.quantiles": {
        "Tensor": "median mode nanmedian nanquantile quantile",
        "nt": "median mode nanmedian nanquantile quantile",
        "records": "median mode nanmedian nanquantile quantile",
    },
    "ops.random": {"records": "random_bits random_exponential random_normal random_uniform"},
    "ops.rearranging": {
        "Tensor": "flip fliplr flipud repeat roll rot90 tile",
        "nn.functional": "pixel_shuffle pixel_unshuffle",
        "nt": "flip fliplr flipud pixel_shuffle pixel_unshuffle roll rot90 tile",
        "records": "flip pixel_shuffle repeat roll rot90",
    },
    "ops.recurrent": {
        "nt": "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
        "records": "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
    },
    "ops.reduce": {
        "records": (
            "all any argmax argmin expand logsumexp max max_with_index min min_with_index prod sum"
        ),
    },
    "ops.reflections": {
        "Tensor": "geqrf orgqr ormqr",
        "linalg": "householder_product vander",
        "nt": "geqrf orgqr ormqr",
        "records": "geqrf linalg_householder_product linalg_vander",
    },
    "ops.regression_loss": {
        "nn.functional": (
            "binary_cross_entropy binary_cross_entropy_with_logits gaussian_nll_loss huber_loss "
            "kl_div l1_loss mse_loss poisson_nll_loss smooth_l1_loss soft_margin_loss"
        ),
        "records": (
            "bent bent_slope binary_cross_entropy binary_cross_entropy_with_logits binary_entropy "
            "gaussian_nll_loss huber_loss kl_div l1_loss mse_loss poisson_nll_loss smooth_l1_loss "
            "soft_margin_loss"
        ),
    },
    "ops.rnn": {"records": "rnn_backward rnn_steps"},
    "ops.rope": {"nn.functional": "rope", "records": "rope"},
    "ops.scaled_attention": {"nn.functional": "scaled_dot_product_attention"},
    "ops.scan": {
        "Tensor": "cummax cummin cumprod cumsum logcumsumexp",
        "nt": "cummax cummin cumprod cumsum logcumsumexp",
        "records": "cummax cummin cumprod cumsum logcumsumexp",
    },
    "ops.scatter": {"records": "put_rows scatter_merge scatter_set"},
    "ops.scattering": {
        "Tensor": (
            "diagonal_scatter index_add index_copy index_fill index_reduce masked_scatter put "
            "scatter scatter_add scatter_reduce select_scatter slice_scatter"
        ),
        "nt": (
            "diagonal_scatter index_add index_copy index_fill index_reduce masked_scatter put "
            "scatter scatter_add scatter_reduce select_scatter slice_scatter"
        ),
        "records": (
            "diagonal_scatter index_copy index_fill index_reduce masked_scatter put "
            "scatter_reduce select_scatter slice_scatter"
        ),
    },
    "ops.searching": {
        "Tensor": "histc",
        "nt": "bucketize histc searchsorted",
        "records": "finite_range histc search_rows",
    },
    "ops.selecting": {
        "Tensor": "gather index_select take take_along_dim",
        "nt": "gather index_select take take_along_dim",
        "records": "index_select take_along_dim",
    },
    "ops.shaping": {
        "Tensor": (
            "adjoint broadcast_to expand expand_as flatten is_same_size is_signed moveaxis "
            "movedim permute ravel reshape reshape_as resolve_conj resolve_neg select squeeze "
            "sum_to_size swapaxes swapdims t transpose unflatten unfold unsqueeze"
        ),
        "nt": (
            "adjoint broadcast_shapes broadcast_to clone detach flatten is_floating_point "
            "is_same_size is_signed moveaxis movedim numel permute ravel reshape resolve_conj "
            "resolve_neg select squeeze swapaxes swapdims t transpose unflatten unsqueeze "
            "unsqueeze_copy"
        ),
    },
    "ops.short_time": {
        "Tensor": "istft stft",
        "nt": "istft stft",
        "records": "istft stft window_sums",
    },
    "ops.softmax": {
        "Tensor": "log_softmax softmax",
        "nn.functional": "log_softmax softmax softmin",
        "nt": "log_softmax softmax",
        "records": "log_softmax log_softmax_backward softmax softmax_backward",
        "special": "log_softmax softmax",
    },
    "ops.sort": {
        "Tensor": "argsort kthvalue msort sort topk",
        "nt": "argsort kthvalue msort sort topk",
        "records": "kth sort topk",
    },
    "ops.spectra": {
        "linalg": "eig eigh eigvals eigvalsh svd svdvals",
        "records": "eig eigh eigvals eigvalsh svd svdvals",
    },
    "ops.splitting": {
        "Tensor": (
            "chunk dsplit hsplit split split_with_sizes unbind unsafe_chunk unsafe_split "
            "unsafe_split_with_sizes vsplit"
        ),
        "nt": (
            "chunk dsplit hsplit split split_with_sizes unbind unsafe_chunk unsafe_split "
            "unsafe_split_with_sizes vsplit"
        ),
    },
    "ops.standardize": {"records": "standardize standardize_backward"},
    "ops.statistics": {
        "Tensor": (
            "all amax amin any argmax argmin count_nonzero logsumexp max mean min nanmean nansum "
            "prod std std_mean sum var var_mean"
        ),
        "nt": (
            "all amax amin any argmax argmin count_nonzero logsumexp max mean min nanmean nansum "
            "prod std std_mean sum var var_mean"
        ),
        "special": "logsumexp",
    },
    "ops.strided": {"records": "as_strided diagonal sliding"},
    "ops.ternary": {
        "Tensor": "addcdiv addcmul lerp",
        "nt": "addcdiv addcmul lerp",
        "records": "addcdiv addcmul lerp",
    },
    "ops.unary": {
        "Tensor": (
            "abs absolute bitwise_not ceil cos erf exp expm1 fix floor frac log log1p log2 neg "
            "negative reciprocal round rsqrt sigmoid sign sin sqrt square tan tanh trunc"
        ),
        "nn.functional": "sigmoid tanh",
        "nt": (
            "abs absolute bitwise_not ceil cos erf exp expm1 fix floor frac log log1p log2 neg "
            "negative reciprocal round rsqrt sigmoid sign sin sqrt square tan tanh trunc"
        ),
        "records": (
            "abs bitwise_not ceil cos erf exp expm1 floor frac log log1p log2 ndtr neg reciprocal "
            "round rsqrt sigmoid sign sin sqrt square tan tanh trunc"
        ),
        "special": "erf expit expm1 log1p ndtr round",
    },
    "ops.unpooling": {
        "nn.functional": (
            "channel_shuffle fractional_max_pool2d fractional_max_pool3d max_unpool1d "
            "max_unpool2d max_unpool3d native_channel_shuffle"
        ),
        "nt": "channel_shuffle native_channel_shuffle",
        "records": (
            "channel_shuffle fractional_max_pool2d fractional_max_pool3d max_unpool1d "
            "max_unpool2d max_unpool3d"
        ),
    },
    "ops.vector_norm": {
        "Tensor": "norm",
        "linalg": "vector_norm",
        "nt": "norm",
        "records": "vector_norm",
    },
    "ops.view": {"records": "clone detach permute reinterpret reshape select slice slice_update"},
    "ops.whole": {"Tensor": "gcd lcm", "nt": "gcd lcm", "records": "gcd lcm"},
    "tensor.categories": {"Tensor": "multinomial", "nt": "multinomial"},
    "tensor.distinct": {
        "Tensor": "bincount unique unique_consecutive",
        "nt": "bincount unique unique_consecutive",
        "records": "bincount unique_consecutive",
    },
    "tensor.dynamic": {
        "Tensor": "argwhere masked_select nonzero nonzero_static",
        "nt": "argwhere masked_select nonzero nonzero_static",
    },
    "tensor.index_put": {"Tensor": "index_put", "nt": "index_put", "records": "index_put"},
    "tensor.reading": {
        "Tensor": "allclose equal where",
        "linalg": "lstsq",
        "nn.functional": "one_hot",
        "nt": "allclose equal where",
    },
    "tensor.repeating": {
        "Tensor": "narrow narrow_copy repeat_interleave tensor_split",
        "nt": "combinations narrow narrow_copy repeat_interleave tensor_split unravel_index",
        "records": "repeat_interleave",
    },
    "tensor.running": {"nn.functional": "batch_norm instance_norm"},
    "tensor.tables": {"nn.functional": "embedding embedding_bag"},
    "tensor.windows": {
        "fft": "fftfreq rfftfreq",
        "nt": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
    },
}
