"""The small Llama's files that tests write: the very bytes of the shared fixtures."""

import pytest

from tests import pydoc_llama


@pytest.mark.parametrize("kind", pydoc_llama.FILE_TYPES)
def test_written_file_is_the_shared_one(kind, tmp_path, shared_fixtures):
    path = tmp_path / f"pydoc-llama-{kind}.gguf"
    pydoc_llama.write(path, kind)
    assert path.read_bytes() == (shared_fixtures / "pydoc-llama" / path.name).read_bytes()


def test_carried_file_is_found_where_it_is(fixtures, tmp_path):
    carried = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    assert pydoc_llama.find(carried.name, tmp_path) == carried
