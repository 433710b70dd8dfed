"""`.pt` files without PyTorch, and without trust: the zip format of torch >= 1.6, and the format before it.

    with open_torch(path) as file:
        file.content        # what was saved: dicts, lists, scalars, StoredTensor
        file.members        # the byte ranges that carry a checksum

Storages are memory-mapped: nothing of a tensor is read until its elements are asked for.
"""

import mmap
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from vdt_mlx.errors import VDTError
from weights.formats import pickle_vm
from weights.formats.pickle_vm import Name
from weights.formats.tensors import NUMPY, STORAGE_TYPES, Storage
from weights.formats.zip_reader import Member, read_directory

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How a file of torch < 1.6 starts: a pickle of the number 0x1950a86a20f9469cfc6c."""
LEGACY_VERSION = 1001
MAX_STORAGES = 100_000
CONFIG_RECORD = "vdt_mlx.json"
"""An extra member that our own exports carry; PyTorch ignores it."""


@dataclass
class MappedFile:
    """A regular file, memory-mapped for reading."""

    path: Path
    file: mmap.mmap
    identity: tuple[int, int]
    """Size and time of the last change, to notice if the file changes while it is read."""

    @classmethod
    def open(cls, path: str | Path) -> "MappedFile":
        """Raises VDTError if there is no such file, or it is a folder, a device, empty or unreadable."""
        path = Path(path)
        try:
            # Without O_NONBLOCK a pipe would make this wait for ever.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise VDTError(f"There is no file {path}.") from None
        except OSError as error:
            raise VDTError(f"{path} cannot be read ({error.strerror}).") from None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise VDTError(f"{path} is not a regular file.")
            if status.st_size == 0:
                raise VDTError(f"{path} is empty.")
            file = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise VDTError(f"{path} cannot be read ({error.strerror}).") from None
        finally:
            os.close(handle)
        return cls(path, file, (status.st_size, status.st_mtime_ns))

    def __len__(self) -> int:
        return len(self.file)

    def close(self) -> None:
        with suppress(BufferError):  # an array may still look at it; it is unmapped when the array goes
            self.file.close()

    def changed(self) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            return True
        return (status.st_size, status.st_mtime_ns) != self.identity


@dataclass
class TorchFile:
    """An opened checkpoint; use it as a context manager."""

    mapped: MappedFile
    format: str
    """`zip` or `legacy`."""
    content: Any
    members: list[Member] = field(default_factory=list)
    """Byte ranges with a CRC-32 (none in the legacy format)."""
    config: str | None = None
    """The JSON that our own exports carry."""

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mapped.close()


def open_torch(path: str | Path) -> TorchFile:
    """Opens a `.pt` file of either format.

    Raises VDTError if it is neither, if it is damaged, or if its pickle names anything that is not on the allow-list
    (`weights.formats.pickle_vm.ALLOWED`); nothing in the file is ever run.
    """
    mapped = MappedFile.open(path)
    try:
        if mapped.file[:4] == b"PK\x03\x04":
            return _open_zip(mapped)
        if mapped.file[: len(LEGACY_MAGIC)] == LEGACY_MAGIC:
            return _open_legacy(mapped)
        raise VDTError(f"{path} is not a PyTorch file.")
    except BaseException:
        mapped.close()
        raise


def _open_zip(mapped: MappedFile) -> TorchFile:
    source = str(mapped.path)
    members = read_directory(mapped.file, source)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise VDTError(f"{source} is a zip, but not one that torch.save wrote (it has no single data.pkl).")
    folder = pickles[0][: -len("data.pkl")]
    stray = next((name for name in members if not name.startswith(folder)), None)
    if stray is not None:
        raise VDTError(f"{source} is a damaged or hostile zip: {stray[:60]!a} lies outside of {folder}.")
    if f"{folder}constants.pkl" in members:
        raise VDTError(pickle_vm.resave_script(source))

    def read(name: str, limit: int) -> bytes | None:
        member = members.get(folder + name)
        if member is None:
            return None
        if member.size > limit:
            raise VDTError(f"{source}: {member.name} has {member.size:,} bytes, more than any checkpoint's.")
        data = mapped.file[member.start : member.start + member.size]
        if zlib.crc32(data) != member.crc:
            raise VDTError(f"{source} is damaged: the checksum of {member.name} is wrong (download it again).")
        return data

    order = read("byteorder", 64)
    if order not in (None, b"little"):
        shown = "big-endian" if order == b"big" else f"of the byte order {ascii(order)[:40]}"
        raise VDTError(f"{source} is {shown}; only little-endian files can be read.")

    def storage(identity: tuple[Any, ...], kind: Name) -> Storage:
        if len(identity) != 5:
            raise VDTError(f"{source} is damaged: it describes a storage that makes no sense.")
        key, numel = identity[2], identity[4]
        found = _declared(source, mapped.file, kind, key, numel)
        member = members.get(f"{folder}data/{key}")
        if member is None:
            raise VDTError(f"{source} is damaged: it has no storage {key[:40]!a}.")
        if member.size != found.nbytes:
            raise VDTError(
                f"{source} is damaged: the storage {member.name} has {member.size:,} bytes where its pickle says "
                f"{found.nbytes:,}."
            )
        found.start = member.start
        return found

    data = read("data.pkl", pickle_vm.MAX_BYTES)
    assert data is not None
    content, end = pickle_vm.load(data, source, storage)
    if end != len(data):
        raise VDTError(f"{source}: other bytes follow the end of its pickle.")
    config = read(CONFIG_RECORD, 2**20)
    return TorchFile(
        mapped, "zip", content, list(members.values()), config.decode("utf-8", "replace") if config else None
    )


def _open_legacy(mapped: MappedFile) -> TorchFile:
    """The format of torch < 1.6: four pickles (magic, version, machine, content), the keys, then each storage's
    element count and bytes."""
    source = str(mapped.path)
    position = 0

    def refuse(identity: tuple[Any, ...], kind: Name) -> Storage:
        raise VDTError(f"{source} is damaged: a storage where none belongs.")

    def load(persistent_load: pickle_vm.PersistentLoad) -> Any:
        nonlocal position
        data = mapped.file[position : position + pickle_vm.MAX_BYTES]
        value, end = pickle_vm.load(data, source, persistent_load)
        position += end
        return value

    storages: dict[str, Storage] = {}

    def storage(identity: tuple[Any, ...], kind: Name) -> Storage:
        if len(identity) != 6:
            raise VDTError(f"{source} is damaged: it describes a storage that makes no sense.")
        key, numel = identity[2], identity[4]
        if identity[5] is not None:
            raise VDTError(f"{source} stores views of storages, as torch < 0.4 did; {pickle_vm.resave(source)}.")
        found = _declared(source, mapped.file, kind, key, numel)
        known = storages.setdefault(key, found)
        if (known.dtype, known.numel) != (found.dtype, found.numel) or len(storages) > MAX_STORAGES:
            raise VDTError(f"{source} is damaged: it describes the storage {key[:40]!a} in two ways.")
        return known

    load(refuse)  # the magic number, which was compared before
    version = load(refuse)
    if version != LEGACY_VERSION:
        raise VDTError(f"{source} is of an unknown version of PyTorch's old format; {pickle_vm.resave(source)}.")
    machine = load(refuse)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise VDTError(f"{source} is big-endian; only little-endian files can be read.")
    content = load(storage)
    keys = load(refuse)
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise VDTError(f"{source} is damaged: its list of storages is not that of its tensors.")
    for key in keys:
        found = storages[key]
        count = int.from_bytes(mapped.file[position : position + 8], "little")
        if count != found.numel:
            raise VDTError(f"{source} is damaged: a storage has {count:,} elements instead of {found.numel:,}.")
        found.start = position + 8
        position = found.start + found.nbytes
        if position > len(mapped):
            raise VDTError(f"{source} was cut short: its tensors need more bytes than it has (download it again).")
    if position != len(mapped):
        raise VDTError(f"{source} is damaged: other bytes follow its last tensor.")
    return TorchFile(mapped, "legacy", content)


def _declared(source: str, file: mmap.mmap, kind: Name, key: Any, numel: Any) -> Storage:
    """The storage that a pickle declares, not placed yet."""
    dtype = STORAGE_TYPES[kind.name]
    plausible = type(key) is str and 0 < len(key) <= 64 and key.isascii() and key.isalnum()
    if not plausible or type(numel) is not int or numel < 0:
        raise VDTError(f"{source} is damaged: it describes a storage that makes no sense.")
    if numel * NUMPY[dtype].itemsize > len(file):
        raise VDTError(
            f"{source} declares a storage of {numel * NUMPY[dtype].itemsize:,} bytes but has only {len(file):,} "
            "(a download that was cut short?)."
        )
    return Storage(dtype, numel, file)
