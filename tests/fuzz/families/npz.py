"""npz files, read as clips: damaged archives, lying headers, objects, bombs."""

import io
import random
import struct
import zipfile
from functools import lru_cache

import numpy as np

from tests.fuzz.mutations import damaged
from vdt_mlx.media import video

TITLE = "npz clips"


def case(rng: random.Random, folder):
    path = folder / "a.npz"
    path.write_bytes(rng.choice((_damaged, _damaged, _member, _header, _archive))(rng))
    return lambda: video.read_clip(path, 3, (16, 16))


def check(result) -> str | None:
    return None if result.dtype == np.uint8 and result.shape == (3, 16, 16, 3) else f"{result.dtype} {result.shape}"


@lru_cache
def good(packed: bool) -> bytes:
    file = io.BytesIO()
    frames = np.kron(np.arange(4, dtype=np.uint8)[:, None, None, None] * 40, np.ones((1, 16, 16, 3), np.uint8))
    (np.savez_compressed if packed else np.savez)(file, frames=frames, other=np.arange(3))
    return file.getvalue()


def _damaged(rng: random.Random) -> bytes:
    return damaged(rng, good(rng.random() < 0.5))


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _zip(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _member(rng: random.Random) -> bytes:
    """A whole archive of something that is no clip."""
    arrays = [
        *(np.array([{}], dtype=object), np.zeros((4, 16, 16, 3)), np.zeros((16, 16), np.uint8), np.array("text")),
        *(np.zeros(0, np.uint8), np.zeros((4, 16, 16, 4), np.uint8), np.zeros((4, 0, 16, 3), np.uint8)),
        *(np.zeros((4, 2, 2, 3), np.uint8), np.zeros(3, "U9"), np.zeros(3, "M8[s]"), np.zeros(2, "f4,i4")),
    ]
    data = _npy(rng.choice(arrays))
    if rng.random() < 0.5:
        data = damaged(rng, data)
    name = rng.choice(("frames.npy", "frames", "../frames.npy", "a.npy", "frames.npy\0.txt", "ü.npy", "x"))
    return _zip({name: data}, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))


def _header(rng: random.Random) -> bytes:
    """A member whose header lies."""
    shape = rng.choice(("(10**18,)", "(1000000, 8192, 8192, 3)", "(-4, 16, 16, 3)", "(4, 16, 16)", "(4.0,)", "()", "4"))
    kind = rng.choice(("|u1", "|O", "<f8", "|V99999", "U1000000", "[('a', '|O')]", "{}", "|u1'*9+'"))
    order = rng.choice(("False", "True", "None", "[" * 200 + "]" * 200))
    text = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}}}"
    body = (rng.choice((text, "__import__('os').abort()", "(" * 5000, text + "#" * 70000)) + "\n").encode()
    version = rng.choice((1, 1, 2, 3, 9))
    length = struct.pack("<H", len(body) & 0xFFFF) if version == 1 else struct.pack("<I", len(body))
    return _zip({"frames.npy": b"\x93NUMPY" + bytes([version, 0]) + length + body + bytes(rng.randrange(5000))})


def _archive(rng: random.Random) -> bytes:
    """An archive whose own tables lie: flags, packing, sizes."""
    data = bytearray(good(rng.random() < 0.5))
    local, central = 0, data.index(b"PK\x01\x02")
    at = rng.choice(((6, 8, 2), (8, 10, 2), (14, 16, 4), (18, 20, 4), (22, 24, 4), (26, 28, 2), (28, 30, 2)))
    value = rng.choice((0, 1, 8, 12, 14, 97, 99, 0xFFFF, 1 << 31, 0xFFFFFFFF)) & ((1 << 8 * at[2]) - 1)
    for start, offset in ((local, at[0]), (central, at[1])):
        if rng.random() < 0.7:
            data[start + offset : start + offset + at[2]] = value.to_bytes(at[2], "little")
    return bytes(data)
