"""A playground with a tiny model in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from play_server import Server, start

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="session")
def play(tiny_checkpoint: Path) -> Iterator[Server]:
    server = start(tiny_checkpoint)
    yield server
    server.process.terminate()
    server.process.wait(20)


@pytest.fixture
def own_server(tiny_checkpoint: Path) -> Iterator[Server]:
    server = start(tiny_checkpoint)
    yield server
    server.process.kill()
    server.process.wait(20)
