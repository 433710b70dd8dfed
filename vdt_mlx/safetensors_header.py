"""The header of a safetensors file, read with every claim in it checked: for checkpoints of ours and of others."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vdt_mlx.errors import VDTError
from vdt_mlx.reading import check_stand_in

MAX_HEADER = 4 * 2**20
"""Largest header that is read; that of VDT-L/2 has 60 kB."""
MAX_DIMENSIONS = 8
ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1},
    **{"U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
}
"""The types of element that are known, and the bytes of one."""


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its bytes are in the file."""
    stop: int


@dataclass(frozen=True)
class Header:
    """A header that is right: the tensors lie one after another and fill the file."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a file. Raises VDTError if the file is missing, unreadable or not right in every claim."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            start += file.read(size if size <= MAX_HEADER else 200)
            length = path.stat().st_size
    except FileNotFoundError:
        raise VDTError(f"{path.parent} lacks the file {path.name}.") from None
    except OSError as error:
        raise VDTError(f"{path} cannot be read ({error.strerror}).") from None
    return parse_header(start, length, str(path))


def parse_header(start: Any, length: int, source: str) -> Header:
    """The header of a file of `length` bytes that begins with `start` (bytes, or a memory map of the whole file)."""
    header, data = _parse(start, length, source)
    metadata = header.pop("__metadata__", None) or {}  # MLX writes null where it was given none
    if not isinstance(metadata, dict) or any(type(value) is not str for value in metadata.values()):
        _fail(source, "its metadata is not a table of texts")
    entries = {name: _entry(name, entry, data, length, source) for name, entry in header.items()}
    position = data
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
        if entry.start != position:
            _fail(source, "its tensors overlap or leave holes")
        position = entry.stop
    if position != length:
        _fail(source, "other bytes follow its last tensor")
    return Header(entries, metadata)


def _fail(source: str, fault: str) -> NoReturn:
    raise VDTError(f"{source} is not a valid safetensors file: {fault}.")


def _parse(start: Any, length: int, source: str) -> tuple[dict[str, Any], int]:
    """The JSON in front of the tensors, and where their bytes start."""
    check_stand_in(bytes(start[:200]), source)
    size = int.from_bytes(start[:8], "little")
    if length < 8 or size > MAX_HEADER:
        _fail(source, f"its header claims {size:,} bytes")
    if 8 + size > length:
        _fail(source, "it was cut short inside of its header")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            _fail(source, "a name occurs twice in its header")
        return table

    def small(text: str) -> int:
        if len(text) > 20:
            _fail(source, "its header holds an absurd number")
        return int(text)

    try:
        header = json.loads(start[8 : 8 + size], object_pairs_hook=unique, parse_int=small)
    except (ValueError, RecursionError):
        _fail(source, "its header is not JSON")
    if not isinstance(header, dict):
        _fail(source, "its header is not a table")
    return header, 8 + size


def _entry(name: str, entry: Any, data: int, length: int, source: str) -> Entry:
    """What one entry says, every claim checked but that none overlap."""
    shown = ascii(name[:80])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _fail(source, f"its entry {shown} is not a tensor's")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(code) is not str or code not in ITEM_BYTES:
        raise VDTError(f"{source}: {shown} is of the type {ascii(code)[:20]}, which is not supported.")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
        _fail(source, f"its entry {shown} is not a tensor's")
    if max(shape, default=0) > 2**40 or math.prod(shape) > 2**40:
        raise VDTError(f"{source}: {shown} declares a tensor of shape {ascii(shape)[:60]}, which nothing has.")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[code] or begin > end:
        _fail(source, f"{shown} has {end - begin:,} bytes, which is not what its shape needs")
    if data + end > length:
        _fail(source, f"it was cut short: {shown} ends at byte {end:,} of {length - data:,} (download it again)")
    return Entry(code, tuple(shape), data + begin, data + end)


def _whole(values: Any) -> bool:
    return isinstance(values, Sequence) and all(type(value) is int and value >= 0 for value in values)
