"""Operators over a million elements, as ours, PyTorch and NumPy spell them.

A line has a name, the call that ours and PyTorch have in common, and NumPy's, or - where it has
none. Operands are those of `operands`; `F` is nn.functional. Results are read in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.timing import Work

SIDE = 1000  # of a matrix of a million elements
CLASSES = 100

ELEMENTWISE = """
abs | t.abs(x) | np.abs(x)
acos | t.acos(u) | np.arccos(u)
acosh | t.acosh(p + 1) | np.arccosh(p + 1)
add | t.add(x, y) | np.add(x, y)
addcmul | t.addcmul(x, y, p) | x + y * p
asin | t.asin(u) | np.arcsin(u)
asinh | t.asinh(x) | np.arcsinh(x)
atan | t.atan(x) | np.arctan(x)
atan2 | t.atan2(x, y) | np.arctan2(x, y)
atanh | t.atanh(u) | np.arctanh(u)
bitwise_and | t.bitwise_and(i, k) | np.bitwise_and(i, k)
ceil | t.ceil(x) | np.ceil(x)
clamp | t.clamp(x, -1, 1) | np.clip(x, np.float32(-1), np.float32(1))
copysign | t.copysign(x, y) | np.copysign(x, y)
cos | t.cos(x) | np.cos(x)
cosh | t.cosh(x) | np.cosh(x)
digamma | t.digamma(p) | -
div | t.div(x, p) | np.divide(x, p)
eq | t.eq(i, k) | np.equal(i, k)
erf | t.erf(x) | -
erfinv | t.erfinv(u) | -
exp | t.exp(x) | np.exp(x)
exp2 | t.exp2(x) | np.exp2(x)
expm1 | t.expm1(x) | np.expm1(x)
floor | t.floor(x) | np.floor(x)
floor_divide | t.floor_divide(i, k + 1) | np.floor_divide(i, k + 1)
fmod | t.fmod(x, p) | np.fmod(x, p)
hypot | t.hypot(x, y) | np.hypot(x, y)
isfinite | t.isfinite(x) | np.isfinite(x)
isnan | t.isnan(x) | np.isnan(x)
lerp | t.lerp(x, y, 0.3) | x + np.float32(0.3) * (y - x)
lgamma | t.lgamma(p) | -
log | t.log(p) | np.log(p)
log10 | t.log10(p) | np.log10(p)
log1p | t.log1p(p) | np.log1p(p)
log2 | t.log2(p) | np.log2(p)
logaddexp | t.logaddexp(x, y) | np.logaddexp(x, y)
logical_and | t.logical_and(b, c) | np.logical_and(b, c)
maximum | t.maximum(x, y) | np.maximum(x, y)
mul | t.mul(x, y) | np.multiply(x, y)
nan_to_num | t.nan_to_num(x) | np.nan_to_num(x)
neg | t.neg(x) | np.negative(x)
pow | t.pow(p, y) | np.power(p, y)
reciprocal | t.reciprocal(p) | np.reciprocal(p)
remainder | t.remainder(x, p) | np.remainder(x, p)
round | t.round(x) | np.rint(x)
rsqrt | t.rsqrt(p) | 1 / np.sqrt(p)
sigmoid | t.sigmoid(x) | 1 / (1 + np.exp(-x))
sign | t.sign(x) | np.sign(x)
sin | t.sin(x) | np.sin(x)
sinh | t.sinh(x) | np.sinh(x)
sqrt | t.sqrt(p) | np.sqrt(p)
tan | t.tan(x) | np.tan(x)
tanh | t.tanh(x) | np.tanh(x)
where | t.where(b, x, y) | np.where(b, x, y)
xlogy | t.xlogy(x, p) | -
elu | F.elu(x) | -
gelu | F.gelu(x) | -
hardswish | F.hardswish(x) | -
leaky_relu | F.leaky_relu(x) | -
mish | F.mish(x) | -
relu | F.relu(x) | np.maximum(x, np.float32(0))
selu | F.selu(x) | -
silu | F.silu(x) | -
softplus | F.softplus(x) | -
"""
REDUCTIONS = """
all | t.all(yes) | np.all(yes)
amax | t.amax(x, 1) | np.amax(x, 1)
amax whole | t.amax(x) | np.amax(x)
amin columns | t.amin(x, 0) | np.amin(x, 0)
argmax | t.argmax(x, 1) | np.argmax(x, 1)
count_nonzero | t.count_nonzero(b) | np.count_nonzero(b)
cummax | t.cummax(x, 1)[0] | np.maximum.accumulate(x, 1)
cumprod | t.cumprod(x, 1) | np.cumprod(x, 1)
cumsum | t.cumsum(x, 1) | np.cumsum(x, 1)
cumsum columns | t.cumsum(x, 0) | np.cumsum(x, 0)
cumsum whole | t.cumsum(v, 0) | np.cumsum(v)
diff | t.diff(x) | np.diff(x)
log_softmax | t.log_softmax(x, 1) | -
logcumsumexp | t.logcumsumexp(x, 1) | np.logaddexp.accumulate(x, 1)
logsumexp | t.logsumexp(x, 1) | -
mean | t.mean(x, 1) | np.mean(x, 1)
median | t.median(x, 1)[0] | np.median(x, 1)
norm | t.linalg.norm(x) | np.linalg.norm(x)
prod | t.prod(x, 1) | np.prod(x, 1)
quantile | t.quantile(x, 0.3, 1) | np.quantile(x, 0.3, 1)
softmax | t.softmax(x, 1) | -
std | t.std(x, 1) | np.std(x, 1, ddof=1)
std whole | t.std(x) | np.std(x, ddof=1)
sum | t.sum(x, 1) | np.sum(x, 1)
sum columns | t.sum(x, 0) | np.sum(x, 0)
sum whole | t.sum(x) | np.sum(x)
var | t.var(x, 0) | np.var(x, 0, ddof=1)
aminmax | t.aminmax(x, dim=1)[0] | np.amin(x, 1)
any | t.any(no) | np.any(no)
argmax columns | t.argmax(x, 0) | np.argmax(x, 0)
argmax whole | t.argmax(x) | np.argmax(x)
argmin | t.argmin(x, 1) | np.argmin(x, 1)
count_nonzero rows | t.count_nonzero(b, 1) | np.count_nonzero(b, 1)
cummin columns | t.cummin(x, 0)[0] | np.minimum.accumulate(x, 0)
cumprod columns | t.cumprod(x, 0) | np.cumprod(x, 0)
cumsum int64 | t.cumsum(i, 1) | np.cumsum(i, 1)
max | t.max(x, 1)[1] | np.argmax(x, 1)
max int64 | t.amax(i, 1) | np.amax(i, 1)
mean columns | t.mean(x, 0) | np.mean(x, 0)
median whole | t.median(v) | np.median(v)
mode | t.mode(k, 1)[0] | -
nanmean | t.nanmean(x, 1) | np.nanmean(x, 1)
nanmedian | t.nanmedian(x, 1)[0] | np.nanmedian(x, 1)
nansum | t.nansum(x, 1) | np.nansum(x, 1)
prod columns | t.prod(x, 0) | np.prod(x, 0)
quantile columns | t.quantile(x, 0.3, 0) | np.quantile(x, 0.3, 0)
sum int64 | t.sum(i, 1) | np.sum(i, 1)
trapezoid | t.trapezoid(x) | np.trapezoid(x)
"""
SHAPES = """
cat | t.cat([x, y]) | np.concatenate([x, y])
clone | x.clone() * 1 | x.copy()
diag | t.diag(w) | np.diag(w)
flip | t.flip(x, [1]).contiguous() | np.ascontiguousarray(np.flip(x, 1))
pad | F.pad(x, [1, 1, 1, 1]) | np.pad(x, 1)
pad reflect | F.pad(x[None], [3, 3], "reflect") | np.pad(x, ((0, 0), (3, 3)), "reflect")
repeat | x[:500].repeat(2, 1) | np.tile(x[:500], (2, 1))
repeat_interleave | t.repeat_interleave(x[:500], 2, 0) | np.repeat(x[:500], 2, 0)
roll | t.roll(x, 7, 1) | np.roll(x, 7, 1)
rot90 | t.rot90(x).contiguous() | np.ascontiguousarray(np.rot90(x))
stack | t.stack([x, y], 2) | np.stack([x, y], 2)
transpose | x.T.contiguous() | np.ascontiguousarray(x.T)
tril | t.tril(x) | np.tril(x)
arange | t.arange(1000000) | np.arange(1000000)
block_diag | t.block_diag(x[:500, :500], y[:500, :500]) | -
cat rows | t.cat([x, y], 1) | np.concatenate([x, y], 1)
column_stack | t.column_stack([v, v]) | np.column_stack([v, v])
diag_embed | t.diag_embed(w) | np.diag(w)
dstack | t.dstack([x, y]) | np.dstack([x, y])
eye | t.eye(1000) | np.eye(1000, dtype=np.float32)
flip both | t.flip(x, [0, 1]).contiguous() | np.ascontiguousarray(np.flip(x))
flip rows | t.flip(x, [0]).contiguous() | np.ascontiguousarray(np.flip(x, 0))
full | t.full((1000, 1000), 2.5) | np.full((1000, 1000), np.float32(2.5))
linspace | t.linspace(0, 1, 1000000) | np.linspace(0, 1, 1000000, dtype=np.float32)
meshgrid | t.meshgrid(w, w, indexing="ij")[0].contiguous() | np.meshgrid(w, w, indexing="ij")[0]
pad circular | F.pad(x[None], [3, 3], "circular") | np.pad(x, ((0, 0), (3, 3)), "wrap")
pad replicate | F.pad(x[None], [3, 3], "replicate") | np.pad(x, ((0, 0), (3, 3)), "edge")
permute | cube.permute(2, 0, 1).contiguous() | np.ascontiguousarray(cube.transpose(2, 0, 1))
permute inner | cube.permute(1, 0, 2).contiguous() | np.ascontiguousarray(cube.transpose(1, 0, 2))
repeat columns | x[:, :500].repeat(1, 2) | np.tile(x[:, :500], (1, 2))
repeat_interleave columns | t.repeat_interleave(x[:, :500], 2, 1) | np.repeat(x[:, :500], 2, 1)
roll both | t.roll(x, (7, 3), (0, 1)) | np.roll(x, (7, 3), (0, 1))
roll rows | t.roll(x, 7, 0) | np.roll(x, 7, 0)
slice columns | x[:, ::2].contiguous() | np.ascontiguousarray(x[:, ::2])
stack rows | t.stack([x, y]) | np.stack([x, y])
transpose int64 | i.T.contiguous() | np.ascontiguousarray(i.T)
transpose bool | b.T.contiguous() | np.ascontiguousarray(b.T)
tril_indices | t.tril_indices(1000, 1000) | np.stack(np.tril_indices(1000))
triu | t.triu(x) | np.triu(x)
vander | t.vander(w, 1000) | np.vander(w, 1000)
zeros | t.zeros(1000, 1000) * 1 | np.full((1000, 1000), np.float32(0))
"""
INDEXING = """
bincount | t.bincount(i.reshape(-1)) | np.bincount(i.reshape(-1))
bucketize | t.bucketize(x, edges) | np.searchsorted(edges, x)
embedding | F.embedding(i[:, 0], x) | x[i[:, 0]]
gather | t.gather(x, 1, i) | np.take_along_axis(x, i, 1)
histc | t.histc(x, 100, -4, 4) | np.histogram(x, 100, (-4, 4))[0]
index_add | x.index_add(0, i[:, 0], y) | -
index_select | t.index_select(x, 1, i[:, 0]) | np.take(x, i[:, 0], 1)
isin | t.isin(k, k[0]) | np.isin(k, k[0])
masked_fill | x.masked_fill(b, 0.0) | np.where(b, np.float32(0), x)
masked_select | t.masked_select(x, b) | x[b]
nonzero | t.nonzero(b) | np.argwhere(b)
one_hot | F.one_hot(j, 100) | np.eye(100, dtype=int)[j]
scatter_add | x.scatter_add(1, i, y) | -
take | t.take(x, i) | np.take(x, i)
argsort | t.argsort(x, 1) | np.argsort(x, 1)
sort | t.sort(x, 1)[0] | np.sort(x, 1)
sort columns | t.sort(x, 0)[0] | np.sort(x, 0)
sort whole | t.sort(v)[0] | np.sort(v)
sort int64 | t.sort(i, 1)[0] | np.sort(i, 1)
argsort whole | t.argsort(v) | np.argsort(v)
kthvalue | t.kthvalue(x, 300, 1)[0] | np.partition(x, 299, 1)[:, 299]
topk | t.topk(x, 10, 1)[0] | np.partition(x, SIDE - 10, 1)[:, -10:]
unique | t.unique(k) | np.unique(k)
argsort int64 | t.argsort(i, 1) | np.argsort(i, 1)
argsort stable | t.sort(x, dim=1, stable=True)[1] | np.argsort(x, 1, kind="stable")
argwhere | t.argwhere(x) | np.argwhere(x)
bincount weights | t.bincount(i.reshape(-1), v) | np.bincount(i.reshape(-1), v)
count of each | t.unique(k, return_counts=True)[1] | np.unique(k, return_counts=True)[1]
gather columns | t.gather(x, 0, i) | np.take_along_axis(x, i, 0)
index by mask | x[b] | x[b]
index by pairs | x[i, k] | x[i, k]
index_copy | x.index_copy(0, places, y) | -
index_fill | x.index_fill(0, i[:50, 0], 2.0) | -
index_put | x.index_put((i, k.long()), y) | -
index_select rows | t.index_select(x, 0, i[:, 0]) | np.take(x, i[:, 0], 0)
isin float32 | t.isin(x, y[0]) | np.isin(x, y[0])
kthvalue whole | t.kthvalue(v, 300000)[0] | np.partition(v, 299999)[299999]
masked_scatter | x.masked_scatter(b, y) | -
median columns | t.median(x, 0)[0] | np.median(x, 0)
msort | t.msort(x) | np.sort(x, 0)
put | x.put(i, y) | -
scatter | x.scatter(1, i, y) | -
scatter_reduce | x.scatter_reduce(1, i, y, "amax") | -
searchsorted | t.searchsorted(edges, x) | np.searchsorted(edges, x)
searchsorted long | t.searchsorted(sorted, v) | np.searchsorted(sorted, v)
sort bool | t.sort(b, 1)[0] | np.sort(b, 1)
sort descending | t.sort(x, 1, descending=True)[0] | np.flip(np.sort(x, 1), 1)
sort float64 | t.sort(x.double(), 1)[0] | np.sort(x.astype(np.float64), 1)
sort int32 whole | t.sort(k.reshape(-1))[0] | np.sort(k.reshape(-1))
take_along_dim | t.take_along_dim(x, i, 1) | np.take_along_axis(x, i, 1)
topk columns | t.topk(x, 10, 0)[0] | np.partition(x, SIDE - 10, 0)[-10:]
topk whole | t.topk(v, 100)[0] | np.partition(v, SIDE * SIDE - 100)[-100:]
unique float32 | t.unique(x) | np.unique(x)
unique_consecutive | t.unique_consecutive(sorted) | -
unique inverse | t.unique(k, return_inverse=True)[1] | np.unique(k, return_inverse=True)[1]
where positions | t.where(b)[0] | np.where(b)[0]
"""
RANDOM = """
bernoulli | t.bernoulli(p / 3) | rng.random((SIDE, SIDE), np.float32) < p / 3
dropout | F.dropout(x, 0.3) | x * (rng.random((SIDE, SIDE), np.float32) < 0.7)
exponential | x.clone().exponential_() | rng.standard_exponential((SIDE, SIDE), np.float32)
multinomial | t.multinomial(p, 1) | -
normal | t.normal(x, p) | x + p * rng.standard_normal((SIDE, SIDE), np.float32)
rand | t.rand(1000, 1000) | rng.random((1000, 1000), np.float32)
randint | t.randint(0, 100, (1000, 1000)) | rng.integers(0, 100, (1000, 1000))
randn | t.randn(1000, 1000) | rng.standard_normal((1000, 1000), np.float32)
randperm | t.randperm(1000000) | rng.permutation(1000000)
uniform | x.clone().uniform_(-1, 1) | rng.uniform(-1, 1, (1000, 1000))
"""
LINEAR = """
bmm | t.bmm(cube, cube) | np.matmul(cube, cube)
cdist | t.cdist(x[:, :64], y[:, :64]) | -
cholesky | t.linalg.cholesky(g) | np.linalg.cholesky(g)
det | t.linalg.det(s) | np.linalg.det(s)
dot | t.dot(v, v) | np.dot(v, v)
eigh | t.linalg.eigh(g[:300, :300])[0] | np.linalg.eigh(g[:300, :300])[0]
einsum | t.einsum("ij,kj->ik", x, y) | np.einsum("ij,kj->ik", x, y, optimize=True)
fft | t.fft.fft(x) | np.fft.fft(x)
fft2 | t.fft.fft2(x) | np.fft.fft2(x)
rfft whole | t.fft.rfft(v) | np.fft.rfft(v)
inv | t.linalg.inv(g) | np.linalg.inv(g)
kron | t.kron(x[:100, :100], y[:10, :10]) | np.kron(x[:100, :100], y[:10, :10])
matmul | t.matmul(x, y) | np.matmul(x, y)
matmul int32 | t.matmul(k[:200, :200], k[:200, :200]) | np.matmul(k[:200, :200], k[:200, :200])
mv | t.mv(x, w) | np.matmul(x, w)
outer | t.outer(w, w) | np.outer(w, w)
qr | t.linalg.qr(x[:300, :300])[0] | np.linalg.qr(x[:300, :300])[0]
solve | t.linalg.solve(g, x) | np.linalg.solve(g, x)
svd | t.linalg.svd(x[:300, :300])[1] | np.linalg.svd(x[:300, :300])[1]
"""
NEURAL = """
adaptive_avg_pool2d | F.adaptive_avg_pool2d(image, 7) | -
avg_pool2d | F.avg_pool2d(image, 2) | -
max_pool2d | F.max_pool2d(image, 3, 2, 1) | -
batch_norm | F.batch_norm(image, mean, square, training=False) | -
batch_norm training | F.batch_norm(image, None, None, training=True) | -
conv1d | F.conv1d(image.reshape(16, 64, -1)[:, :, :256], kernel1, padding=1) | -
conv2d | F.conv2d(image, kernel2, padding=1) | -
conv2d depthwise | F.conv2d(image, deep, padding=1, groups=64) | -
conv_transpose2d | F.conv_transpose2d(image, kernel2, stride=2) | -
cosine_similarity | F.cosine_similarity(x, y) | -
cross_entropy | F.cross_entropy(x, i[:, 0]) | -
grid_sample | F.grid_sample(image, grid, align_corners=False) | -
group_norm | F.group_norm(image, 8) | -
interpolate | F.interpolate(image, scale_factor=2, mode="bilinear") | -
interpolate bicubic | F.interpolate(image, scale_factor=2, mode="bicubic") | -
layer_norm | F.layer_norm(x, (SIDE,)) | -
linear | F.linear(x, y) | np.matmul(x, y.T)
mse_loss | F.mse_loss(x, y) | np.mean((x - y) ** 2)
normalize | F.normalize(x) | -
pixel_shuffle | F.pixel_shuffle(image, 2).contiguous() | -
rms_norm | F.rms_norm(x, (SIDE,)) | -
scaled_dot_product_attention | F.scaled_dot_product_attention(heads, heads, heads) | -
smooth_l1_loss | F.smooth_l1_loss(x, y) | -
unfold | F.unfold(image[:2], 3) | -
"""
KINDS = {
    "elementwise": ELEMENTWISE,
    "reductions": REDUCTIONS,
    "shapes": SHAPES,
    "indexing": INDEXING,
    "random": RANDOM,
    "linear algebra": LINEAR,
    "neural": NEURAL,
}


def calls() -> Iterator[tuple[str, str, str]]:
    """The name, the common call and NumPy's of each line."""
    for text in KINDS.values():
        for line in text.strip().splitlines():
            name, common, numpy = line.split(" | ")
            yield name, common, numpy


def operands() -> dict[str, np.ndarray]:
    """What calls name."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32)
    found = {
        "x": x,
        "y": y,
        "p": rng.uniform(0.1, 3, (SIDE, SIDE)),  # positive
        "u": rng.uniform(-0.99, 0.99, (SIDE, SIDE)),  # within the unit interval
        "i": rng.integers(0, SIDE, (SIDE, SIDE)),
        "k": rng.integers(0, SIDE, (SIDE, SIDE), dtype=np.int32),
        "b": rng.random((SIDE, SIDE)) < 0.5,
        "c": rng.random((SIDE, SIDE)) < 0.5,
        "yes": np.ones((SIDE, SIDE), bool),
        "no": np.zeros((SIDE, SIDE), bool),
        "v": x.reshape(-1),
        "w": x[0],
        "sorted": np.sort(x.reshape(-1)),
        "places": rng.permutation(SIDE),
        "s": x / 32,
        "g": (x @ x.T) / SIDE + np.eye(SIDE, dtype=np.float32),  # positive definite
        "j": rng.integers(0, CLASSES, 10_000),
        "cube": x.reshape(100, 100, 100),
        "edges": np.linspace(-3, 3, CLASSES),
        "image": x.reshape(-1)[: 16 * 64 * 900].reshape(16, 64, 30, 30),
        "mean": np.zeros(64),
        "square": np.ones(64),
        "kernel1": y.reshape(-1)[: 64 * 64 * 3].reshape(64, 64, 3),
        "kernel2": y.reshape(-1)[: 64 * 64 * 9].reshape(64, 64, 3, 3),
        "deep": y.reshape(-1)[: 64 * 9].reshape(64, 1, 3, 3),
        "grid": rng.uniform(-1, 1, (16, 30, 30, 2)),
        "heads": x.reshape(-1)[: 8 * 512 * 64].reshape(1, 8, 512, 64),
    }
    narrow = (np.float32 if a.dtype == np.float64 else a.dtype for a in found.values())
    return {
        name: np.ascontiguousarray(array, dtype)
        for (name, array), dtype in zip(found.items(), narrow, strict=True)
    }


def job(
    tensor: Callable[[np.ndarray], Any],
    library: Any = None,
    read: Callable[[Callable[[], Any]], Callable[[], Any]] = lambda call: call,
    wait: Callable[[], object] | None = None,
) -> Callable[[str], Work]:
    """The job of an engine that runs a line by its name.

    Args:
        tensor: from an array.
        library: the module that the common call names; None is NumPy with its own calls.
        read: a call whose result has been computed when it returns.
    """
    scope: dict[str, Any] = {}

    def operator(name: str) -> Work:
        if not scope:
            scope.update({key: tensor(array) for key, array in operands().items()})
            rng = np.random.default_rng(1)
            scope.update(np=np, rng=rng, t=library, SIDE=SIDE, F=_functional(library))
        lines = {known: (common, numpy) for known, common, numpy in calls()}
        text = lines[name][library is None]
        if text == "-":
            raise NotImplementedError
        return Work(read(eval(f"lambda: {text}", scope)), wait=wait)

    return operator


def _functional(library: Any) -> Any:
    return SimpleNamespace() if library is None else library.nn.functional
