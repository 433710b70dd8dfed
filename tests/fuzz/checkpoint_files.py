"""Damaged and hostile checkpoint files, of every kind that we could think of."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vdt_mlx.config import VDTConfig
from weights.formats.torch_writer import pickle_state_dict
from weights.names.vdt import vdt_shapes

CONFIG = VDTConfig(hidden_size=8, depth=1, num_heads=2, latent_size=(4, 4), num_frames=2)

HOSTILE = (
    "os system",
    "posix system",
    "nt system",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "builtins __import__",
    "builtins open",
    "__builtin__ eval",
    "subprocess Popen",
    "subprocess check_output",
    "runpy _run_code",
    "importlib import_module",
    "pty spawn",
    "shutil rmtree",
    "socket socket",
    "webbrowser open",
    "ctypes CDLL",
    "code interact",
    "pickle loads",
    "_pickle loads",
    "marshal loads",
    "types CodeType",
    "operator attrgetter",
    "functools partial",
    "numpy.core.multiarray _reconstruct",
    "numpy load",
    "torch load",
    "torch.hub load",
    "torch._utils _rebuild_tensor",
    "torch.storage _load_from_bytes",
    "torch.jit load",
    "torch Tensor",
    "torch.nn.modules.linear Linear",
    "collections defaultdict",
    "collections OrderedDict.__reduce__",
    "argparse Namespace.__init__",
    "argparse ArgumentParser",
    "pathlib PosixPath",
    "vdt_mlx.files atomic_folder",
    "weights.convert convert",
    "\N{CYRILLIC SMALL LETTER O}s system",
)


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    values: np.ndarray
    dtype: str = "fp32"

    def pieces(self) -> Iterator[np.ndarray]:
        yield self.values.reshape(-1)


def tensors(seed: int = 0, config: VDTConfig = CONFIG) -> list[Tensor]:
    generator = np.random.default_rng(seed)
    return [
        Tensor(name, shape, generator.standard_normal(shape).astype(np.float32))
        for name, shape in vdt_shapes(config).items()
    ]


GOOD = tensors()
RAW = {str(i): t.values.tobytes() for i, t in enumerate(GOOD)}
PICKLE = pickle_state_dict(GOOD)


def zipped(data_pkl: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A zip with right checksums around any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {"data.pkl": data_pkl, "byteorder": b"little", "version": b"3\n", **more}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        for key, data in (RAW if storages is None else storages).items():
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), data)
    return out.getvalue()


def legacy(data_pkl: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """The format before torch 1.6 around any pickle."""
    storages = RAW if storages is None else storages
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    # There, the identity of a storage has a sixth entry: None.
    data_pkl = data_pkl.replace(b"tQ", b"NtQ")
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, machine)]
    body = [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    return b"".join([*head, data_pkl, pickle.dumps(list(storages), 2), *body])


def safetensors(header: dict[str, Any] | None = None, data: bytes | None = None) -> bytes:
    position = 0
    entries: dict[str, Any] = {}
    for tensor in GOOD:
        end = position + tensor.values.nbytes
        entries[tensor.name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    body = json.dumps(entries if header is None else header).encode()
    return len(body).to_bytes(8, "little") + body + (b"".join(RAW.values()) if data is None else data)


ZIP, LEGACY, SAFE = zipped(PICKLE), legacy(PICKLE), safetensors()
LEGACY_DATA = len(LEGACY) - sum(len(data) + 8 for data in RAW.values())
SAFE_DATA = len(SAFE) - sum(map(len, RAW.values()))


# --- kinds of files; each takes a random.Random and returns bytes


def flip(data: bytes, rng: random.Random, low: int = 0, high: int | None = None) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        out[rng.randrange(low, len(out) if high is None else high)] ^= 1 << rng.randrange(8)
    return bytes(out)


def splice(data: bytes, rng: random.Random) -> bytes:
    """A block deleted, doubled, moved, zeroed or replaced by noise."""
    first = rng.randrange(len(data))
    last = min(len(data), first + rng.choice((1, 2, 7, 30, 100, 1000)))
    block, what = data[first:last], rng.randrange(5)
    if what == 0:
        return data[:first] + data[last:]
    if what == 1:
        return data[:last] + block + data[last:]
    if what == 2:
        at = rng.randrange(len(data))
        return data[:at] + block + data[at:]
    if what == 3:
        return data[:first] + bytes(len(block)) + data[last:]
    return data[:first] + rng.randbytes(len(block)) + data[last:]


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def payload(rng: random.Random) -> bytes:
    """Opcodes that would call something, in one of the ways that pickle knows."""
    module, name = rng.choice(HOSTILE).split(" ", 1)
    argument = text(rng.choice(("touch PWNED", "__import__('os').system('touch PWNED')", "PWNED")))
    found = f"{module}\n{name}\n".encode()
    stack_global = text(module) + text(name) + b"\x93"
    return rng.choice(
        (
            b"c" + found + argument + b"\x85R",  # GLOBAL, REDUCE
            stack_global + argument + b"\x85R",  # STACK_GLOBAL, REDUCE
            b"(" + argument + b"i" + found,  # INST
            b"(c" + found + argument + b"o",  # OBJ
            b"c" + found + argument + b"\x85\x81",  # NEWOBJ
            b"c" + found + argument + b"\x85}\x92",  # NEWOBJ_EX
            b"c" + found,  # a bare name
            b"c" + found + b")R" + argument + b"b",  # BUILD
            rng.choice((b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00")) + argument + b"\x85R",  # EXT
            b"P" + found,  # PERSID
            argument + b"Q",  # BINPERSID
            b"(" + text("storage") + b"c" + found + text("0") + text("cpu") + b"K\x01tQ",  # as a storage type
            b"ctorch._utils\n_rebuild_parameter\nc" + found + argument + b"\x85R\x89}\x87R",  # inside of a parameter
            b"ccollections\nOrderedDict\nc" + found + argument + b"\x85R\x85R",
            b"cargparse\nNamespace\n)\x81}" + text("x") + b"c" + found + argument + b"\x85Rsb",
        )
    )


def reduced(rng: random.Random) -> bytes:
    """What Python itself pickles for an object whose __reduce__ is hostile."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return rng.choice(((eval, ("1",)), (exec, ("pass",)), (print, ("PWNED",)), (getattr, (1, "real"))))

    return pickle.dumps(rng.choice((Evil(), {"model": Evil()}, [Evil()], {"a": {"b": Evil()}})), rng.randrange(2, 6))


def hostile_pickle(rng: random.Random) -> bytes:
    what = rng.randrange(4)
    if what == 0:
        return reduced(rng)
    if what == 1:  # before everything
        return PICKLE[:2] + payload(rng) + b"0" + PICKLE[2:]
    if what == 2:  # as one of the weights
        return PICKLE[:-2] + text("blocks.0.attn.qkv.weight") + payload(rng) + b"u."
    return b"\x80\x04" + payload(rng) + b"."


def contained(data_pkl: bytes, rng: random.Random) -> bytes:
    return rng.choice((zipped, zipped, legacy))(data_pkl)


def flipped_pickle(rng: random.Random) -> bytes:
    return zipped(flip(PICKLE, rng))


def spliced_pickle(rng: random.Random) -> bytes:
    at = rng.randrange(2, len(PICKLE))
    extra = bytes(rng.choice((rng.randrange(256), *b"()}]tNRQ.0b")) for _ in range(rng.choice((1, 2, 5))))
    return zipped(rng.choice((PICKLE[:at] + extra + PICKLE[at:], splice(PICKLE, rng))))


def bomb(rng: random.Random) -> bytes:
    """Small or middling files that mean to grow, or to take for ever."""
    n = rng.choice((1_000, 30_000, 400_000))
    collide = b"".join(b"\x8a\x0a" + ((2**61 - 1) * (i + 1)).to_bytes(10, "little") + b"N" for i in range(n // 20))
    pairs = b"(" + b"(" + text("a") + b"Nt" * 1 + b"l"
    bodies = (
        lambda: b"]" + b"q\x00(" + b"h\x00" * 50 + b"e" + b"2" * n,  # DUP
        lambda: b"(" * n,  # marks
        lambda: b"]" * n + b"a" * n,  # nesting
        lambda: b"N" + b"\x85" * n,  # nested tuples
        lambda: b"}N" + b"\x85" * n + b"Ns",  # ... as a key
        lambda: b"".join(b"]r" + struct.pack("<I", i) for i in range(n)),  # memo
        lambda: b"Nr" + struct.pack("<I", rng.randrange(2**31, 2**32)),  # a far memo index
        lambda: b"X" + struct.pack("<I", 2**32 - 1),  # a long text that is not there
        lambda: b"\x8d" + struct.pack("<Q", rng.randrange(2**32, 2**64)),
        lambda: b"\x8b" + struct.pack("<i", 2**31 - 1),  # a long number
        lambda: b"\x8a\xff" + b"\xff" * 255,
        lambda: b"\x95" + struct.pack("<Q", 2**63) + b"N",  # a huge frame
        lambda: b"\x96" + struct.pack("<Q", 2**40),  # a huge bytearray
        lambda: b"I" + b"9" * n + b"\n",  # numbers as text take quadratic time
        lambda: b"L" + b"9" * n + b"L\n",
        lambda: b"F" + b"9" * n + b"\n",
        lambda: b"c" + b"a" * n + b"\nb\n",  # an endless name
        lambda: b"}(" + collide + b"u",  # keys that collide
        lambda: pairs + b"q\x00" + b"ccollections\nOrderedDict\nq\x010" + b"h\x01h\x00\x85R0" * (n // 10),
        lambda: b"cargparse\nNamespace\n)R" + b"}q\x00" + b"b" + b"h\x00b" * (n // 2),
        lambda: b"(" + b"K\x01" * n + b"t" + b"2" * 5 + b"\x87",
        lambda: b"X" + struct.pack("<I", 8 * n) + b"\xf0\x9f\x92\xa3" * (2 * n) + b"0" + b"N",
        lambda: (b"B" + struct.pack("<I", 1000) + b"x" * 1000) * (n // 40),
        lambda: b"\x8f(" + b"K\x01" * n + b"\x90",  # a set
        lambda: b"ctorch._utils\n_rebuild_tensor_v2\n" * (n // 100),
    )
    data_pkl = b"\x80\x04" + rng.choice(bodies)() + b"."
    return rng.choice((zipped(data_pkl, {}), legacy(data_pkl, {})))


def bad_zip(rng: random.Random) -> bytes:
    """Zips that are well compressed, overlapping, doubled, absolute, encrypted, or two things at once."""
    what = rng.randrange(14)
    if what == 0:  # a zip bomb
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("archive/data.pkl", PICKLE)
            archive.writestr("archive/data/0", bytes(rng.choice((10**6, 2 * 10**7))))
        return out.getvalue()
    if what == 1:
        names = (
            "/etc/passwd",
            "../../x",
            "C:\\x",
            "archive/../../x",
            "\\\\host\\x",
            "archive//x",
            "a\0b",
            "archive/\x1b[2J",
            "",
        )
        return zipped(PICKLE, None).replace(b"archive/version", rng.choice(names).encode().ljust(15, b"/")[:15])
    if what == 2:  # the same name twice
        return ZIP.replace(b"archive/data/1", b"archive/data/2")
    if what == 3:
        return rng.randbytes(rng.choice((1, 10, 4096))) + ZIP
    if what == 4:
        return ZIP + rng.randbytes(rng.choice((1, 22, 4096)))
    if what == 5:
        return ZIP + ZIP
    if what == 6:
        return zipped(PICKLE, byteorder=rng.choice((b"big", b"middle", b"", b"\xff" * 60, b"x" * 1000)))
    out = bytearray(ZIP)
    end = out.rfind(b"PK\x05\x06")
    directory = struct.unpack_from("<I", out, end + 16)[0]
    if what == 7:  # lies in the end record
        struct.pack_into(
            "<H" if rng.random() < 0.5 else "<I", out, end + rng.choice((4, 8, 10, 12, 16)), rng.randrange(2**16)
        )
        return bytes(out)
    entries = [i for i in range(directory, end) if out[i : i + 4] == b"PK\x01\x02"]
    entry = rng.choice(entries)
    if what == 8:  # one member over another
        struct.pack_into("<I", out, entry + 42, struct.unpack_from("<I", out, rng.choice(entries) + 42)[0])
    elif what == 9:
        struct.pack_into("<I", out, entry + 42, rng.randrange(2**32))
    elif what == 10:
        struct.pack_into(
            "<I", out, entry + rng.choice((16, 20, 24)), rng.choice((0, 1, 2**31, 2**32 - 1, rng.randrange(2**32)))
        )
    elif what == 11:
        struct.pack_into("<H", out, entry + rng.choice((8, 10)), rng.choice((1, 8, 12, 14, 99, 0x41)))
    elif what == 12:
        struct.pack_into("<H", out, entry + rng.choice((28, 30, 32)), rng.choice((0, 1, 5, 65535)))
    else:
        header = struct.unpack_from("<I", out, entry + 42)[0]
        struct.pack_into("<H", out, header + rng.choice((6, 8, 18, 22, 26, 28)), rng.randrange(2**16))
    return bytes(out)


def bad_tensor(rng: random.Random) -> bytes:
    """One tensor with an impossible shape, stride, offset, size or type."""

    def whole(value: int) -> bytes:
        size = max(1, (value.bit_length() + 8) // 8)
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)

    huge = (2**31, 2**40, 2**62, 2**63 - 1, 2**64, 2**100, -1, -(2**63), 0, 1, 2, 3, 7)
    index = rng.randrange(len(GOOD))
    tensor = GOOD[index]
    numel, offset = tensor.values.size, 0
    shape = list(tensor.shape)
    strides = [s // 4 for s in tensor.values.strides]
    key, storage, parts = str(index), "FloatStorage", 4
    what = rng.randrange(8)
    axis = rng.randrange(len(shape))
    if what == 0:
        shape[axis] = rng.choice(huge)
    elif what == 1:
        strides[axis] = rng.choice(huge)
    elif what == 2:
        offset = rng.choice(huge)
    elif what == 3:
        numel = rng.choice(huge)
    elif what == 4:
        key = rng.choice(("999", "../0", "/etc/passwd", "", "0" * 100, "data.pkl", "0/../1"))
    elif what == 5:
        storage = rng.choice(
            ("DoubleStorage", "ByteStorage", "HalfStorage", "LongStorage", "BoolStorage", "QInt8Storage")
        )
    elif what == 6:
        shape, strides = [rng.choice(huge)] * rng.choice((1, 8, 9, 64)), [rng.choice((0, 1))] * 8
    else:
        parts = rng.choice((0, 1, 2, 3))
    arguments = [
        b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu") + whole(numel) + b"tQ",
        whole(offset),
        b"(" + b"".join(map(whole, shape)) + b"t",
        b"(" + b"".join(map(whole, strides)) + b"t",
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
    ]
    kept = b"".join(arguments[: parts + 2 if parts == 4 else parts])
    body = text(tensor.name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + kept + b"tR"
    return contained(PICKLE[:-2] + body + b"u.", rng)


def bad_weights(rng: random.Random) -> bytes:
    """Well-formed files with NaN, or with the wrong tensors."""
    changed = list(GOOD)
    index = rng.randrange(len(changed))
    tensor = changed[index]
    what = rng.randrange(5)
    if what == 0:
        values = tensor.values.copy()
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, -np.inf))
        changed[index] = Tensor(tensor.name, tensor.shape, values)
    elif what == 1:
        del changed[index]
    elif what == 2:
        changed.append(
            Tensor(
                rng.choice(("extra", "blocks.7.attn.qkv.weight", "x" * 3000, "\x1b[31m")), (3,), np.ones(3, np.float32)
            )
        )
    elif what == 3:
        changed[index] = Tensor(tensor.name, (*tensor.shape, 1), tensor.values)
    else:
        changed[index] = Tensor(tensor.name, tensor.shape, np.ones(tensor.shape, "<i8"), "int64")
    raw = {str(i): t.values.tobytes() for i, t in enumerate(changed)}
    return zipped(pickle_state_dict(changed), raw)


def bad_header(rng: random.Random) -> bytes:
    """safetensors headers that lie, or that mean to grow."""
    header = json.loads(SAFE[8:SAFE_DATA])
    name = rng.choice(list(header))
    what = rng.randrange(12)
    if what == 0:
        header[name]["data_offsets"][rng.randrange(2)] = rng.choice(
            (-1, 0, 1, 2**40, 2**63, 2**64, 10**30, 1.5, "0", None)
        )
    elif what == 1:
        header[name]["shape"] = rng.choice(
            ([], [-1], [2**40], [2**31, 2**31], [1] * 9, [1.0], "x", None, [True], [0], {})
        )
    elif what == 2:
        header[name]["dtype"] = rng.choice(("F16", "F64", "I64", "F8_E4M3", "", 5, None, ["F32"]))
    elif what == 3:
        header[name].pop(rng.choice(list(header[name])))
    elif what == 4:
        header["__metadata__"] = rng.choice(({"a": 1}, [], "x", {"format": "mlx"}, {"vdt_mlx_config": "{" * 1000}))
    elif what == 5:
        config = rng.choice(({}, [], {"format": "vdt-mlx", "version": 1, "vdt": {"depth": 10**9}}, "x", None))
        header["__metadata__"] = {"vdt_mlx_config": json.dumps(config)}
    elif what == 6:
        body = rng.choice(
            (
                b"[" * 400_000,
                b'{"a":' * 400_000,
                b"{" + b'"a":[[],[]],' * 200_000 + b"}",
                b"1" * 400_000,
                b"\xff" * 1000,
            )
        )
        return len(body).to_bytes(8, "little") + b"{" + body[1:]
    elif what == 7:
        return rng.choice((2**40 - 1, 2**22 + 1, 0, 2**63, len(SAFE))).to_bytes(8, "little") + SAFE[8:]
    elif what == 8:  # the same name twice
        body = SAFE[8:SAFE_DATA].replace(b"t_embedder.mlp.0.bias", b"t_embedder.mlp.2.bias")
        return len(body).to_bytes(8, "little") + body + SAFE[SAFE_DATA:]
    elif what == 9:  # two tensors on the same bytes
        header[name]["data_offsets"] = header[rng.choice(list(header))]["data_offsets"]
    elif what == 10:
        header[rng.choice(("", "\x1b[2J", "x" * 10_000, "pos_embed.weight"))] = header.pop(name)
    else:
        return safetensors(header, SAFE[SAFE_DATA:] + rng.randbytes(rng.choice((1, 100))))
    return safetensors(header)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, 1, 3, 4, 8, 9, rng.randrange(len(data)), rng.randrange(len(data)), len(data) - 1))]


KINDS: dict[str, tuple[int, Callable[[random.Random], bytes]]] = {
    "zip, bits flipped": (20, lambda rng: flip(ZIP, rng)),
    "zip, cut short": (10, lambda rng: cut(ZIP, rng)),
    "zip, blocks moved": (8, lambda rng: splice(ZIP, rng)),
    "zip, lies in its directory": (10, bad_zip),
    "pickle, bits flipped, checksum right": (15, flipped_pickle),
    "pickle, opcodes spliced in": (12, spliced_pickle),
    "pickle, code to run": (18, lambda rng: contained(hostile_pickle(rng), rng)),
    "pickle, bombs": (3, bomb),
    "tensors that cannot be": (8, bad_tensor),
    "weights that do not fit, or NaN": (5, bad_weights),
    "legacy, bits flipped": (7, lambda rng: flip(LEGACY, rng)),
    "legacy, bits of the pickles flipped": (5, lambda rng: flip(LEGACY, rng, 0, LEGACY_DATA)),
    "legacy, cut short": (4, lambda rng: cut(LEGACY, rng)),
    "safetensors, bits flipped": (5, lambda rng: flip(SAFE, rng)),
    "safetensors, bits of the header flipped": (5, lambda rng: flip(SAFE, rng, 0, SAFE_DATA)),
    "safetensors, cut short": (4, lambda rng: cut(SAFE, rng)),
    "safetensors, lies in its header": (8, bad_header),
    "bare pickles and noise": (3, lambda rng: rng.choice((hostile_pickle(rng), rng.randbytes(rng.randrange(1, 2000))))),
}
"""Kind: how many of 150 files, and what makes one."""
ORDER = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]
