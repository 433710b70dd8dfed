"""safetensors files: read with every claim of the header checked, written a piece at a time."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from vdt_mlx.errors import VDTError
from weights.formats.tensors import NUMPY, Storage, StoredTensor, check_shape, contiguous
from weights.formats.torch_reader import MappedFile

MAX_HEADER = 4 * 2**20
"""Largest header that is read; that of VDT-L/2 has 60 kB."""

CONFIG_KEY = "vdt_mlx_config"
"""Where our own exports keep their configuration, in the metadata."""

TYPES = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in TYPES.items()}


class SafetensorsFile:
    """An opened file: `tensors` by name, and the `metadata` of its header. Use it as a context manager."""

    def __init__(self, path: str | Path):
        self.mapped = MappedFile.open(path)
        try:
            self.tensors, self.metadata = _read_header(self.mapped)
        except BaseException:
            self.mapped.close()
            raise

    def __enter__(self) -> "SafetensorsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mapped.close()


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these (9 or more) bytes could be one: a header length, then a JSON object."""
    return len(start) >= 9 and start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") < 2**40


def _read_header(mapped: MappedFile) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    header, start = _parse_header(mapped)
    metadata = header.pop("__metadata__", None) or {}  # MLX writes null where it was given none
    if not isinstance(metadata, dict) or any(type(value) is not str for value in metadata.values()):
        _fail(mapped, "its metadata is not a table of texts")
    tensors = {name: _entry(mapped, name, entry, start) for name, entry in header.items()}
    position = start
    for storage in sorted((tensor.storage for tensor in tensors.values()), key=lambda s: (s.start, s.nbytes)):
        if storage.start != position:
            _fail(mapped, "its tensors overlap or leave holes")
        position += storage.nbytes
    if position != len(mapped):
        _fail(mapped, "other bytes follow its last tensor")
    return tensors, metadata


def _fail(mapped: MappedFile, fault: str) -> NoReturn:
    raise VDTError(f"{mapped.path} is not a valid safetensors file: {fault}.")


def _parse_header(mapped: MappedFile) -> tuple[dict[str, Any], int]:
    """The JSON in front of the tensors, and where their bytes start."""
    size = int.from_bytes(mapped.file[:8], "little")
    if len(mapped) < 8 or size > MAX_HEADER:
        _fail(mapped, f"its header claims {size:,} bytes")
    if 8 + size > len(mapped):
        _fail(mapped, "it was cut short inside of its header")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            _fail(mapped, "a name occurs twice in its header")
        return table

    def small(text: str) -> int:
        if len(text) > 20:
            _fail(mapped, "its header holds an absurd number")
        return int(text)

    try:
        header = json.loads(mapped.file[8 : 8 + size], object_pairs_hook=unique, parse_int=small)
    except (ValueError, RecursionError):
        _fail(mapped, "its header is not JSON")
    if not isinstance(header, dict):
        _fail(mapped, "its header is not a table")
    return header, 8 + size


def _entry(mapped: MappedFile, name: str, entry: Any, start: int) -> StoredTensor:
    """The tensor that an entry of the header describes, every claim checked but that none overlap."""
    shown = ascii(name[:80])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _fail(mapped, f"its entry {shown} is not a tensor's")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(code) is not str or code not in TYPES:
        raise VDTError(f"{mapped.path}: {shown} is of the type {ascii(code)[:20]}, which is not supported.")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2 or len(shape) > 8:
        _fail(mapped, f"its entry {shown} is not a tensor's")
    check_shape(tuple(shape), f"{mapped.path}, {shown},")
    begin, end = offsets
    numel = math.prod(shape)
    if end - begin != numel * NUMPY[TYPES[code]].itemsize or begin > end:
        _fail(mapped, f"{shown} has {end - begin:,} bytes, which is not what its shape needs")
    data = len(mapped) - start
    if end > data:
        _fail(mapped, f"it was cut short: {shown} ends at byte {end:,} of {data:,} (download it again)")
    return contiguous(Storage(TYPES[code], numel, mapped.file, start + begin), tuple(shape))


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


class SafetensorsWriter:
    """Writes a safetensors file in one pass: the layout is known first, the bytes follow in its order.

        with SafetensorsWriter(path, {"weight": ("fp16", (4, 4))}, {"source_sha256": "0" * 64}) as writer:
            for name in writer.order:
                writer.write(pieces of name)
            writer.patch("source_sha256", digest)       # same length as before

    Raises VDTError when what was written is not what was announced.
    """

    def __init__(self, path: Path, layout: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]):
        self.order = list(layout)
        self.metadata = metadata
        self.path = path
        entries: dict[str, Any] = {"__metadata__": self.metadata}
        position = 0
        for name in self.order:
            dtype, shape = layout[name]
            numel = 1
            for n in shape:
                numel *= n
            end = position + numel * NUMPY[dtype].itemsize
            entries[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [position, end]}
            position = end
        self.expected = position
        self.written = 0
        body = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        self.header = body + b" " * (-len(body) % 8)
        self.file = path.open("wb")
        self.file.write(len(self.header).to_bytes(8, "little") + self.header)

    def write(self, pieces: Iterable[np.ndarray]) -> None:
        """Appends the elements of the next tensor of `order`."""
        for piece in pieces:
            self.written += self.file.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)

    def patch(self, key: str, value: str) -> None:
        """Replaces a value of the metadata by another of the same length."""
        old = json.dumps({key: self.metadata[key]}).encode()[1:-1].replace(b": ", b":", 1)
        new = json.dumps({key: value}).encode()[1:-1].replace(b": ", b":", 1)
        at = self.header.find(old)
        if at < 0 or len(old) != len(new):
            raise ValueError(f"{key} cannot be replaced by a value of another length")
        self.file.seek(8 + at)
        self.file.write(new)
        self.file.seek(0, os.SEEK_END)

    def __enter__(self) -> "SafetensorsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        if error is None and self.written != self.expected:
            raise VDTError(f"{self.path}: wrote {self.written:,} bytes instead of {self.expected:,}.")
