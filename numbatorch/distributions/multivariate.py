"""Normal distributions of vectors, by a Cholesky factor or by few factors. Layer 8."""

from __future__ import annotations

from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import LOG_SQRT_2PI, Distribution, derived, one_of
from numbatorch.distributions.kl import register_kl
from numbatorch.errors import ShapeError, message
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class MultivariateNormal(Distribution):
    """exp(-(x - loc)^T C^-1 (x - loc) / 2) / sqrt((2 pi)^K det C) over vectors of K numbers.

    Args:
        loc: (..., K).
        covariance_matrix, precision_matrix, scale_tril: (..., K, K), one of C, C^-1, and the
            lower triangular L of C = L L^T. What is computed is computed of L.

    >>> from numbatorch.distributions import MultivariateNormal
    >>> MultivariateNormal(nt.zeros(2), nt.eye(2)).log_prob(nt.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support: Any = constraints.real_vector
    has_rsample = True
    loc: Tensor

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = one_of(
            "MultivariateNormal",
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        shape = self._take(loc=loc, **given)
        (name,) = given
        size, matrix = self.loc.shape[-1], getattr(self, name)
        if matrix.shape[-2:] != (size, size):
            rows = (f"loc {self.loc.shape}", f"{name} {matrix.shape}")
            raise ShapeError(message("MultivariateNormal", f"{name} is not of loc's size", *rows))
        super().__init__(shape, (size,), validate_args)

    @derived
    def scale_tril(self) -> Tensor:
        """L of C = L L^T."""
        if "covariance_matrix" in self.__dict__:
            return nt.linalg.cholesky(self.covariance_matrix)
        # P = U^T U of an upper triangular U, from P with rows and columns turned around: L = U^-1
        turned = nt.linalg.cholesky(self.precision_matrix.flip((-2, -1))).flip((-2, -1))
        unit = nt.eye(turned.shape[-1], dtype=turned.dtype, device=turned.device)
        found: Tensor = nt.linalg.solve_triangular(turned.mT, unit, upper=False)
        return found

    @derived
    def covariance_matrix(self) -> Tensor:
        """L L^T."""
        return self.scale_tril @ self.scale_tril.mT

    @derived
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix."""
        return nt.cholesky_inverse(self.scale_tril)

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance matrix."""
        return self.scale_tril.square().sum(-1)

    def _draw(self, shape: Shape) -> Tensor:
        normals = self._normals(shape)
        found: Tensor = self.loc + (self.scale_tril @ normals[..., None])[..., 0]
        return found

    def _log_prob(self, value: Tensor) -> Tensor:
        tril = self.scale_tril
        square = mahalanobis(tril, value - self.loc)
        return -0.5 * square - half_log_det(tril) - self._event_shape[0] * LOG_SQRT_2PI

    def entropy(self) -> Tensor:
        """(K (1 + log(2 pi)) + log det C) / 2."""
        return half_log_det(self.scale_tril) + self._event_shape[0] * (0.5 + LOG_SQRT_2PI)


def half_log_det(tril: Tensor) -> Tensor:
    """The sum of the logarithms of a diagonal."""
    return tril.diagonal(0, -2, -1).log().sum(-1)


def mahalanobis(tril: Tensor, apart: Tensor) -> Tensor:
    """|L^-1 x|^2 of vectors."""
    shape = nt.broadcast_shapes(tril.shape[:-1], apart.shape)
    wide, size = tril.expand((*shape, shape[-1])), apart.expand(shape)[..., None]
    found: Tensor = nt.linalg.solve_triangular(wide, size, upper=False)
    return found[..., 0].square().sum(-1)


class LowRankMultivariateNormal(Distribution):
    """MultivariateNormal of covariance W W^T + diag(D), by matrices of as many rows as W columns.

    Args:
        loc: (..., K).
        cov_factor: W, (..., K, R).
        cov_diag: D, (..., K), positive.

    >>> from numbatorch.distributions import LowRankMultivariateNormal
    >>> LowRankMultivariateNormal(nt.zeros(2), nt.zeros(2, 1), nt.ones(2)).log_prob(nt.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support: Any = constraints.real_vector
    has_rsample = True
    loc: Tensor
    cov_factor: Tensor
    cov_diag: Tensor

    def __init__(
        self,
        loc: Tensor,
        cov_factor: Tensor,
        cov_diag: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        shape = self._take(loc=loc, cov_factor=cov_factor, cov_diag=cov_diag)
        size = self.loc.shape[-1]
        if self.cov_factor.shape[-2] != size or self.cov_diag.shape[-1] != size:
            told = {n: getattr(self, n).shape for n in self.arg_constraints}
            rows = [f"{name} {found}" for name, found in told.items()]
            raise ShapeError(message("LowRankMultivariateNormal", "sizes differ", *rows))
        super().__init__(shape, (size,), validate_args)

    def _capacitance(self) -> Tensor:
        """The Cholesky factor of I + W^T D^-1 W."""
        factor = self.cov_factor
        unit = nt.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        return nt.linalg.cholesky(unit + factor.mT @ (factor / self.cov_diag[..., None]))

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of W W^T + diag(D)."""
        return self.cov_factor.square().sum(-1) + self.cov_diag

    @property
    def covariance_matrix(self) -> Tensor:
        """W W^T + diag(D)."""
        return self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed()

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance matrix."""
        return nt.linalg.cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix."""
        return nt.cholesky_inverse(self.scale_tril)

    def _draw(self, shape: Shape) -> Tensor:
        factors = self._normals((*shape[:-1], self.cov_factor.shape[-1]))
        shared = (self.cov_factor @ factors[..., None])[..., 0]
        found: Tensor = self.loc + shared + self.cov_diag.sqrt() * self._normals(shape)
        return found

    def _half_log_det(self) -> Tensor:
        return half_log_det(self._capacitance()) + 0.5 * self.cov_diag.log().sum(-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        # (W W^T + D)^-1 = D^-1 - D^-1 W (I + W^T D^-1 W)^-1 W^T D^-1
        apart = value - self.loc
        whole = apart / self.cov_diag
        shared: Tensor = (self.cov_factor.mT @ whole[..., None])[..., 0]
        square = (apart * whole).sum(-1) - mahalanobis(self._capacitance(), shared)
        return -0.5 * square - self._half_log_det() - self._event_shape[0] * LOG_SQRT_2PI

    def entropy(self) -> Tensor:
        """(K (1 + log(2 pi)) + log det C) / 2."""
        return self._half_log_det() + self._event_shape[0] * (0.5 + LOG_SQRT_2PI)


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        rows = (f"p {p.event_shape}", f"q {q.event_shape}")
        raise ShapeError(message("kl_divergence", "event shapes differ", *rows))
    mine, other = p.scale_tril, q.scale_tril
    shape = nt.broadcast_shapes(mine.shape, other.shape)
    ratio: Tensor = nt.linalg.solve_triangular(other.expand(shape), mine.expand(shape), upper=False)
    spread = ratio.square().sum((-2, -1)) + mahalanobis(other, q.loc - p.loc)
    size: int = p.event_shape[0]
    return half_log_det(other) - half_log_det(mine) + 0.5 * (spread - size)
