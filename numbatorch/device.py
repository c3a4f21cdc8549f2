"""Devices by name. A device says where a value lives; its backend is looked up when it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from numbatorch import settings
from numbatorch.errors import DeviceError, message

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
    def type(self) -> str:
        """The kind, by PyTorch's name for it."""
        return self.kind

    @property
    def has_float64(self) -> bool:
        """Whether values can be float64; Metal has no such numbers."""
        return self.kind != "metal"


def device(name: "str | Device | None" = None) -> Device:
    """The device called `name`; None is the default device, "auto" the best that works here.

    Raises:
        DeviceError: no device has this name.

    >>> device("cuda:1").index
    1
    """
    if isinstance(name, Device):
        return name
    if name is not None and not isinstance(name, str):
        raise TypeError(message("device", f"{name!r} is no name of a device", _NAMES))
    text = settings.device() if name is None else name
    if text == AUTO:
        return _best()
    kind, colon, index = text.partition(":")
    if kind not in KINDS or (colon and not (kind == "cuda" and index.isdigit())):
        source = "NUMBATORCH_DEVICE" if name is None else "device"
        raise DeviceError(message(source, f"there is no device {text!r}", _NAMES))
    place = kind, int(index or 0)
    return _known.setdefault(place, Device(*place))


# One object for each, so that what asks whether two values are on one device is answered at once.
_known: dict[tuple[str, int], Device] = {}
_NAMES = f"devices are {AUTO}, {', '.join(KINDS)}; one of several GPUs is cuda:0, cuda:1, ..."


def _best() -> Device:
    return Device("cpu")


def answer_auto(best: Callable[[], Device]) -> None:
    """Let `best` say which device "auto" is: the backends, which lie above, know."""
    global _best
    _best = best
