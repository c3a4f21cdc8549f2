"""What a backend does: it holds buffers and realizes nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import BackendUnavailable, message
from numbatorch.graph import Node

Array = np.ndarray[Any, Any]


class Backend(Protocol):
    """One device's memory and execution."""

    def realize(self, nodes: Sequence[Node]) -> None:
        """Give every node of `nodes` a buffer that holds its value."""

    def from_numpy(self, array: Array, dtype: DType) -> Any:
        """A buffer with the array's elements; shares memory where it can."""

    def to_numpy(self, buffer: Any, node: Node) -> Array:
        """The buffer's elements under the node's shape and dtype; may share memory."""


_backends: dict[str, Backend] = {}


def backend(device: Device) -> Backend:
    """The backend of `device`, loaded on first use."""
    found = _backends.get(device.kind)
    if found is None:
        found = _backends[device.kind] = _load(device.kind)
    return found


def _load(kind: str) -> Backend:
    if kind == "numpy":
        from numbatorch.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if kind == "cpu":
        from numbatorch.backends.cpu.backend import CPUBackend

        return CPUBackend()
    raise BackendUnavailable(
        message("device", f"there is no {kind} backend here yet", "available: cpu, numpy")
    )
