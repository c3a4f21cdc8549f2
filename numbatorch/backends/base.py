"""What a backend does: it holds buffers and realizes nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from numbatorch.apart import import_module
from numbatorch.device import Device, answer_auto
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class Backend(Protocol):
    """One device's memory and execution."""

    def realize(self, nodes: Sequence[Node], order: list[Node] | None = None) -> None:
        """Give every node of `nodes` a buffer that holds its value.

        Args:
            order: all that they need, inputs before users, where it is known.
        """

    def realize_small(self, root: Node, known: bool = False) -> bool:
        """Give a small graph its value by a short way, if there is one; whether it was done.

        Args:
            known: do it only if nothing has to be made first and no run lasts; no lock is needed.
        """

    def from_numpy(self, array: Array, dtype: DType) -> Any:
        """A buffer with the array's elements; shares memory where it can."""

    def zeros(self, shape: Shape, dtype: DType) -> Any:
        """A buffer of zeros whose memory goes back to the device once it is dropped, for what is
        large and lives long; where the system gives memory page by page, as pages are written."""

    def to_numpy(self, buffer: Any, node: Node) -> Array:
        """The buffer's elements under the node's shape and dtype; may share memory."""

    def view_to_numpy(self, buffer: Any, dtype: DType, layout: Layout) -> Array | None:
        """A copy of the elements of a buffer that a layout names; None where it takes a plan."""

    def empty_cache(self) -> None:
        """Give memory that waits to be used again back to the device."""


_backends: dict[Device, Backend] = {}


def backend(device: Device) -> Backend:
    """The backend of `device`, loaded on first use.

    Raises:
        BackendUnavailable: the device is not there, or what drives it is not installed.
    """
    found = _backends.get(device)
    if found is None:
        found = _backends.setdefault(device, _load(device))  # a signal handler may have been first
    return found


def loaded() -> list[Backend]:
    """The backends that were asked for so far."""
    return list(_backends.values())


def install(device: Device, runner: Backend | None) -> Backend | None:
    """Let `runner` be the backend of `device` from now on; None undoes it. Returns the last one."""
    before = _backends.pop(device, None)
    if runner is not None:
        _backends[device] = runner
    return before


def _load(device: Device) -> Backend:
    if device.kind == "numpy":
        import_module("numbatorch.backends.reference")
        from numbatorch.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if device.kind == "cpu":
        import_module("numbatorch.backends.cpu.backend")
        from numbatorch.backends.cpu.backend import CPUBackend

        return CPUBackend()
    from numbatorch.backends.gpu import GPUBackend

    if device.kind == "cuda":
        from numbatorch.backends.cuda import open_runtime

        return GPUBackend(open_runtime(device.index))
    from numbatorch.metal.runtime import open_runtime as open_metal

    return GPUBackend(open_metal(device.index))


def _best() -> Device:
    from numbatorch.backends.devices import best

    return best()


answer_auto(_best)
