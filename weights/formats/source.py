"""Any file or folder with weights in it: what it is, its tensors by name, and its checksums."""

import hashlib
import re
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.reading import STAND_INS, WEB_PAGES, read_json
from weights.formats.parts import VDT, choose
from weights.formats.pickle_vm import resave
from weights.formats.safetensors_io import CONFIG_KEY, SafetensorsFile, looks_like_safetensors
from weights.formats.tensors import StoredTensor
from weights.formats.torch_reader import LEGACY_MAGIC, MappedFile, open_torch
from weights.formats.zip_reader import Member

INDEX = re.compile(r".*\.index(\.[\w-]+)?\.json")
"""What the index of a file in several pieces is called, that of a variant too."""
MAX_INDEX = 16 * 2**20
MAX_PIECES = 1000
_OTHERS = (
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    *STAND_INS,
)


@dataclass
class Source:
    """An opened file: its tensors, flat, and what else it says. Use it as a context manager."""

    path: Path
    format: str
    """`torch zip`, `torch legacy` or `safetensors`."""
    tensors: dict[str, StoredTensor]
    part: str | None
    """Which part of a training checkpoint these are (`ema`, `model`), if it has parts."""
    config: str | None
    """The JSON of a `CheckpointConfig`, if one of our exports wrote the file."""
    mapped: MappedFile
    members: list[Member] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What a user should know of how these tensors were found: sentences."""
    pieces: list["Source"] = field(default_factory=list)
    """The other files, where the tensors are in several."""

    @property
    def files(self) -> list["Source"]:
        """This file and its other pieces."""
        return [self, *self.pieces]

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            file.mapped.close()


def open_source(path: str | Path, which: str | None = None, anchors: Sequence[str] = VDT) -> Source:
    """Opens a `.pt`, `.pth`, `.bin`, `.ckpt` or `.safetensors` file, told apart by content, not by name.

    Args:
        path: the file, or the `*.index.json` of one that is in several pieces.
        which: the part of a training checkpoint to take (`ema`, `model`, ...); refused where there are no parts.
        anchors: what is looked for in it, `weights.formats.parts.VDT` or `AUTOENCODER`.

    Raises:
        VDTError: the file is missing, damaged, hostile, of another kind, or has no such part.
    """
    path = Path(path)
    if path.is_dir():
        raise VDTError(f"{path} is a folder, not a checkpoint file.")
    if INDEX.fullmatch(path.name):
        return _open_pieces(path, which, anchors)
    source, content = _open_file(path)
    try:
        chosen = choose(content, which, str(path), anchors)
    except BaseException:
        source.mapped.close()
        raise
    return replace(source, tensors=chosen.tensors, part=chosen.part, notes=chosen.notes)


def _open_file(path: Path) -> tuple[Source, Any]:
    """A file, its tensors not chosen yet, and what was saved in it."""
    peeked = MappedFile.open(path)
    start = peeked.file[:512]
    peeked.close()
    if start[:4] == b"PK\x03\x04" or start[: len(LEGACY_MAGIC)] == LEGACY_MAGIC:
        file = open_torch(path)
        source = Source(path, f"torch {file.format}", {}, None, file.config, file.mapped, file.members)
        return source, file.content
    if looks_like_safetensors(start):
        safe = SafetensorsFile(path)
        config = safe.metadata.get(CONFIG_KEY)
        return Source(path, "safetensors", {}, None, config, safe.mapped, metadata=safe.metadata), safe.tensors
    raise VDTError(f"{path} is {_kind(path, start)}")


def _open_pieces(path: Path, which: str | None, anchors: Sequence[str]) -> Source:
    """Files that hold one table in pieces, as their index says: every tensor is in the file that it names."""
    index = read_json(path, "index of weights", limit=MAX_INDEX)
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise VDTError(f"{path} is not an index of weights: it has no weight_map.")
    names = sorted(set(table.values()))
    if len(names) > MAX_PIECES or any(Path(name).name != name for name in names):
        raise VDTError(f"{path} names files that are not beside it, or more than {MAX_PIECES} of them.")
    pieces: list[Source] = []
    try:
        tensors: dict[str, StoredTensor] = {}
        for name in names:
            piece, content = _open_file(path.parent / name)
            pieces.append(piece)
            if not isinstance(content, dict) or set(content) != {key for key, at in table.items() if at == name}:
                raise VDTError(f"{path.parent / name} does not hold the tensors that {path.name} says.")
            tensors |= content
        chosen = choose(tensors, which, str(path), anchors)
    except BaseException:
        for piece in pieces:
            piece.mapped.close()
        raise
    return replace(pieces[0], tensors=chosen.tensors, part=chosen.part, notes=chosen.notes, pieces=pieces[1:])


def _kind(path: Path, start: bytes) -> str:
    """What a file is that is no checkpoint: the end of a sentence."""
    text = start.lstrip().lower()
    if text.startswith((*WEB_PAGES, b"<!doctype", b"<?xml")):
        return "a web page, not a checkpoint: its file host wants to be visited with a browser."
    for magic, name in _OTHERS:
        if start.startswith(magic):
            return f"{name}." if ";" in name else f"{name}, not a checkpoint of PyTorch or safetensors."
    if start[257:262] == b"ustar":
        return f"a tar archive (or a checkpoint of torch < 0.2); unpack it, or {resave(str(path))}."
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return f"a bare pickle, not a file that torch.save wrote; {resave(str(path))}."
    return "neither a PyTorch checkpoint nor a safetensors file."


def check_member(mapped: MappedFile, member: Member) -> None:
    """Compares the bytes of a zip member with its CRC-32; raises VDTError if they differ."""
    with memoryview(mapped.file) as view, view[member.start : member.start + member.size] as data:
        crc = zlib.crc32(data)
    if crc != member.crc:
        raise VDTError(
            f"{mapped.path} is damaged: the checksum of {member.name} is wrong (download it again, or re-save it with "
            "torch.save as it is by default)."
        )


class Checksum:
    """The SHA-256 of a file, computed in a thread of its own while the file is used.

    The file is read, not mapped, so this does not add to the resident memory. `result()` waits for it; `keep_near()`
    keeps another reader of the same file close behind or before, so that the disk is read once and not twice.
    """

    BLOCK = 2**20
    LEAD = 2**28

    def __init__(self, mapped: MappedFile):
        self._mapped = mapped
        self._size = len(mapped)
        self._stop = threading.Event()
        self._read = 0
        self._moved = threading.Condition()
        self._error: Exception | None = None
        self._digest = ""
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, whether it is done or not."""
        self._stop.set()
        self._thread.join()

    def keep_near(self, position: int) -> None:
        """Waits until what is hashed is at most `LEAD` bytes behind `position`."""
        with self._moved:
            self._moved.wait_for(lambda: self._read >= position - self.LEAD or not self._thread.is_alive(), 60)

    def result(self) -> str:
        """The digest in hexadecimal; raises VDTError if the file changed since it was opened."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._mapped.changed():
            raise VDTError(f"{self._mapped.path} changed while it was read.")
        return self._digest

    def _run(self) -> None:
        try:
            digest = hashlib.sha256()
            buffer = memoryview(bytearray(min(self.BLOCK, self._size)))
            with self._mapped.path.open("rb", buffering=0) as file:
                while not self._stop.is_set() and (count := file.readinto(buffer)):
                    digest.update(buffer[:count])
                    with self._moved:
                        self._read += count
                        self._moved.notify_all()
            self._digest = digest.hexdigest()
        except Exception as error:
            self._error = error
        finally:
            with self._moved:
                self._read = self._size
                self._moved.notify_all()
