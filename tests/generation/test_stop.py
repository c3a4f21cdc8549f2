"""Stop strings, whatever the cuts between pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch.generation.stop import StopFilter

TEXTS = st.text("abX\u00e9", max_size=20)
STOPS = st.lists(st.text("abX\u00e9", min_size=1, max_size=4), max_size=3)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def whole(text: str, stops: list[str]) -> str:
    """The text up to where the first stop string is complete, without it."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


def run(pieces: list[str], stops: list[str]) -> tuple[list[str], StopFilter]:
    found = StopFilter(stops)
    out = [found.feed(piece) for piece in pieces]
    return [*out, "" if found.found is not None else found.end()], found


@given(TEXTS, STOPS, st.lists(st.integers(0, 30), max_size=20))
def test_the_text_before_the_first_complete_stop_string_is_given_out(
    text: str, stops: list[str], places: list[int]
) -> None:
    out, found = run(cut(text, places), stops)
    assert "".join(out) == whole(text, stops)
    assert (found.found is not None) == any(stop in text for stop in stops)


@given(TEXTS, STOPS)
def test_nothing_is_held_back_that_cannot_match(text: str, stops: list[str]) -> None:
    found = StopFilter(stops)
    given_out = found.feed(text)
    held = text[len(given_out) :]
    if found.found is None and held:
        assert any(stop.startswith(held) for stop in stops)


@pytest.mark.parametrize("wrong", [[""], ["a", ""], [3]])
def test_an_empty_stop_string_is_an_error(wrong: list) -> None:
    with pytest.raises((TypeError, ValueError), match="stop"):
        StopFilter(wrong)
