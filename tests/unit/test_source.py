"""Source texts are parsed by one thread at a time."""

import sys
from concurrent.futures import ThreadPoolExecutor

from numbatorch.language.source import parse


def test_threads_parse_at_once() -> None:
    text = "\n".join(f"x{i} = {'(' * 40}{i} + y{i}{')' * 40}" for i in range(300))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(lambda _: len(parse(text).body), range(64)))
    finally:
        sys.setswitchinterval(before)
    assert sizes == [300] * 64
