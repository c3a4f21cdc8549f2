"""Reading the values of a checkpoint's configuration, with errors that name file and key."""

from collections.abc import Mapping
from typing import Any, NoReturn

from numbatorch.errors import FormatError, message


class Fields:
    """A configuration: keys to values of JSON or of GGUF metadata.

    Attributes:
        values: the configuration.
    """

    def __init__(
        self, operator: str, values: Mapping[str, Any], prefix: str = "", place: str = "config.json"
    ) -> None:
        self.values = values
        self._operator = operator
        self._prefix = prefix
        self._place = place

    def fail(self, problem: str, *rows: str) -> NoReturn:
        """Raise a FormatError about this configuration."""
        raise FormatError(message(self._operator, problem, f"file {self._place}", *rows))

    def get(self, key: str, default: Any) -> Any:
        """The value, or the default where it is absent or null; without one it is required."""
        value = self.values.get(self._prefix + key)
        if value is not None:
            return value
        if default is None:
            self.fail(f"{self._prefix}{key} is missing")
        return default

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive integer")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive finite number."""
        value = self.get(key, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not 0 < value < float("inf"):
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"{self._prefix}{key} is {_short(value)}, neither true nor false")
        return value

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words."""
        value = self.get(key, default)
        self.require(key, default, known)
        return str(value)

    def require(self, key: str, default: Any, known: tuple[Any, ...]) -> None:
        """Fail unless the value is one of those that are supported here."""
        value = self.get(key, default)
        if isinstance(value, list | dict) or value not in known:
            words = ", ".join(map(str, known))
            self.fail(f"{self._prefix}{key} is {_short(value)}", f"supported: {words}")

    def mapping(self, key: str) -> "Fields | None":
        """A configuration inside of this one, or None."""
        value = self.values.get(self._prefix + key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.fail(f"{self._prefix}{key} is {_short(value)}, not an object")
        return Fields(self._operator, value, "", f"{self._place}, {key}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
