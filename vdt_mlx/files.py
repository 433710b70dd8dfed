"""Files that appear whole or not at all (written beside their place, then renamed into it), and people's paths."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vdt_mlx.errors import VDTError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path as somebody wrote it, with `~` and `~name` expanded.

    Raises VDTError for an empty text, an unknown user, an address of the web, and a path that is not UTF-8 (it could
    not be written down in what is made from it).
    """
    text = os.fspath(text)
    shown = text.encode("utf-8", "backslashreplace").decode()
    if not text:
        raise VDTError("A path is empty.")
    if "\0" in text:
        raise VDTError(f"The path {shown!r} has a zero byte in it.")
    if not is_utf8(text):
        raise VDTError(f"The path {shown} is not UTF-8; rename it.")
    if _ADDRESS.match(text):
        raise VDTError(f"{shown} is an address, not a path: download what is there, and give the path of that.")
    if not text.startswith("~"):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise VDTError(f"The path {shown} begins with a user that is not known here.") from None


def is_utf8(text: str) -> bool:
    """Whether a name from the command line or a folder can be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a path beside `path` (same suffix) to write to; renames it into place if the block succeeds.

    Whatever goes wrong, Ctrl-C included, the partial file is removed and a file that stood at `path` is untouched.
    """
    path = Path(path)
    made = _make_parents(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".partial{path.suffix}", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        _remove_empty(made)


@contextmanager
def atomic_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path`; renames it into place if the block succeeds.

    With `replace`, a folder that stood at `path` is moved aside first and removed last, so one of the two always
    exists. Without it, an existing `path` raises FileExistsError before anything is written.
    """
    path = Path(path)
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists")
    made = _make_parents(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent))
    old = partial.with_suffix(".old")
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        if path.exists():
            path.replace(old)
        try:
            partial.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        _remove(old)
    finally:
        _remove(partial)
        _remove_empty(made)


@contextmanager
def atomic_update(folder: str | Path, owned: Collection[str]) -> Iterator[Path]:
    """Yields an empty folder to fill; what is in it replaces what `folder` holds under the names `owned`, or nothing.

    Files of other names in `folder` stay. If the block or a move fails, all is as it was before.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".new-", suffix=".partial", dir=folder))
    old = Path(tempfile.mkdtemp(prefix=".old-", suffix=".partial", dir=folder))
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, dest: Path) -> None:
        source.replace(dest)
        moved.append((source, dest))

    try:
        yield partial
        for name in {*owned, *(item.name for item in partial.iterdir())}:
            if (folder / name).exists() or (folder / name).is_symlink():
                move(folder / name, old / name)
        for item in list(partial.iterdir()):
            move(item, folder / item.name)
    except BaseException:
        for source, dest in reversed(moved):
            dest.replace(source)
        raise
    finally:
        _remove(partial)
        _remove(old)
        _remove_empty(made)


def _make_parents(path: Path) -> list[Path]:
    """Makes the folders above `path`; returns those that were not there, the innermost first."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return made


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it holds what was made, or another's file
            folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
