"""Any file or folder with weights in it: what it is, its tensors by name, and its checksums."""

import hashlib
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from vdt_mlx.errors import VDTError
from weights.formats.pickle_vm import RESAVE, Namespace
from weights.formats.safetensors_io import CONFIG_KEY, SafetensorsFile, looks_like_safetensors
from weights.formats.tensors import StoredTensor
from weights.formats.torch_reader import LEGACY_MAGIC, MappedFile, TorchFile, open_torch
from weights.formats.zip_reader import Member

PREFERRED = ("ema", "model_ema", "ema_state_dict", "model", "state_dict", "model_state_dict", "module")
"""Which part of a training checkpoint is taken unless the user says so: averaged weights sample better."""
_OTHERS = (
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
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

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mapped.close()


def open_source(path: str | Path, which: str | None = None) -> Source:
    """Opens a `.pt`, `.pth`, `.bin`, `.ckpt` or `.safetensors` file, told apart by content, not by name.

    Args:
        path: the file.
        which: the part of a training checkpoint to take (`ema`, `model`, ...); refused where there are no parts.

    Raises:
        VDTError: the file is missing, damaged, hostile, of another kind, or has no such part.
    """
    path = Path(path)
    if path.is_dir():
        raise VDTError(f"{path} is a folder, not a checkpoint file.")
    peeked = MappedFile.open(path)
    start = peeked.file[:512]
    peeked.close()
    if start[:4] == b"PK\x03\x04" or start[: len(LEGACY_MAGIC)] == LEGACY_MAGIC:
        file = open_torch(path)
        try:
            return _from_torch(file, which)
        except BaseException:
            file.mapped.close()
            raise
    if looks_like_safetensors(start):
        if which is not None:
            raise VDTError(f"{path} is one flat table of tensors, so there is no part {which!r} (drop --which).")
        safe = SafetensorsFile(path)
        try:
            tensors = strip_prefixes(safe.tensors, str(path))
        except BaseException:
            safe.mapped.close()
            raise
        config = safe.metadata.get(CONFIG_KEY)
        return Source(path, "safetensors", tensors, None, config, safe.mapped, metadata=safe.metadata)
    raise VDTError(f"{path} is {_kind(start)}")


def _kind(start: bytes) -> str:
    """What a file is that is no checkpoint: the end of a sentence."""
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a checkpoint: its file host wants to be visited with a browser."
    for magic, name in _OTHERS:
        if start.startswith(magic):
            return f"{name}." if ";" in name else f"{name}, not a checkpoint of PyTorch or safetensors."
    if start[257:262] == b"ustar":
        return f"a tar archive (or a checkpoint of torch < 0.2); unpack it, or {RESAVE}."
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return f"a bare pickle, not a file that torch.save wrote; {RESAVE}."
    return "neither a PyTorch checkpoint nor a safetensors file."


def _from_torch(file: TorchFile, which: str | None) -> Source:
    source = str(file.mapped.path)
    tensors, part = choose(file.content, which, source)
    return Source(
        file.mapped.path,
        f"torch {file.format}",
        strip_prefixes(tensors, source),
        part,
        file.config,
        file.mapped,
        file.members,
    )


def choose(content: Any, which: str | None, source: str) -> tuple[dict[str, StoredTensor], str | None]:
    """The state dict in what torch.save saved: all of it, or the part `which` of a training checkpoint.

    Raises VDTError where there is none, no such part, or several and no way to tell.
    """
    if isinstance(content, Namespace):
        content = content.values
    if not isinstance(content, dict):
        raise VDTError(f"{source} holds no state dict but a {type(content).__name__}.")
    flat = _tensors(content)
    parts = {
        key: tensors
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, dict) and (tensors := _tensors(value))
    }
    if which is not None:
        if which in parts:
            return parts[which], which
        if flat and not parts:
            raise VDTError(f"{source} is one flat state dict, so there is no part {which!r} (drop --which).")
        raise VDTError(f"{source} has no part {which!r}; it has: {_list(parts)}.")
    if flat:
        others = [key for key in content if key not in flat]
        if others:
            raise VDTError(f"{source} mixes tensors with other things in one table: {_list(others)}.")
        return flat, None
    for name in PREFERRED:
        if name in parts:
            return parts[name], name
    if len(parts) == 1:
        name, tensors = parts.popitem()
        return tensors, name
    if not parts:
        raise VDTError(f"{source} holds no table of tensors.")
    raise VDTError(f"{source} has several parts: {_list(parts)}; choose one with --which.")


def _tensors(table: dict[Any, Any]) -> dict[str, StoredTensor]:
    return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, StoredTensor)}


def strip_prefixes(tensors: dict[str, StoredTensor], source: str) -> dict[str, StoredTensor]:
    """Names without what wrappers put before them: `module.` (data parallel), `_orig_mod.` (torch.compile)."""
    stripped: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        plain = "".join(f"{part}." for part in name.split(".") if part != "_orig_mod")[:-1]
        while plain.startswith("module."):
            plain = plain[len("module.") :]
        if plain in stripped:
            raise VDTError(f"{source} holds {plain[:80]!a} twice, under two prefixes.")
        stripped[plain] = tensor
    return stripped


def _list(names: Any) -> str:
    shown = [ascii(str(name)[:40])[1:-1] for name in list(names)[:8]]
    return (", ".join(shown) + (", ..." if len(names) > 8 else "")) or "none"


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
