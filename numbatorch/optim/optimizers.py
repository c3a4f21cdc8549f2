"""Optimizers: one step updates all parameters in one plan, together with the loss if it is unread.

Numbers that change from step to step live in tensors, so that steps share one plan and a step
inside of a compiled function replays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numbatorch.device import Device, device
from numbatorch.dtype import float32, float64
from numbatorch.errors import DeviceError, GradientError, OutOfRange, message
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, full, no_grad, realize, zeros_like
from numbatorch.tensor.base import before_replays, depth_is_limited
from numbatorch.tensor.gradient import unread_outputs


class ParameterGroup(dict[str, Any]):
    """Parameters under "params", their learning rate and the options of the optimizer."""

    untraced: ClassVar = frozenset(("lr",))  # lies in a tensor, which compiled functions read


class Optimizer:
    """What optimizers share.

    Attributes:
        param_groups: one dict a group: "params", "lr" and the options of the optimizer.

    >>> nt.optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5).param_groups[0]["lr"]
    0.5
    """

    # Lies in tensors that compiled functions read; what they do is the same for all of it.
    untraced: ClassVar = frozenset(("_rates", "_known_rates", "_state"))

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor):
            problem = f"takes a list of parameters, not one tensor {describe(params.node)}"
            raise TypeError(message(name, problem))
        given = list(params)
        if not given:
            raise ValueError(message(name, "there are no parameters"))
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        self.param_groups: list[dict[str, Any]] = []
        self._rates: list[Tensor] = []
        self._known_rates: list[float] = []  # what the tensors hold
        self._state: dict[Tensor, Any] = {}
        seen: set[Tensor] = set()
        for group in groups:
            params = group["params"]
            members = [params] if isinstance(params, Tensor) else list(params)
            self._add({**defaults, **group, "params": members}, seen)
        if seen and not any(parameter.requires_grad for parameter in seen):
            shown = next(iter(self.param_groups[0]["params"]), next(iter(seen)))
            first = f"the first is {describe(shown.node)}"
            problem = "none of the parameters requires a gradient"
            raise GradientError(message(name, problem, first, hint="parameter.requires_grad_()"))

    def _add(self, group: dict[str, Any], seen: set[Tensor]) -> None:
        name = type(self).__name__
        for parameter in group["params"]:
            if not isinstance(parameter, Tensor):
                problem = f"a parameter is {type(parameter).__name__}, not a tensor"
                raise TypeError(message(name, problem))
            if not parameter.is_leaf:
                raise GradientError(message(name, "a parameter is no leaf of the gradient"))
            if parameter in seen:
                problem = f"a parameter {describe(parameter.node)} is given twice"
                raise ValueError(message(name, problem))
            seen.add(parameter)
        _check_rate(name, group["lr"])
        self.param_groups.append(ParameterGroup(group))
        where = group["params"][0].device if group["params"] else None
        self._rates.append(_scalar(group["lr"], device(where)).realize())
        self._known_rates.append(group["lr"])

    @property
    def lr(self) -> float:
        """Learning rate of the first group; setting it sets that of all groups."""
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        _check_rate(type(self).__name__, value)
        for group in self.param_groups:
            group["lr"] = value
        self._update_rates()

    def _update_rates(self) -> None:
        """Bring rates that were changed in `param_groups` into their tensors, by the parameters.

        Raises:
            DeviceError: parameters moved away from what was kept about them.
        """
        for i, (group, rate) in enumerate(zip(self.param_groups, self._rates, strict=True)):
            where = group["params"][0].device if group["params"] else rate.device
            if rate.device != where and any(p in self._state for p in group["params"]):
                problem = f"parameters moved from {rate.device} to {where} after the first step"
                hint = "move the model before the first step, or make a new optimizer"
                raise DeviceError(message(type(self).__name__, problem, hint=hint))
            if self._known_rates[i] != group["lr"] or rate.device != where:
                _check_rate(type(self).__name__, group["lr"])
                rate.hold(_scalar(group["lr"], where).realize().node)
                self._known_rates[i] = group["lr"]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient; all of them in one plan."""
        tracing = not depth_is_limited()
        if tracing:
            before_replays(self._update_rates)
        else:
            self._update_rates()
        changed: list[Tensor] = []
        with no_grad():
            for group, rate in zip(self.param_groups, self._rates, strict=True):
                active = [p for p in group["params"] if p.grad is not None]
                if active:
                    changed += self._update(active, group, rate)
                    changed += [p.grad for p in active if p.grad is not None]
        if not tracing:
            realize(*changed, *unread_outputs())

    def _update(self, params: list[Tensor], group: dict[str, Any], rate: Tensor) -> list[Tensor]:
        """Give `params` and their state new values; returns all that changed."""
        raise NotImplementedError


def _scalar(value: float, where: Device) -> Tensor:
    """A number that changes from step to step, as exact as the device has it."""
    return full((), float(value), dtype=float64 if where.has_float64 else float32, device=where)


def _wide(x: Tensor) -> Tensor:
    """The value in the dtype of steps and of their state: float32 of half types."""
    return x.detach().to(x.dtype.compute)


def _hold(p: Tensor, value: Tensor) -> None:
    """Give a parameter its new value, rounded once."""
    p.hold(value.to(p.dtype).node)


def _check_rate(name: str, rate: float) -> None:
    if not rate >= 0:
        raise OutOfRange(message(name, f"the learning rate {rate} is negative"))


class SGD(Optimizer):
    """Stochastic gradient descent: p -= lr * d, where d is the gradient with momentum.

    Args:
        lr: learning rate.
        momentum: share of the last direction that is kept.
        dampening: share of the gradient that does not enter the direction.
        weight_decay: share of the parameter that is added to its gradient.
        nesterov: look one step of momentum ahead.
    Source: https://pytorch.org/docs/stable/generated/torch.optim.SGD.html

    >>> x = tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([x], lr=0.5)
    >>> store = (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.detach()
    tensor([0.])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(message("SGD", "nesterov needs momentum and no dampening"))
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, options)

    def _update(self, params: list[Tensor], group: dict[str, Any], rate: Tensor) -> list[Tensor]:
        changed = list(params)
        for p in params:
            assert p.grad is not None
            direction = _wide(p.grad)
            if group["weight_decay"]:
                direction = direction + _wide(p) * group["weight_decay"]
            if group["momentum"]:
                kept, share = self._moved(p)
                kept.hold((kept * group["momentum"] + direction * share).node)
                share.hold(_scalar(1 - group["dampening"], p.device).to(p.dtype.compute).node)
                changed += [kept, share]
                ahead = direction + kept * group["momentum"]
                direction = ahead if group["nesterov"] else kept
            _hold(p, _wide(p) - direction * rate)
        return changed

    def _moved(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """The direction that is kept, 0 at first, and the share of the gradient that enters it.

        The first gradient enters whole, whatever the dampening. Both are tensors, so that a
        compiled step is the same for the first time and later.
        """
        if p not in self._state:
            one = _scalar(1.0, p.device).to(p.dtype.compute)
            self._state[p] = zeros_like(_wide(p)), one
        found: tuple[Tensor, Tensor] = self._state[p]
        return found


@dataclass(eq=False)
class _Clock:
    """beta1 ** t and beta2 ** t of parameters that took the same number t of steps."""

    power1: Tensor
    power2: Tensor
    members: set[Tensor] = field(default_factory=set)

    def split(self, members: set[Tensor]) -> _Clock:
        """A clock of its own for some of the members."""
        self.members -= members
        return _Clock(self.power1.clone().detach(), self.power2.clone().detach(), members)


@dataclass(eq=False)
class _Moments:
    mean: Tensor
    square: Tensor
    clock: _Clock


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    m = beta1 m + (1 - beta1) g and v = beta2 v + (1 - beta2) g^2;
    p -= lr * weight_decay * p + lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        lr: learning rate.
        betas: (beta1, beta2).
        eps: added to the root, so in units of the gradient.
        weight_decay: share of the parameter that goes each step, times lr.
    Source: https://arxiv.org/abs/1711.05101

    >>> x = tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.0)
    >>> store = x.sum().backward()
    >>> optimizer.step()
    >>> x.detach()
    tensor([0.9000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise OutOfRange(message("AdamW", f"betas {betas} are not in [0, 1)"))
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def _update(self, params: list[Tensor], group: dict[str, Any], rate: Tensor) -> list[Tensor]:
        changed: list[Tensor] = []
        for clock, members in self._clocks(params).items():
            beta1, beta2 = group["betas"]
            clock.power1.hold((clock.power1 * beta1).node)
            clock.power2.hold((clock.power2 * beta2).node)
            size = rate / (1 - clock.power1)
            root = (1 - clock.power2).sqrt()
            decay = 1 - rate * group["weight_decay"]
            for p in members:
                self._update_one(p, group, (size, root, decay))
                moments = self._state[p]
                changed += [p, moments.mean, moments.square]
            changed += [clock.power1, clock.power2]
        return changed

    def _update_one(
        self, p: Tensor, group: dict[str, Any], scalars: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        assert p.grad is not None
        size, root, decay = scalars
        beta1, beta2 = group["betas"]
        moments, g = self._state[p], _wide(p.grad)
        mean = moments.mean + (g - moments.mean) * (1 - beta1)
        square = moments.square * beta2 + g * g * (1 - beta2)
        moments.mean.hold(mean.node)
        moments.square.hold(square.node)
        denominator = square.sqrt() / root + group["eps"]
        _hold(p, _wide(p) * decay - size * (mean / denominator))

    def _clocks(self, params: list[Tensor]) -> dict[_Clock, list[Tensor]]:
        """`params` by the clock that they share, with new state where there is none."""
        fresh = [p for p in params if p not in self._state]
        if fresh:
            one = _scalar(1.0, fresh[0].device)
            clock = _Clock(one, one.clone().detach(), set(fresh))
            for p in fresh:
                self._state[p] = _Moments(zeros_like(_wide(p)), zeros_like(_wide(p)), clock)
        found: dict[_Clock, list[Tensor]] = {}
        for p in params:
            found.setdefault(self._state[p].clock, []).append(p)
        for clock, members in list(found.items()):
            if len(members) != len(clock.members):  # the others sit this step out
                del found[clock]
                own = clock.split(set(members))
                found[own] = members
                for p in members:
                    self._state[p].clock = own
        return found
