"""Parametrizations: weights of a norm, of a largest singular value, and orthogonal ones."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.module import Module
from numbatorch.nn.utils.parametrize import register_parametrization
from numbatorch.nn.utils.spectral_hook import as_matrix, check_options, drawn_vector, output_dim
from numbatorch.nn.utils.weight_hook import norm_except
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, eye, no_grad, zeros, zeros_like
from numbatorch.tensor.random import randn

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

AnyModule = TypeVar("AnyModule", bound=Module)
OrthogonalMap = Literal["matrix_exp", "cayley", "householder"]


def _tensor_of(operator: str, module: Module, name: str) -> Tensor:
    found = getattr(module, name, None)
    if not isinstance(found, Tensor):
        problem = f"{type(module).__name__} has no parameter or buffer {name!r}"
        raise ValueError(message(operator, problem))
    return found


class _WeightNorm(Module):
    """g * v / ||v||."""

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The weight."""
        return weight_v * (weight_g / norm_except("weight_norm", weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Size and direction."""
        return norm_except("weight_norm", weight, self.dim), weight


class _OldNames:
    """What renames entries of a state dict of `nn.utils.weight_norm`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        old = [f"{prefix}{self.name}_{part}" for part in "gv"]
        if all(name in state_dict for name in old):
            for i, name in enumerate(old):
                new = f"{prefix}parametrizations.{self.name}.original{i}"
                state_dict[new] = state_dict.pop(name)


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Train size and direction of a weight apart: w = g * v / ||v||.

    They are `parametrizations.NAME.original0` and `original1`. State dicts of
    `nn.utils.weight_norm` are loaded too.

    Args:
        dim: over all other dimensions the norm is taken; None for the norm of the whole weight.
    Raises:
        ValueError: the module has no such parameter.
        OutOfRange: the weight has no such dimension.
    Source: https://arxiv.org/abs/1602.07868

    >>> layer = weight_norm(nt.nn.Linear(2, 3, bias=False))
    >>> layer.parametrizations.weight.original0.shape
    (3, 1)
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(_OldNames(name))
    return module


class _SpectralNorm(Module):
    """W / (u . W v), u and v singular vectors by iterations; x / ||x|| of a vector."""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dim = check_options("spectral_norm", weight, dim, n_power_iterations)
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if len(weight.shape) > 1:
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    self.register_buffer(name, drawn_vector(size, weight, eps))
                self._iterate(matrix, 15)

    def _iterate(self, matrix: Tensor, count: int) -> None:
        with no_grad():
            for _ in range(count):
                self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.mH.mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its largest singular value."""
        if len(weight.shape) == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        return weight / self._u.clone().vdot(matrix.mv(self._v.clone()))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value: it should be of norm 1."""
        return value


def spectral_norm(
    module: AnyModule,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> AnyModule:
    """Divide a weight by its largest singular value, or a vector by its length.

    u and v are found by 15 power iterations, and brought nearer by more whenever the weight is read
    in training.

    Args:
        n_power_iterations: how many each time.
        eps: least length that a vector is divided by.
        dim: that of outputs, against all others; 1 of transposed convolutions, 0 otherwise.
    Raises:
        ValueError: the module has no such tensor, or there are no iterations.
        OutOfRange: the weight has no such dimension.
    Source: https://arxiv.org/abs/1802.05957

    >>> layer = spectral_norm(nt.nn.Linear(2, 3), n_power_iterations=30)
    >>> bool((nt.linalg.matrix_norm(layer.weight, 2) - 1).abs() < 1e-3)
    True
    """
    weight = _tensor_of("spectral_norm", module, name)
    found = output_dim(module) if dim is None else dim
    normed = _SpectralNorm(weight, n_power_iterations, found, eps)
    register_parametrization(module, name, normed)
    return module


class _Orthogonal(Module):
    """A map from matrices, or from their lower triangles, to orthogonal ones."""

    base: Tensor | None

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if weight.dtype.is_complex and orthogonal_map == "householder":
            problem = "householder is a map of real matrices"
            raise DTypeError(message("orthogonal", problem, f"weight {describe(weight.node)}"))
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, K) to the same, with orthonormal columns, or rows if there are fewer."""
        wide = x.shape[-2] < x.shape[-1]
        tall = x.mT if wide else x
        q = self._householder(tall) if self.orthogonal_map == "householder" else self._skew(tall)
        base = vars(self).get("base")
        if base is not None:
            q = base @ q
        return q.mT if wide else q

    def _skew(self, x: Tensor) -> Tensor:
        """The map of the skew-symmetric matrix A = L - L^H, of which K columns are taken."""
        rows, columns = x.shape[-2:]
        low = x.tril()
        if rows != columns:
            from numbatorch import cat

            low = cat([low, zeros(*x.shape[:-1], rows - columns).to(x)], dim=-1)
        a = low - low.mH
        if self.orthogonal_map == "matrix_exp":
            q: Any = a.matrix_exp()
        else:
            from numbatorch import linalg

            one = eye(rows, dtype=a.dtype, device=a.device)
            q = linalg.solve(one - a * 0.5, one + a * 0.5)
        return q[..., :columns]  # type: ignore[no-any-return]

    def _householder(self, x: Tensor) -> Tensor:
        """The product of reflections I - tau v v^T along columns v, with the diagonal's signs."""
        from numbatorch import linalg

        a = x.tril(-1)
        tau = 2.0 / (1.0 + (a * a).sum(dim=-2))
        signs = x.detach().diagonal(dim1=-2, dim2=-1).trunc()
        q: Tensor = linalg.householder_product(a, tau) * signs.unsqueeze(-2)
        return q

    def right_inverse(self, q: Tensor) -> Tensor:
        """What the map makes `q` of, or the nearest by a QR decomposition if it is not orthogonal.

        Raises:
            NotImplementedError: the map has no inverse without a base.
        """
        if q.shape != self.shape:
            rows = (f"the weight is {self.shape}", f"given {describe(q.node)}")
            raise ShapeError(message("orthogonal", "is set to another shape", *rows))
        wide = q.shape[-2] < q.shape[-1]
        tall = q.mT if wide else q
        with no_grad():
            if "base" in vars(self):
                self.base = _completed(tall)
                found = zeros_like(q)
                found.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
                return found
            if self.orthogonal_map != "householder":
                problem = f"{self.orthogonal_map} has no inverse without use_trivialization"
                raise NotImplementedError(message("orthogonal", problem))
            a, tau = _geqrf(tall)
            diagonal = a.diagonal(dim1=-2, dim2=-1)
            signs = diagonal.sign()
            diagonal.copy_(signs.where(tau != 0.0, -signs))
            return a.mT if wide else a


def _geqrf(x: Tensor) -> tuple[Tensor, Tensor]:
    from numbatorch import geqrf

    a, tau = geqrf(x.detach())
    return a.clone(), tau


def _made_orthogonal(x: Tensor) -> Tensor:
    """Q of the QR decomposition in which the diagonal of R is positive."""
    from numbatorch import linalg

    a, tau = _geqrf(x)
    signs = a.diagonal(dim1=-2, dim2=-1).sgn()
    q: Tensor = linalg.householder_product(a, tau) * signs.unsqueeze(-2)
    return q


def _completed(x: Tensor) -> Tensor:
    """A square orthogonal matrix that begins with x, made orthogonal if it is not."""
    rows, columns = x.shape[-2:]
    if rows != columns:
        from numbatorch import cat

        shape = (*x.shape[:-1], rows - columns)
        rest = randn(shape, dtype=x.dtype, device=x.device)
        return _made_orthogonal(cat([x, rest], dim=-1))
    from numbatorch import finfo

    one = eye(columns, dtype=x.dtype, device=x.device)
    limit = 10.0 * rows * finfo(x.dtype).eps
    near = bool((x.mH @ x).allclose(one, atol=limit))
    return x.clone() if near else _made_orthogonal(x)


def orthogonal(
    module: AnyModule,
    name: str = "weight",
    orthogonal_map: OrthogonalMap | None = None,
    *,
    use_trivialization: bool = True,
) -> AnyModule:
    """Keep a matrix, or a batch of them, orthogonal: of orthonormal columns, or rows if fewer.

    Args:
        orthogonal_map: "matrix_exp", exp(A), or "cayley", (I + A / 2)(I - A / 2)^-1, of a
            skew-symmetric A, or "householder", a product of reflections. By default the first for
            square and complex matrices, the last for others.
        use_trivialization: multiply what the map gives by a matrix, the buffer `base` of the
            parametrization, so that it starts at the weight, made orthogonal if it is not.
    Raises:
        ValueError: the module has no such tensor, or the map is another.
        ShapeError: the tensor is no matrix.
        DTypeError: it is complex, and the map "householder".
    Source: https://arxiv.org/abs/1909.09501

    >>> w = orthogonal(nt.nn.Linear(4, 2)).weight
    >>> bool((w @ w.T - nt.eye(2)).abs().max() < 1e-5)
    True
    """
    weight = _tensor_of("orthogonal", module, name)
    if len(weight.shape) < 2:
        rows = f"weight {describe(weight.node)}"
        raise ShapeError(message("orthogonal", "takes a matrix or a batch of them", rows))
    square = weight.shape[-2] == weight.shape[-1] or weight.dtype.is_complex
    chosen = orthogonal_map or ("matrix_exp" if square else "householder")
    if chosen not in ("matrix_exp", "cayley", "householder"):
        problem = f"the map is matrix_exp, cayley or householder, not {chosen!r}"
        raise ValueError(message("orthogonal", problem))
    made = _Orthogonal(weight, chosen, use_trivialization)
    register_parametrization(module, name, made, unsafe=True)
    return module
