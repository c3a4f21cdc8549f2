"""Conversations: messages as prompts, what is kept between turns, and what an interrupt leaves."""

import copy
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.chat import Chat, saved_messages
from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.io.gguf import GGUFFile

TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token }}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def folder(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small Llama with a template of chats."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(fixtures / "pydoc-llama", folder)
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def generator(folder: Path) -> TextGenerator:
    return TextGenerator(folder)


def test_messages_are_a_prompt(generator: TextGenerator) -> None:
    messages = [{"role": "user", "content": "The for statement"}]
    prompt = "<s>user: The for statement\n<s>assistant: "
    ids = generator.tokenizer.encode(prompt, special=True)
    assert ids.count(generator.tokenizer.bos_id) == 2
    assert generator.generate(messages=messages, max_tokens=20) == generator.generate(ids, 20)
    assert generator.generate(messages=messages, max_tokens=20) == generator.generate(
        prompt, 20, special=True
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "neither a prompt nor messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "both a prompt and"),
        ({"prompt": "a", "tools": []}, "tools belongs to messages"),
        ({"prompt": "a", "variables": {"x": 1}}, "x belongs to messages"),
    ],
)
def test_prompt_or_messages(generator: TextGenerator, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        generator.stream(**wrong)


def test_turns_go_on_and_compute_only_what_is_new(generator: TextGenerator) -> None:
    chat, said = Chat(generator), ["The for statement", "and while", "and if"]
    for text in said:
        answer = chat.stream(text, 12)
        pieces = "".join(answer)
        before = chat.messages[:-1]
        assert chat.messages[-2:] == [
            {"role": "user", "content": text},
            {"role": "assistant", "content": pieces},
        ]
        assert pieces == generator.generate(
            generator.template.encode(generator.tokenizer, before), 12
        )
        if len(before) > 1:
            assert answer.counts.kept_tokens > 10
        assert answer.counts.prompt_tokens > answer.counts.kept_tokens


def test_what_is_kept_gives_the_logits_of_all(generator: TextGenerator) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(2, 2048, 70).tolist()
    second = [*first[:41], *rng.integers(2, 2048, 30).tolist()]
    decoder = Decoder(generator.model)
    decoder.feed(first)
    assert decoder.rewind(second) == 41
    found = decoder.feed(second[41:])
    assert np.abs(found - generator.model.logits(second)[-1]).max() <= 1e-4
    assert decoder.rewind(second) == len(second) - 1  # its logits are not kept


def test_conversations_do_not_take_each_others_memory(generator: TextGenerator) -> None:
    one, other = Chat(generator, system="one"), Chat(generator, system="other")
    for chat in (one, other, one, other):
        answer = chat.stream("The for statement", 6)
        list(answer)
        generator.generate("class", 3)
        if len(chat.messages) > 3:
            assert answer.counts.kept_tokens > 10


def test_an_answer_that_is_left_is_kept_as_far_as_it_was_read(generator: TextGenerator) -> None:
    chat = Chat(generator)
    answer = chat.stream("The for statement", 30)
    text = next(answer) + next(answer)
    answer.close()
    assert chat.messages[-1] == {"role": "assistant", "content": text}
    assert answer.text == text
    again = chat.stream("go on", 5)
    list(again)
    assert again.counts.kept_tokens > 5


def interrupted(chat: Chat, step: int) -> Iterator[str]:
    feed, steps = Decoder.feed, iter(range(100))

    def once(self: Decoder, ids: list[int]) -> np.ndarray:
        logits = feed(self, ids)
        if next(steps) == step:
            raise KeyboardInterrupt
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "feed", once)
        yield from chat.stream("The for statement", 30)


@pytest.mark.parametrize("step", [0, 3])
def test_an_interrupt_leaves_the_conversation(generator: TextGenerator, step: int) -> None:
    chat = Chat(generator, system="be brief")
    pieces = []
    with pytest.raises(KeyboardInterrupt):
        pieces.extend(interrupted(chat, step))
    said = [m["role"] for m in chat.messages]
    assert said == (["system"] if step == 0 else ["system", "user", "assistant"])
    chat.send("again", 3)
    assert [m["role"] for m in chat.messages] == [*said, "user", "assistant"]


def test_an_error_leaves_the_conversation_as_it_was(generator: TextGenerator) -> None:
    chat = Chat(generator)
    with pytest.raises(nt.OutOfRange, match="does not fit into the context"):
        chat.stream("for " * 600)
    with pytest.raises(TypeError, match="a message is a text, not int"):
        chat.stream(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="text holds a lone surrogate"):
        chat.stream("\ud800")
    assert chat.messages == []


def test_the_system_is_said_first_and_stays(generator: TextGenerator) -> None:
    chat = Chat(generator, system="one")
    chat.send("The for statement", 2)
    chat.system = "other"
    assert [m["role"] for m in chat.messages] == ["system", "user", "assistant"]
    chat.clear()
    assert chat.messages == [{"role": "system", "content": "other"}] and chat.system == "other"
    chat.system = None
    assert chat.messages == [] and chat.system is None


def test_a_conversation_is_saved_and_goes_on(generator: TextGenerator, tmp_path: Path) -> None:
    chat = Chat(generator, system="ünï")
    chat.send("The for statement", 5)
    chat.save(tmp_path / "chat.json")
    other = Chat(generator)
    other.load(tmp_path / "chat.json")
    assert other.messages == chat.messages
    assert other.send("more", 5) == chat.send("more", 5)


@pytest.mark.parametrize("text", ["", "[]", '{"messages": 5}', '{"messages": [{"content": "a"}]}'])
def test_a_file_that_is_no_conversation(
    generator: TextGenerator, tmp_path: Path, text: str
) -> None:
    (tmp_path / "x.json").write_text(text)
    chat = Chat(generator, system="stays")
    with pytest.raises(nt.FormatError, match=r"x\.json"):
        chat.load(tmp_path / "x.json")
    assert chat.system == "stays"
    with pytest.raises(nt.FormatError, match=r"^chat: is a folder, not a file\n  file [^\n]*$"):
        chat.load(tmp_path)


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"role": "user"}, "message 0 has no content"),
        ({"role": "user", "content": 5}, "content of message 0 is int"),
        ({"role": "user", "content": []}, "the chat template fails"),
    ],
    ids=str,
)
def test_a_conversation_that_the_template_does_not_take(
    generator: TextGenerator, tmp_path: Path, said: dict[str, Any], part: str
) -> None:
    strict = copy.copy(generator)
    strict.template = ChatTemplate({"default": "{{ messages[0].role + messages[0].content }}"}, {})
    (tmp_path / "x.json").write_text(json.dumps({"messages": [said]}))
    chat = Chat(strict, system="stays")
    with pytest.raises(nt.FormatError, match=rf"{part}[\s\S]*x\.json"):
        chat.load(tmp_path / "x.json")
    assert chat.system == "stays"


def test_a_conversation_is_copied_and_pickled(generator: TextGenerator) -> None:
    chat = Chat(generator)
    chat.send("The for statement", 5)
    expected = copy.deepcopy(chat).send("more", 5)
    assert pickle.loads(pickle.dumps(chat)).send("more", 5) == expected


def with_generation_config(folder: Path, target: Path, **values: Any) -> TextGenerator:
    shutil.copytree(folder, target)
    (target / "generation_config.json").write_text(json.dumps(values))
    return TextGenerator(target)


def test_generation_config_gives_defaults(folder: Path, tmp_path: Path) -> None:
    values = {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1}
    found = with_generation_config(folder, tmp_path / "a", **values)
    how: dict[str, Any] = {"top_k": 20, "repeat_penalty": 1.1, "repeat_last_n": -1}
    assert found.defaults == {"temperature": 0.7, **how}
    plain = TextGenerator(folder)
    expected = plain.generate("class", 20, seed=3, temperature=0.7, **how)
    assert found.generate("class", 20, seed=3) == expected
    greedy = plain.generate("class", 20, temperature=0.0, **how)
    assert found.generate("class", 20, temperature=0.0) == greedy


def test_without_sampling_only_penalties_are_taken(folder: Path, tmp_path: Path) -> None:
    values = {"do_sample": False, "temperature": 0.7, "top_p": 0.5, "repetition_penalty": 1.1}
    found = with_generation_config(folder, tmp_path / "a", **values)
    assert found.defaults == {"repeat_penalty": 1.1, "repeat_last_n": -1}


def test_a_default_that_is_no_number_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(nt.FormatError, match=r"top_k is 'x', not a number(.|\n)*generation_config"):
        with_generation_config(folder, tmp_path / "a", do_sample=True, top_k="x")


def test_keys_of_gguf_give_defaults(tmp_path: Path) -> None:
    from numbatorch.generation import defaults

    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "llama")
    writer.add_float32("general.sampling.temp", 0.5)
    writer.add_int32("general.sampling.top_k", 20)
    writer.add_int32("general.sampling.penalty_last_n", 32)
    writer.add_string("general.sampling.sequence", "temperature;top_k;typ_p")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = defaults.from_gguf(GGUFFile(tmp_path / "a.gguf"))
    assert found == {"temperature": 0.5, "top_k": 20, "repeat_last_n": 32}
    order = defaults.order_from_gguf(GGUFFile(tmp_path / "a.gguf"))
    assert order == ["temperature", "top_k", "typical_p"]


def test_a_list_of_messages_is_a_conversation(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    said = [{"role": "alien", "content": "hi"}]
    file.write_text(json.dumps(said))
    assert saved_messages(file) == said
    file.write_text(json.dumps([*said, {"content": "no"}]))
    with pytest.raises(nt.FormatError, match="message 1 has no role"):
        saved_messages(file)
