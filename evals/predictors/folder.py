"""Clips that another system made, read from a folder; each file is looked at before it is read."""

import hashlib
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.predictors.frames import Bad, Continuation, Start, wrong_shape
from evals.scoring.cases import Case
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256
from vdt_mlx.reading import npz_header, npz_names, read_npz


class Folder(Continuation):
    """Clips made elsewhere: files named by clip id (.gif, .mp4, .npz ...). A missing one is counted and named."""

    SUFFIXES = (".npz", ".gif", ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise VDTError(f"There is no folder of predictions at {folder}.")
        self.folder = folder
        self.files: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in self.SUFFIXES:
                continue
            other = self.files.setdefault(path.stem, path)
            if other is not path:
                raise VDTError(f"{folder} has two files for the clip {path.stem}: {other.name} and {path.name}.")
        if not self.files:
            raise VDTError(
                f"{folder} holds no predictions ({', '.join(self.SUFFIXES)}, named by clip id; `export` writes "
                "the given frames under those names)."
            )
        name = folder.resolve().name if folder.name in ("", "..") else folder.name
        super().__init__(name, name, "model", f"{len(self.files)} files from a folder")

    def check(self, ids: Sequence[str], make: Callable[[str], Case]) -> None:
        """Raises VDTError if not one of the clips has a usable prediction; a few of them are made to look."""
        found = [name for name in ids if name in self.files]
        if not found:
            raise VDTError(
                f"{self.folder} has no prediction for any of these clips (it has {next(iter(self.files))}, ...; the "
                f"first clip is {ids[0]})."
            )
        first = ""
        for name in found[:8]:
            ((clip,),) = self.complete([make(name)])
            if not isinstance(clip, Bad):
                return
            first = first or f"{self.files[name].name} {clip.reason}"
        raise VDTError(f"No prediction in {self.folder} fits: {first}.")

    def predict(self, starts: Sequence[Start]) -> list[list[Any]]:
        return [[self._read(start) for start in starts]]

    def _read(self, start: Start) -> Any:
        path = self.files.get(start.id)
        if path is None:
            return Bad("is missing from the folder")
        root = self.folder.resolve()
        if root not in path.resolve().parents:
            return Bad("is a link that leads out of the folder")
        try:
            return _npz(path, start) if path.suffix.lower() == ".npz" else _film(path, start)
        except _Unfit as fault:
            return Bad(str(fault))
        except (VDTError, ValueError, OSError, EOFError) as error:
            said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            return Bad(f"cannot be used ({textwrap.shorten(said, 240, placeholder='...')})")

    def content(self) -> str:
        digest = hashlib.sha256()
        for path in self.files.values():
            known = sha256(path) if path.is_file() else "unreadable"
            digest.update(f"{path.name} {known}\n".encode())
        return digest.hexdigest()


class _Unfit(Exception):
    """A file that can be read, and does not fit; its text goes after the file's name."""


def _npz(path: Path, start: Start) -> np.ndarray:
    """The array of an npz, whose shape is looked at before anything is unpacked: bombs stay small."""
    names = npz_names(path)
    if "frames" not in names and len(names) != 1:
        raise _Unfit(f"has {len(names)} arrays, and none called frames" if names else "has no array called frames")
    name = "frames" if "frames" in names else names[0]
    shape, dtype = npz_header(path, name)
    if dtype != np.uint8:
        raise _Unfit(f"has {dtype} values; frames are uint8")
    fault = wrong_shape(shape, (start.total, *start.frames.shape[1:]), len(start.frames))
    if fault:
        raise _Unfit(fault)
    return read_npz(path, {name})[name]


def _film(path: Path, start: Start) -> np.ndarray:
    """Frames of a GIF or a video, read one at a time: the first of a wrong size, or one too many, ends it."""
    from vdt_mlx.media import video

    want = (start.total, *start.frames.shape[1:])
    if path.suffix.lower() == ".gif":
        _look_at_gif(path, want)
    frames = []
    for frame in video.iterate_frames(path):
        frames.append(frame)
        if frame.shape != want[1:] or len(frames) > start.total:
            more = "at least " if len(frames) > start.total else ""
            if more:
                raise _Unfit(f"has {more}{len(frames)} frames; {want[0]} are a whole clip")
            raise _Unfit(wrong_shape((1, *frame.shape), want, len(start.frames)) or "does not fit")
    if not frames:
        raise _Unfit("has no frames")
    return np.stack(frames)


def _look_at_gif(path: Path, want: tuple[int, ...]) -> None:
    """The size in a GIF's header, before any of it is decoded."""
    with path.open("rb") as file:
        head = file.read(10)
    if len(head) == 10 and head[:3] == b"GIF":
        width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        if (height, width) != want[1:3]:
            raise _Unfit(f"has {width} x {height} pixels; clips here are {want[2]} x {want[1]}")
