"""Files that appear whole or not at all, JSON with one sentence for what cannot be read, and errors of the disk."""

import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from physics_sim.errors import SimulationError

LARGEST_JSON = 1 << 30
"""Bytes of a JSON file that is read."""
DEEPEST = 64
"""Levels of lists and tables in a JSON text that is read."""


@contextmanager
def partial_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, renamed into it if all goes well and removed if not."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, body: dict[str, Any], *, compact: bool = False) -> None:
    with partial_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(body, file, separators=(",", ":") if compact else None)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """The object in a file; raises SimulationError, which says `otherwise`, if there is none."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise SimulationError(f"{path} is too large to be read: {otherwise}.")
        body = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path} cannot be read: {otherwise} ({error}).") from None
    if not isinstance(body, dict):
        raise SimulationError(f"{path} is not what it should be: {otherwise}.")
    return body


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; raises ValueError if it is none, too deep, or holds numbers that nothing here has."""
    try:
        body = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [body]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                below += value.values() if isinstance(value, dict) else value
            elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
                raise ValueError("it holds a whole number of more than 64 bits")
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"it holds the number {value}")
        if not below:
            return body
        level = below
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Says in one sentence that the disk is full, or that `out` cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SimulationError(
                f"The disk is full; the complete shards in {out} are kept: make room and run the same command again."
            ) from None
        raise SimulationError(f"{out} cannot be written ({error.strerror or error}).") from None
