"""Devices by name. A device says where a value lives; its backend is looked up when it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from numbatorch import settings
from numbatorch.errors import DeviceError

KINDS = ("cpu", "numpy", "cuda", "metal")
AUTO = "auto"


@dataclass(frozen=True)
class Device:
    """`cpu`, `numpy` (the reference), `cuda` or `metal`, and which of several.

    >>> device("cuda:1")
    device(kind='cuda', index=1)
    """

    kind: str
    index: int = 0

    def __repr__(self) -> str:
        return f"device(kind={self.kind!r}, index={self.index})"

    def __str__(self) -> str:
        return self.kind if self.index == 0 else f"{self.kind}:{self.index}"

    @property
    def has_float64(self) -> bool:
        """Whether values can be float64; Metal has no such numbers."""
        return self.kind != "metal"


def device(name: "str | Device | None" = None) -> Device:
    """The device called `name`; None is the default device, "auto" the best that works here."""
    if isinstance(name, Device):
        return name
    text = settings.device() if name is None else name
    if text == AUTO:
        return _automatic[-1]()
    kind, _, index = text.partition(":")
    if kind not in KINDS or (index and not index.isdigit()):
        raise DeviceError(
            f"device: {text!r} is none of {AUTO}, {', '.join(KINDS)}, with an optional :index"
        )
    return Device(kind, int(index or 0))


_automatic: list[Callable[[], Device]] = [lambda: Device("cpu")]


def automatic(find: Callable[[], Device]) -> Callable[[], Device]:
    """Decorator of the function that finds what "auto" is; it lies above, beside the backends."""
    _automatic.append(find)
    return find
