"""What references take from SciPy, which is loaded on first use."""

from typing import Any

from numbatorch.apart import import_module


def scipy(name: str) -> Any:
    """The module of SciPy of this name, imported where no handler comes in between."""
    return import_module(f"scipy.{name}")
