"""Small files that may come from anywhere (JSON, TOML, npz, npy), read in one way: limits first, then one sentence.

A file is refused if it is too large, nested too deeply, or holds numbers that no setting can mean: whole numbers beyond
64 bits, infinity, and (unless asked for) NaN. A byte-order mark is no damage.
"""

import json
import math
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vdt_mlx.errors import VDTError

if TYPE_CHECKING:
    import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 64 << 20
"""Of a JSON or TOML file."""
MAX_DEPTH = 64
MAX_NPZ_BYTES = 4 << 30
"""Of the arrays of an npz together, unpacked."""
MAX_MEMBERS = 100_000
MAX_LINE = 1 << 20
"""Bytes of a line of a JSON Lines file."""


class Malformed(VDTError):
    """A text that is no JSON or no TOML at all."""


STAND_INS = ((b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),)
"""How files begin that hold the place of another one, and what they are."""
WEB_PAGES = (b"<!doctype html", b"<html")


def check_stand_in(start: bytes, source: str) -> None:
    """Raises VDTError if a file, by its first bytes, only stands for the one that is wanted: a pointer, a web page."""
    for magic, name in STAND_INS:
        if start.startswith(magic):
            raise VDTError(f"{source} is {name}.")
    if start[:200].lstrip().lower().startswith(WEB_PAGES):
        raise VDTError(f"{source} is a web page: the place that it comes from wants to be visited with a browser.")


def first_bytes(path: str | Path) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(200)
    except OSError:
        return b""


def read_json(path: str | Path, what: str = "file", *, limit: int = MAX_BYTES, nan: bool = False) -> Any:
    """What a JSON file says.

    Args:
        what: what the file should be, for messages ("data set index").
        limit: bytes that it may have.
        nan: whether NaN and the infinities, which are no JSON but which Python writes, are let through.

    Raises:
        VDTError: it is missing, unreadable, too large, not UTF-8, not JSON, or beyond the limits.
    """
    return parse_json(read_bytes(Path(path), what, limit), f"The {what} {path}", nan=nan)


def parse_json(text: str | bytes, source: str = "The text", *, nan: bool = False) -> Any:
    """What a JSON text says; `source` begins the messages. Raises VDTError as `read_json` does."""
    text = _decoded(text, source)
    try:
        body = json.loads(text)
    except RecursionError:
        raise VDTError(_too_deep(source)) from None
    except ValueError as error:
        raise Malformed(f"{source} is not JSON ({_line(error)}).") from None
    _check(body, source, nan)
    return body


def json_lines(path: str | Path, what: str = "file", *, last: int | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one a line, NaN let through.

    A line that is none, because a crash cut it short, because it is longer than `MAX_LINE` or beyond the limits, is
    left out.

    Args:
        last: only of so many bytes at the end.

    Raises:
        VDTError: the file is missing or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            if last is not None:
                file.seek(max(0, file.seek(0, 2) - last))
            for line in _lines(file):
                try:
                    entry = parse_json(line, nan=True)
                except VDTError:
                    continue
                if isinstance(entry, dict):
                    yield entry
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except OSError as error:
        raise VDTError(f"The {what} {path} cannot be read ({error.strerror or error}).") from None


def read_toml(path: str | Path, what: str = "file", *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """What a TOML file says. Raises VDTError as `read_json` does."""
    return parse_toml(read_bytes(Path(path), what, limit), f"The {what} {path}")


def parse_toml(text: str | bytes, source: str = "The text") -> dict[str, Any]:
    """What a TOML text says; `source` begins the messages. Raises VDTError as `read_json` does."""
    text = _decoded(text, source)
    try:
        body = tomllib.loads(text)
    except RecursionError:
        raise VDTError(_too_deep(source)) from None
    except ValueError as error:
        raise Malformed(f"{source} is not TOML ({_line(error)}).") from None
    _check(body, source, False)
    return body


def read_npz(
    path: str | Path, names: Iterable[str] | None = None, *, what: str = "npz", limit: int = MAX_NPZ_BYTES
) -> "dict[str, np.ndarray]":
    """The arrays of an npz file: all of them, or those of `names` that it has.

    Nothing is unpickled, and nothing is unpacked before its size is known.

    Raises:
        VDTError: it is missing, damaged, encrypted, packed in an unknown way, too large, or holds something else than
            plain arrays.
    """
    path = Path(path)
    wanted = None if names is None else set(names)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if len(archive.infolist()) > MAX_MEMBERS:
                raise VDTError(f"The {what} {path} has more than {MAX_MEMBERS} members.")
            members = {name: member for name, member in members.items() if wanted is None or name in wanted}
            size = sum(member.file_size for member in members.values())
            if size > limit:
                raise VDTError(f"The {what} {path} would unpack to {size / 2**30:.1f} GiB; {limit >> 30} are read.")
            return {name: _member(archive, member, f"The {what} {path}") for name, member in members.items()}
    except VDTError:
        raise
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except Exception as error:  # zipfile, zlib and numpy have many ways to say that a file is damaged
        check_stand_in(first_bytes(path), f"The {what} {path}")
        raise VDTError(f"The {what} {path} is not a readable npz file ({_line(error)}).") from None


def npz_header(path: str | Path, name: str, what: str = "npz") -> "tuple[tuple[int, ...], np.dtype]":
    """Shape and type that an npz file says of one of its arrays, before anything is unpacked. Raises VDTError."""
    source = f"The {what} {path}"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            return _header(file, name, source)
    except VDTError:
        raise
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except Exception as error:  # zipfile, zlib and numpy have many ways to say that a file is damaged
        raise VDTError(f"{source} is not a readable npz file ({_line(error)}).") from None


def read_npy(path: str | Path, what: str = "array") -> "np.ndarray":
    """The array of a .npy file, left on the disk until it is looked at.

    Raises:
        VDTError: it is missing, cut or longer than its shape says, or holds something else than plain numbers or text.
    """
    import numpy as np

    source = f"The {what} {path}"
    try:
        with Path(path).open("rb") as file:
            shape, dtype = _header(file, "", source)
            begin = file.tell()
        if begin + math.prod(shape) * dtype.itemsize != Path(path).stat().st_size:
            raise VDTError(f"{source} is damaged: its size does not fit its shape.")
        if not math.prod(shape) or not dtype.itemsize:
            return np.zeros(shape, dtype)  # which nothing can be mapped for
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except VDTError:
        raise
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except Exception as error:  # numpy has many ways to say that a file is damaged or absurdly large
        check_stand_in(first_bytes(path), source)
        raise VDTError(f"{source} is not a readable npy file ({_line(error)}).") from None


def npz_names(path: str | Path, what: str = "npz") -> list[str]:
    """The names of the arrays of an npz file. Raises VDTError if it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except Exception as error:
        check_stand_in(first_bytes(path), f"The {what} {path}")
        raise VDTError(f"The {what} {path} is not a readable npz file ({_line(error)}).") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> "np.ndarray":
    import numpy as np

    name = member.filename
    if member.flag_bits & 1:
        raise VDTError(f"{source} is encrypted.")
    with archive.open(member) as file:
        shape, dtype = _header(file, name, source)
        if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise VDTError(f"{source} is damaged: the size of {name!r} does not fit its shape.")
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # at the end the checksum is compared
    return array


def _header(file: IO[bytes], name: str, source: str) -> "tuple[tuple[int, ...], np.dtype]":
    """Shape and type of the array that begins in `file`, which is left at its first value."""
    import numpy as np

    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shown = f" ({name!r})" if name else ""
    if version not in header:
        raise VDTError(f"{source} is in version {version} of numpy's format{shown}, which is not read.")
    shape, _, dtype = header[version](file)
    if dtype.hasobject:
        raise VDTError(f"{source} holds Python objects{shown}, which are not read.")
    if any(length < 0 for length in shape):
        raise VDTError(f"{source} has an impossible shape{shown}.")
    return shape, dtype


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, those longer than `MAX_LINE` left out."""
    whole = True
    while line := file.readline(MAX_LINE):
        begins, whole = whole, line.endswith(b"\n")
        if begins and (whole or len(line) < MAX_LINE):
            yield line


def read_bytes(path: Path, what: str, limit: int) -> bytes:
    """All of a small file. Raises VDTError: it is missing, unreadable, too large, or stands for another one."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise VDTError(f"There is no {what} {path}.") from None
    except OSError as error:
        raise VDTError(f"The {what} {path} cannot be read ({error.strerror or error}).") from None
    if len(data) > limit:
        raise VDTError(f"The {what} {path} is larger than {limit >> 20} MiB, so it is not what it should be.")
    check_stand_in(data, f"The {what} {path}")
    return data


def _decoded(text: str | bytes, source: str) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VDTError(f"{source} is not UTF-8 text (byte {error.start}).") from None


def _check(body: Any, source: str, nan: bool) -> None:
    """Raises VDTError for depth and numbers beyond the limits."""
    level = [body]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
                raise VDTError(f"{source} holds a whole number of more than 64 bits.")
            elif isinstance(value, float) and not nan and not math.isfinite(value):
                raise VDTError(f"{source} holds the number {value}, which is no setting and no measurement.")
        if not below:
            return
        level = below
    raise VDTError(_too_deep(source))


def _too_deep(source: str) -> str:
    return f"{source} is nested more than {MAX_DEPTH} levels deep."


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter for letter in text if letter.isprintable())[:200]
