"""Fixtures of the tests beside other frameworks; each test file skips where its peer is absent."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.peers.sides import Sides


@pytest.fixture
def sides() -> "Sides":
    from tests.peers.sides import Sides

    return Sides()


@pytest.fixture(scope="session")
def vocabularies(pytestconfig: pytest.Config) -> Path:
    """Folder of the vocabularies that llama.cpp tests itself with; skips without a network."""
    from tests.peers.vocabularies import fetch

    assert pytestconfig.cache is not None
    return fetch(pytestconfig.cache)


@pytest.fixture(autouse=True)
def _quiet_peers() -> Iterator[None]:
    """A peer's own deprecations are not our failures."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch|transformers)(\.|$)")
        yield
