"""The directory of a zip as `torch.save` writes it: members stored, not compressed, one after another.

Two readers that understand one zip differently are how a hostile file hides something, so this one takes only the
plain form: nothing before the first member, nothing compressed or encrypted, no two members that overlap or share a
name, every local header in agreement with the directory, no name that leads out of the archive.
"""

import mmap
import struct
from dataclasses import dataclass
from typing import NoReturn

from vdt_mlx.errors import VDTError
from weights.formats.pickle_vm import resave, resave_script

MAX_MEMBERS = 100_000
MAX_DIRECTORY = 16 * 2**20

_END = struct.Struct("<IHHHHIIH")
_END64_LOCATOR = struct.Struct("<IIQI")
_END64 = struct.Struct("<IQHHIIQQQQ")
_ENTRY = struct.Struct("<IHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_HAS_DESCRIPTOR = 1 << 3


@dataclass(frozen=True)
class Member:
    """One stored file: its bytes are at `start`, `size` of them, with this CRC-32."""

    name: str
    start: int
    size: int
    crc: int


def read_directory(file: mmap.mmap, source: str) -> dict[str, Member]:
    """The members of a zip, by name. Raises VDTError, with `source` in its sentence, for any fault."""
    try:
        return _Directory(file, source).read()
    except struct.error:
        raise VDTError(f"{source} is a damaged zip: its directory is cut short.") from None


class _Directory:
    def __init__(self, file: mmap.mmap, source: str):
        self.file = file
        self.source = source

    def fail(self, fault: str) -> NoReturn:
        raise VDTError(f"{self.source} is a damaged or hostile zip: {fault}.")

    def read(self) -> dict[str, Member]:
        count, position, end = self.locate()
        if count > MAX_MEMBERS or end - position > MAX_DIRECTORY:
            self.fail(f"it lists {count:,} members")
        members: dict[str, Member] = {}
        spans: list[tuple[int, int, str]] = []
        for _ in range(count):
            if position + _ENTRY.size > end:
                self.fail("its directory is cut short")
            fields = _ENTRY.unpack_from(self.file, position)
            position += _ENTRY.size
            signature, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size = fields[:13]
            header = fields[16]
            if signature != 0x02014B50:
                self.fail("its directory holds something that is not an entry")
            raw_name = self.file[position : position + name_size]
            extra = self.file[position + name_size : position + name_size + extra_size]
            position += name_size + extra_size + comment_size
            if position > end:
                self.fail("its directory is cut short")
            size, packed, header = self.widen(extra, size, packed, header)
            name = self.check_name(raw_name)
            if flags & 1:
                self.fail(f"{name} is encrypted")
            if name.endswith(".npy"):
                raise VDTError(f"{self.source} is a numpy archive, not a PyTorch checkpoint.")
            if method != 0 or packed != size:
                if "/code/__torch__" in name:
                    raise VDTError(resave_script(self.source))
                raise VDTError(
                    f"{self.source}: {name} is compressed, which torch.save never does; {resave(self.source)}."
                )
            if name in members:
                self.fail(f"two members are named {name}")
            start = self.check_local(header, raw_name, name, crc, size, flags)
            members[name] = Member(name, start, size, crc)
            spans.append((header, start + size, name))
        if position != end:
            self.fail("its directory has other bytes after its entries")
        self.check_spans(spans)
        return members

    def locate(self) -> tuple[int, int, int]:
        """The number of entries, and where the directory starts and ends."""
        file, length = self.file, len(self.file)
        earliest = max(0, length - _END.size - 0xFFFF)
        at = file.rfind(b"PK\x05\x06", earliest)
        if at < 0 or at + _END.size > length:
            raise VDTError(f"{self.source} is a zip that was cut short: it has no directory (download it again).")
        _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(file, at)
        if at + _END.size + comment != length:
            self.fail("other bytes follow its end")
        end = at
        locator = at - _END64_LOCATOR.size
        if locator >= 0 and file[locator : locator + 4] == b"PK\x06\x07":
            _, _, at64, _ = _END64_LOCATOR.unpack_from(file, locator)
            if at64 + _END64.size != locator:
                self.fail("its zip64 record is not where it should be")
            signature, _, _, _, disk, first_disk, here, count, size, offset = _END64.unpack_from(file, at64)
            if signature != 0x06064B50:
                self.fail("its zip64 record is not one")
            end = at64
        if disk or first_disk or here != count:
            self.fail("it is one part of several")
        if offset + size != end:
            self.fail("its directory is not where it should be")
        self.directory = offset
        return count, offset, end

    def widen(self, extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
        """Sizes and offset of more than 32 bits, from the zip64 extra field."""
        values = [size, packed, header]
        wide = [index for index, value in enumerate(values) if value == 0xFFFFFFFF]
        position = 0
        while wide and position + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, position)
            if kind == 1:
                if length < 8 * len(wide) or position + 4 + length > len(extra):
                    self.fail("a zip64 field is cut short")
                for place, index in enumerate(wide):
                    values[index] = struct.unpack_from("<Q", extra, position + 4 + 8 * place)[0]
                break
            position += 4 + length
        return values[0], values[1], values[2]

    def check_name(self, raw: bytes) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a member's name is not UTF-8")
        parts = name.split("/")
        if (
            not name
            or len(name) > 1024
            or not name.isprintable()
            or any(part in ("", ".", "..") for part in parts)
            or "\\" in name
        ):
            self.fail(f"it has a member named {name[:60]!a}")
        return name

    def check_local(self, header: int, raw_name: bytes, name: str, crc: int, size: int, flags: int) -> int:
        """Where the bytes of a member start, after comparing its local header with the directory."""
        if header + _LOCAL.size > self.directory:
            self.fail(f"{name} lies outside of it")
        fields = _LOCAL.unpack_from(self.file, header)
        signature, _, local_flags, method, _, _, local_crc, packed, local_size, name_size, extra_size = fields
        start = header + _LOCAL.size + name_size + extra_size
        if signature != 0x04034B50 or start + size > self.directory:
            self.fail(f"{name} lies outside of it")
        if self.file[header + _LOCAL.size : header + _LOCAL.size + name_size] != raw_name or method != 0:
            self.fail(f"{name} is described in two different ways")
        if (local_flags ^ flags) & (1 | _HAS_DESCRIPTOR):
            self.fail(f"{name} is described in two different ways")
        extra = self.file[start - extra_size : start]
        local_size, packed, _ = self.widen(extra, local_size, packed, 0)
        if local_flags & _HAS_DESCRIPTOR and (local_crc, packed, local_size) == (0, 0, 0):
            return start  # the sizes follow the bytes; the directory has them too
        if (local_crc, packed, local_size) != (crc, size, size):
            self.fail(f"{name} is described in two different ways")
        return start

    def check_spans(self, spans: list[tuple[int, int, str]]) -> None:
        previous = 0
        for header, end, name in sorted(spans):
            if header < previous:
                self.fail(f"{name} overlaps another member")
            if previous == 0 and header != 0:
                self.fail("it starts with something else")
            previous = end
