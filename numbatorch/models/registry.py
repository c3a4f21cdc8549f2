"""Which class a checkpoint is for: a table of names that the files of the classes make.

A file declares its class by `@architecture(...)`. The files of this folder are found by reading
that line of each, so that looking a name up imports the one file that has it.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, overload

from numbatorch import entry_points, nn
from numbatorch.apart import import_module
from numbatorch.errors import message
from numbatorch.models.protocols import (
    CausalLM,
    ImageClassifier,
    ImageEncoder,
    SpeechToText,
    TextEncoder,
)

TASKS = (
    "text-generation",
    "feature-extraction",
    "speech-to-text",
    "image-classification",
    "image-feature-extraction",
)

# Kinds of files, and the method that makes a model from one.
BUILDERS = {
    "hf": "from_hf",
    "gguf": "from_gguf",
    "ctranslate2": "from_ctranslate2",
    "torch": "from_torch",
}

AnyCausalLM = TypeVar("AnyCausalLM", bound=CausalLM)
AnyTextEncoder = TypeVar("AnyTextEncoder", bound=TextEncoder)
AnySpeechToText = TypeVar("AnySpeechToText", bound=SpeechToText)
AnyImageClassifier = TypeVar("AnyImageClassifier", bound=ImageClassifier)
AnyImageEncoder = TypeVar("AnyImageEncoder", bound=ImageEncoder)
Names = str | tuple[str, ...]
Key = tuple[str, str]  # kind of file, name in it

_DECLARATION = re.compile(r"^@architecture(\(.*?\))\nclass (\w+)", re.MULTILINE | re.DOTALL)

_classes: dict[Key, type[nn.Module]] = {}  # of the files imported so far


class Declared(NamedTuple):
    """What a file of this folder says of its class."""

    module: str
    name: str  # of the class
    keys: tuple[Key, ...]


@overload
def architecture(
    *, task: Literal["text-generation"], hf: Names = (), gguf: Names = ()
) -> Callable[[type[AnyCausalLM]], type[AnyCausalLM]]: ...


@overload
def architecture(
    *, task: Literal["feature-extraction"], hf: Names = (), gguf: Names = ()
) -> Callable[[type[AnyTextEncoder]], type[AnyTextEncoder]]: ...


@overload
def architecture(
    *, task: Literal["speech-to-text"], hf: Names = (), gguf: Names = (), ctranslate2: Names = ()
) -> Callable[[type[AnySpeechToText]], type[AnySpeechToText]]: ...


@overload
def architecture(
    *, task: Literal["image-classification"], hf: Names = (), gguf: Names = (), torch: Names = ()
) -> Callable[[type[AnyImageClassifier]], type[AnyImageClassifier]]: ...


@overload
def architecture(
    *, task: Literal["image-feature-extraction"], hf: Names = (), gguf: Names = ()
) -> Callable[[type[AnyImageEncoder]], type[AnyImageEncoder]]: ...


def architecture(
    *,
    task: str,
    hf: Names = (),
    gguf: Names = (),
    ctranslate2: Names = (),
    torch: Names = (),
) -> Callable[[Any], Any]:
    """Declare which checkpoints a class is for. The arguments are written as literals.

    Args:
        task: what a model does: "text-generation" (the class is a `CausalLM`),
            "feature-extraction" (a `TextEncoder`), "speech-to-text" (a `SpeechToText`),
            "image-classification" (an `ImageClassifier`) or "image-feature-extraction" (an
            `ImageEncoder`). The class gets it as `task`.
        hf: names under `architectures` in config.json, and its `model_type`, which has to be that
            of a class of the same file; the class has `from_hf(config, weights, device)`.
        gguf: names under `general.architecture`; the class has `from_gguf(file, device)`.
        ctranslate2: names of specs in model.bin; the class has `from_ctranslate2(file, device)`.
        torch: names of tensors by which a `.pth` is known; the class has
            `from_torch(weights, device)`.
    Raises:
        ValueError: another class has the name, or an unknown task.
        TypeError: the class lacks the method.
    """
    if task not in TASKS:
        problem = f"task is {task!r}, one of: {', '.join(TASKS)}"
        raise ValueError(message("architecture", problem))
    keys = _keys(hf=hf, gguf=gguf, ctranslate2=ctranslate2, torch=torch)

    def declare(cls: type[nn.Module]) -> type[nn.Module]:
        for kind, name in keys:
            builder, other = BUILDERS[kind], _classes.get((kind, name))
            if not callable(getattr(cls, builder, None)):
                problem = f"{cls.__name__} declares {kind} names and has no {builder}"
                raise TypeError(message("architecture", problem))
            if other is not None and _place(other) != _place(cls):
                rows = (f"first {_place(other)}", f"then {_place(cls)}")
                raise ValueError(message("architecture", f"{name} is declared twice", *rows))
        _classes.update(dict.fromkeys(keys, cls))
        cls.task = task  # type: ignore[attr-defined]
        return cls

    return declare


def find(kind: str, name: str) -> Any:
    """The class for a name in files of a kind; None if nothing here or in plugins has it."""
    key = (kind, name)
    if key not in _classes:
        for declared in declarations(name):
            if key in declared.keys:
                import_module(declared.module)
                return _classes[key]
        entry_points.load(entry_points.ARCHITECTURES)
    return _classes.get(key)


def names_of(cls: type[nn.Module], kind: str) -> list[str]:
    """The names that a class was declared with for files of a kind, in their order."""
    return [name for (of, name), found in _classes.items() if of == kind and found is cls]


def known(kind: str) -> list[str]:
    """The names that are found in files of a kind."""
    keys = {key for declared in declarations() for key in declared.keys} | set(_classes)
    return sorted(name for of, name in keys if of == kind)


def declarations(holding: str = "") -> list[Declared]:
    """What the files of this folder declare, those whose text has `holding` somewhere."""
    package = __name__.rpartition(".")[0]
    found = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes().decode()
        declared = _DECLARATION.findall(text) if holding in text else []
        for arguments, name in declared:
            call = ast.parse(f"f{arguments}", mode="eval").body
            assert isinstance(call, ast.Call)
            words = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            keys = _keys(**{kind: words.get(kind, ()) for kind in BUILDERS})
            found.append(Declared(f"{package}.{path.stem}", name, keys))
    return found


def _keys(**by_kind: Names) -> tuple[Key, ...]:
    return tuple(
        (kind, name)
        for kind, names in by_kind.items()
        for name in ([names] if isinstance(names, str) else names)
    )


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
