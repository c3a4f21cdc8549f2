"""Moving and converting what modules hold: `to`, `half`, `cuda` and their like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.nn.hooks import Hooked
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad, zeros_like
from numbatorch.tensor.creation import Where


class Converted(Hooked):
    """What holds tensors of its own and others of its kind, all of which are converted."""

    def _own_tensors(self) -> Iterator[Tensor]:
        raise NotImplementedError

    def children(self) -> Iterator[Any]:
        """Those within this one."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Have all parameters, their gradients and buffers hold what `fn` makes of them.

        All conversions come here, module by module: a class that keeps tensors elsewhere overrides
        this, as in PyTorch.
        """
        if recurse:
            for child in self.children():
                child._apply(fn)
        with no_grad():
            for tensor in self._own_tensors():
                moved, gradient = fn(tensor), tensor.grad
                if moved.node is not tensor.node:
                    tensor.hold(moved.detach().node)
                if gradient is not None:
                    tensor.grad = fn(gradient)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move parameters and buffers, and convert those of floats; arguments of `Tensor.to`.

        Raises:
            DTypeError: the dtype is neither floating nor complex.
        """

        def change(tensor: Tensor) -> Tensor:
            moved = tensor.to(*args, **kwargs)
            if moved.dtype is not tensor.dtype and not (
                moved.is_floating_point() or moved.is_complex()
            ):
                rows = (f"parameter {describe(tensor.node)}", f"asked {moved.dtype}")
                problem = "parameters are converted to floating or complex dtypes only"
                raise DTypeError(message("Module.to", problem, *rows))
            if tensor.is_floating_point() or tensor.is_complex():
                return moved
            return tensor.to(device=moved.device)

        return self._apply(change)

    def to_empty(self, *, device: Where, recurse: bool = True) -> Self:
        """Move to a device without values: parameters and buffers are zeros there."""
        return self._apply(lambda x: zeros_like(x, device=device), recurse)

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to(device="cpu")

    def cuda(self, device: Where = None) -> Self:
        """Move to a CUDA device, the current one if None."""
        return self.to(device="cuda" if device is None else device)

    def type(self, dst_type: dt.Like) -> Self:
        """Convert all parameters and buffers, integers too."""
        return self._apply(lambda x: x.to(dst_type))

    def float(self) -> Self:
        """Convert to float32."""
        return self.to(dt.float32)

    def double(self) -> Self:
        """Convert to float64."""
        return self.to(dt.float64)

    def half(self) -> Self:
        """Convert to float16."""
        return self.to(dt.float16)

    def bfloat16(self) -> Self:
        """Convert to bfloat16."""
        return self.to(dt.bfloat16)
