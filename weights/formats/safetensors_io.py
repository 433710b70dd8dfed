"""safetensors files: read with every claim of the header checked, written a piece at a time."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.safetensors_header import Entry, parse_header
from weights.formats.tensors import NUMPY, Storage, StoredTensor, contiguous
from weights.formats.torch_reader import MappedFile

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
            header = parse_header(self.mapped.file, len(self.mapped), str(self.mapped.path))
            self.metadata = header.metadata
            self.tensors = {name: _placed(entry, self.mapped) for name, entry in header.entries.items()}
        except BaseException:
            self.mapped.close()
            raise

    def __enter__(self) -> "SafetensorsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mapped.close()


def _placed(entry: Entry, mapped: MappedFile) -> StoredTensor:
    return contiguous(Storage(TYPES[entry.dtype], math.prod(entry.shape), mapped.file, entry.start), entry.shape)


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these (9 or more) bytes could be one: a header length, then a JSON object."""
    return len(start) >= 9 and start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") < 2**40


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
