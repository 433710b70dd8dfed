"""`.pt` files written without PyTorch: the zip and the pickle that `torch.save` makes of a state dict."""

import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from weights.formats.tensors import STORAGE_TYPES
from weights.formats.torch_reader import CONFIG_RECORD

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_STORAGE_OF = {dtype: storage for storage, dtype in STORAGE_TYPES.items()}
_ALIGNMENT = 64


class Writable(Protocol):
    """What can be written as a tensor: its elements come in row-major order, a piece at a time."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def pieces(self) -> Iterator[np.ndarray]: ...


def write_torch(path: Path, items: Iterable[Writable], config: str | None = None) -> None:
    """Writes a state dict as torch.save would: stored, aligned, little-endian, with `config` beside it."""
    items = list(items)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _member(archive, "archive/data.pkl", [pickle_state_dict(items)])
        _member(archive, "archive/byteorder", [b"little"])
        if config is not None:
            _member(archive, f"archive/{CONFIG_RECORD}", [config.encode()])
        for index, item in enumerate(items):
            _member(archive, f"archive/data/{index}", (np.ascontiguousarray(p).tobytes() for p in item.pieces()))
        _member(archive, "archive/version", [b"3\n"])


def _member(archive: zipfile.ZipFile, name: str, pieces: Iterator[bytes] | list[bytes]) -> None:
    """Adds a member whose bytes begin at a multiple of 64, as torch.save has them."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    assert archive.fp is not None
    start = archive.fp.tell() + 30 + len(name) + 4
    info.extra = struct.pack("<HH", 0x4246, -start % _ALIGNMENT) + b"Z" * (-start % _ALIGNMENT)
    with archive.open(info, "w") as member:
        for piece in pieces:
            member.write(piece)


def pickle_state_dict(items: Sequence[Writable]) -> bytes:
    """The pickle (protocol 2) of an OrderedDict of tensors, storage `i` for the item `i`."""
    out = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for index, item in enumerate(items):
        strides = [1] * len(item.shape)
        for axis in range(len(item.shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * item.shape[axis + 1]
        numel = int(np.prod(item.shape, dtype=np.int64))
        out += [
            _text(item.name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            f"ctorch\n{_STORAGE_OF[item.dtype]}\n".encode(),
            _text(str(index)),
            _text("cpu"),
            _whole(numel),
            b"tQK\x00(",
            *map(_whole, item.shape),
            b"t(",
            *map(_whole, strides),
            b"t\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*out, b"u."])


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _whole(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)
