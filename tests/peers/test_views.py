"""Changes in place through views, their gradients and what they refuse, beside PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import as_numpy, assert_close
from tests.peers.sides import Sides, torch


def beside(x: Any) -> Any:
    """The package whose tensor `x` is."""
    return nt if isinstance(x, nt.Tensor) else torch


def parts(h: Any, w: Any) -> None:
    pairs = beside(h).view_as_complex(h.view(3, 2, 2))
    pairs.imag.mul_(w[:2])
    pairs[1].real.add_(w[2:])
    beside(h).view_as_real(pairs)[2, :, 1] *= 3


def bits(h: Any, w: Any) -> None:
    as_integers = h.view(beside(h).int32)
    as_integers[0] = 0
    as_integers.view(beside(h).float32)[1].add_(w)
    h[1:].view(beside(h).int64).T[1].zero_()


def rows(h: Any, w: Any) -> None:
    for i, row in enumerate(h):
        row *= w[i] + i


def view_of_a_view(h: Any, w: Any) -> None:
    h[1:][0][2] = w[0]
    h[1:3].T[1].mul_(w[:2])


def later_views(h: Any, w: Any) -> None:
    first, flat = h[0], h.view(-1)
    first.mul_(w[0])
    flat[2:5] += first[:3].clone() * w[:3]
    first.add_(flat[8:].sum())


def halves(h: Any, w: Any) -> None:
    left, right = h.chunk(2, dim=1)
    left *= right
    right.exp_()


def old_values_are_used(h: Any, w: Any) -> None:
    h[1] = h[0].clone() * w
    h[0] += h[1].clone()
    h[:, 1:3] = h[:, :2].clone() * 2


def turned(h: Any, w: Any) -> None:
    view = h[1:]
    h.t_()
    assert h.shape == (4, 3) and h.stride() == (1, 4) and view.shape == (2, 4)
    h[1].mul_(w[:3])
    view.unsqueeze_(1).add_(w)
    view.squeeze_(1)
    view[0] *= 2
    assert view.storage_offset() == 4 and not h.is_contiguous()
    h.transpose_(0, 1)


def by_strides(h: Any, w: Any) -> None:
    h.T[1:].as_strided((2, 3), (5, 1)).mul_(w[:3])
    h[1:].as_strided((3,), (4,), 1).add_(w[0])
    h[2].as_strided((2, 2), (1, 3), 0)[0].mul_(w[:2])


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "a row": lambda h, w: h[0].mul_(w),
    "a column": lambda h, w: h[:, 1].add_(w[:3]),
    "every second row": lambda h, w: h[::2].mul_(w),
    "an element": lambda h, w: h[1, 2].mul_(w[0]),
    "the whole": lambda h, w: h.view(-1).mul_(2),
    "a transpose": lambda h, w: h.T.mul_(w[:3]),
    "a reshape that copies": lambda h, w: h.T.reshape(-1).mul_(2),
    "a contiguous copy": lambda h, w: h.T.contiguous().mul_(2),
    "a narrow of a permute": lambda h, w: h.permute(1, 0).narrow(0, 1, 2).mul_(w[:3]),
    "an unflattened": lambda h, w: h.unflatten(1, (2, 2))[:, 0].mul_(w[:2]),
    "squeezes": lambda h, w: h.unsqueeze(0)[..., None].squeeze().mul_(w),
    "an expanded size of one": lambda h, w: h[None].expand(1, 3, 4).mul_(w),
    "a fill": lambda h, w: h[1].fill_(3),
    "a copy": lambda h, w: h[1].copy_(w),
    "a masked fill": lambda h, w: h[1:].masked_fill_(h[1:] > 0, 0.5),
    "operators": lambda h, w: h[0].__imul__(w).__isub__(2),
    "picks, which are a copy": lambda h, w: h[[0, 2]].mul_(5),
    "a repeat, which is a copy": lambda h, w: h.repeat(1, 1).mul_(5),
    "a flip, which is a copy": lambda h, w: h.flip(0).mul_(5),
    "rows": lambda h, w: [h[i].mul_(w[i]) for i in range(3)],
    "views of views": view_of_a_view,
    "views taken before": later_views,
    "old values": old_values_are_used,
    "parts of complex numbers": parts,
    "a diagonal": lambda h, w: h.diagonal(1).mul_(w[:3]),
    "a diagonal below, of a transpose": lambda h, w: h.T.diagonal(-2).add_(w[:2]),
    "windows that stand apart": lambda h, w: h.unfold(1, 2, 2)[:, 1].mul_(w[:2]),
    "places that strides give": by_strides,
    "turned in place": turned,
    "parts of a split": lambda h, w: [p.mul_(w[0]) for p in h.tensor_split([1], dim=1)],
}


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "no_grad"])
@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_gradients_through_views(change: Any, device: str, recorded: bool) -> None:
    sides = Sides()
    x, w = sides.normal(3, 4, grad=True), sides.normal(4, grad=True)
    found = []
    for given, other in zip(x, w, strict=True):
        inputs = [given, other]
        if isinstance(given, nt.Tensor):
            inputs = [t.detach().to(device).clone().requires_grad_() for t in inputs]
        h = inputs[0] * 1.5
        row = h[0]
        with nt.set_grad_enabled(recorded), torch.set_grad_enabled(recorded):
            change(h, inputs[1])
        assert h.requires_grad and row.requires_grad and not h.is_leaf
        (h * h + row).sum().backward()
        found.append((h, inputs[0].grad, inputs[1].grad))
    for ours, theirs in zip(*found, strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert_close(as_numpy(ours), theirs.detach().numpy(), "gradient")


PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "rows in a loop": rows,
    "halves": halves,
    "a detached value": lambda h, w: h.detach()[0].mul_(2),
    "data": lambda h, w: h.data.add_(1),
    "unbound": lambda h, w: [part.mul_(i) for i, part in enumerate(h.unbind(1))],
    "split": lambda h, w: h.split([1, 3], dim=1)[1].add_(w[:3]),
    "select": lambda h, w: h.select(1, 2).zero_(),
    "bytes as another dtype": bits,
    "the upper of two splits": lambda h, w: h.hsplit(2)[1].zero_(),
    "at least three dimensions": lambda h, w: beside(h).atleast_3d(h)[0].add_(1),
    "resized": lambda h, w: h.resize_(2, 3).mul_(w[:3]),
    "in place of a slice": lambda h, w: h[:, 1:].__setitem__((slice(None), 0), w[0]),
}


@pytest.mark.parametrize("change", PLAIN.values(), ids=PLAIN)
def test_changes_through_views(change: Any, device: str) -> None:
    sides = Sides()
    (x, theirs), (w, other) = sides.normal(3, 4), sides.normal(4)
    ours = x.to(device).clone()
    change(ours, w.to(device))
    change(theirs, other)
    assert_close(as_numpy(ours), theirs.numpy(), "elementwise")


def without_gradient(h: Any) -> Any:
    with nt.no_grad() if isinstance(h, nt.Tensor) else torch.no_grad():
        return h[0]


REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "a leaf": lambda leaf, h: leaf.mul_(2),
    "a view of a leaf": lambda leaf, h: leaf[0].mul_(2),
    "assignment to a leaf": lambda leaf, h: leaf.__setitem__(0, 1.0),
    "a view of a view of a leaf": lambda leaf, h: leaf.T[1:].add_(1),
    "an expanded view": lambda leaf, h: h[:1].expand(3, 4).mul_(2),
    "a leaf turned in place": lambda leaf, h: leaf.t_(),
    "a view taken without gradients": lambda leaf, h: without_gradient(h).mul_(2),
    "a view of what no view expresses": lambda leaf, h: h.T.view(-1),
    "bytes that lie apart": lambda leaf, h: h.T.view(beside(h).uint8),
    "bytes that are no whole elements": lambda leaf, h: h[:, 1:].view(beside(h).float64),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_pytorch_refuses_is_refused(change: Any) -> None:
    sides = Sides()
    ours, theirs = sides.normal(3, 4, grad=True)
    with pytest.raises(RuntimeError):
        change(theirs, theirs * 1)
    with pytest.raises((RuntimeError, ValueError)):
        change(ours, ours * 1)


def test_leaves_change_through_views_without_gradients() -> None:
    found = []
    for leaf in Sides().normal(3, 4, grad=True):
        with nt.no_grad(), torch.no_grad():
            leaf[0] += 1
            leaf.T[2].mul_(3)
        leaf.detach()[1, 1] = 5
        view = leaf[1]
        assert leaf.is_leaf and leaf.requires_grad
        (leaf * leaf).sum().backward()
        found.append((as_numpy(leaf.detach()), as_numpy(leaf.grad), as_numpy(view.detach())))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
