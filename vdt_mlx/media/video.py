"""Clips in and out: GIF, MP4, folders of images and npz, always as uint8 RGB arrays (frames, height, width, 3).

What the kinds of files have of their own is in the modules beside this one: `images` (depth, orientation,
transparency), `animation` (the time of a GIF), `streams` (ffmpeg), `folders` (what is taken of a folder).
"""

import logging
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path
from vdt_mlx.media.animation import animation_frames, picture_count, write_gif
from vdt_mlx.media.folders import frame_files
from vdt_mlx.media.images import IMAGE_SUFFIXES, MAX_SIDE, MIN_SIDE, check_side, read_image, write_png
from vdt_mlx.media.streams import VIDEO_SUFFIXES, check_ffmpeg, stream_frames, write_mp4
from vdt_mlx.reading import check_stand_in, first_bytes, npz_names, read_npz

__all__ = [
    "FITS",
    "IMAGE_SUFFIXES",
    "MAX_SIDE",
    "MIN_SIDE",
    "VIDEO_SUFFIXES",
    "check_ffmpeg",
    "fit",
    "iterate_frames",
    "read_clip",
    "read_needed",
    "say_cut",
    "write_gif",
    "write_mp4",
    "write_npz",
    "write_png",
    "write_pngs",
]

MAX_START = 1 << 40
"""Of frame numbers that are asked for: beyond any file."""

FITS = ("crop", "pad", "stretch")
"""How a frame of another shape is fitted: its centre cut out, black bars added, or pulled to shape. All are resized
with an antialiased bicubic filter."""

Frames = Generator[np.ndarray, None, None]
_log = logging.getLogger("vdt_mlx.media")


# Reading -------------------------------------------------------------------------------------------------------------


def read_clip(
    path: str | Path, frames: int, size: tuple[int, int], *, start: int = 0, stride: int = 1, how: str = "crop"
) -> np.ndarray:
    """Reads `frames` frames from a GIF, a video, a folder of images or an npz.

    Args:
        path: the npz holds an array `frames` (or just one array) of shape (N, height, width, 3), uint8.
        size: (height, width) of the result; frames are fitted to it.
        start, stride: the first frame taken, and how many to go forward for the next.
        how: one of FITS.

    Returns:
        (frames, height, width, 3) uint8.

    Raises:
        VDTError: no such file, not a readable video, cut short, too few frames, too small or too large.
    """
    clip = _read(Path(path), frames, size, start, stride, how)
    if len(clip) < frames:
        needed = start + (frames - 1) * stride + 1
        raise VDTError(f"{path} has too few frames: {needed} are needed for a clip of {frames} from it.")
    return np.stack(clip)


def read_needed(
    path: str | Path,
    frames: int,
    size: tuple[int, int],
    needed: Iterable[int],
    *,
    start: int = 0,
    stride: int = 1,
    how: str = "crop",
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a clip of which only some frames are needed, since a model makes the others.

    A file that holds no more than the needed frames gives them, in order. One that is longer gives every frame that
    it has, and has to reach to the last needed one.

    Args:
        frames: T, of the clip.
        needed: numbers of frames, 0 to T - 1.
        path, size, start, stride, how: as for `read_clip`.

    Returns:
        (T, height, width, 3) uint8, and (T,) bool: which frames were in the file. The others are black.

    Raises:
        VDTError: as `read_clip`; too few frames means that a needed one is missing.
    """
    wanted = sorted(set(needed))
    clip = _read(Path(path), frames, size, start, stride, how) if wanted else []
    there = list(range(len(clip)))
    if wanted and len(clip) <= wanted[-1]:
        if len(clip) != len(wanted):
            last = start + wanted[-1] * stride + 1
            raise VDTError(
                f"{path} has too few frames: {last} are needed, up to the last that is given, or just the "
                f"{len(wanted)} that are given; there {'is' if len(clip) == 1 else 'are'} {len(clip)} of them."
            )
        there = wanted
        _log.warning("Note: %s holds %s, taken as the given ones: %s.", path, _frames_of(len(clip)), _numbers(wanted))
    whole = np.zeros((frames, *size, 3), np.uint8)
    for index, frame in zip(there, clip, strict=True):
        whole[index] = frame
    return whole, np.isin(np.arange(frames), there)


def iterate_frames(path: str | Path, start: int = 0) -> Frames:
    """All frames (H, W, 3) uint8 of what `read_clip` reads, from number `start` on, one at a time, as they are.

    Raises VDTError as `read_clip` does.
    """
    return _frames(Path(path), start)


def fit(frame: np.ndarray, size: tuple[int, int], source: str | Path = "a frame", how: str = "crop") -> np.ndarray:
    """One RGB frame (H, W, 3) uint8, cropped, padded or stretched (FITS) and resized to (height, width)."""
    from PIL import Image

    height, width = frame.shape[:2]
    check_side(width, height, source)
    if (height, width) == tuple(size):
        return frame
    image = Image.fromarray(frame)
    if how == "stretch":
        return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    if how == "pad":
        scale = max(height / size[0], width / size[1])
        inside = min(size[0], max(1, round(height / scale))), min(size[1], max(1, round(width / scale)))
        top, left = (size[0] - inside[0]) // 2, (size[1] - inside[1]) // 2
        padded = np.zeros((*size, 3), np.uint8)
        padded[top : top + inside[0], left : left + inside[1]] = np.asarray(
            image.resize((inside[1], inside[0]), Image.Resampling.BICUBIC)
        )
        return padded
    scale = min(height / size[0], width / size[1])
    crop_height, crop_width = size[0] * scale, size[1] * scale
    top, left = (height - crop_height) / 2, (width - crop_width) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))


def _read(path: Path, frames: int, size: tuple[int, int], start: int, stride: int, how: str) -> list[np.ndarray]:
    """At most `frames` fitted frames."""
    if start < 0 or stride < 1:
        raise VDTError(f"`start` {start} and `stride` {stride} do not fit: start at 0 or later, stride 1 or more.")
    if start + (frames - 1) * stride > MAX_START:
        raise VDTError(f"`start` {start} with `stride` {stride} asks for frames beyond any file.")
    if how not in FITS:
        raise VDTError(f"Frames are fitted by {', '.join(FITS)}, not by {how!r}.")
    clip: list[np.ndarray] = []
    with closing(_frames(path, start)) as source:
        for frame in islice(source, 0, (frames - 1) * stride + 1, stride):
            if not clip and how == "crop":
                say_cut(path, frame, size)
            clip.append(fit(frame, size, path, how))
    return clip


def say_cut(path: Path, frame: np.ndarray, size: tuple[int, int]) -> bool:
    """Remarks that a part of each frame is not seen where it is cropped to `size`, and returns whether that is so."""
    height, width = frame.shape[:2]
    scale = min(height / size[0], width / size[1])
    crop = round(size[0] * scale), round(size[1] * scale)
    cut = crop[0] * crop[1] < 0.99 * height * width
    if cut:
        _log.warning(
            "Note: %s is %d x %d: its middle %d x %d is used (--fit pad or --fit stretch show all of it).",
            *(path, width, height, crop[1], crop[0]),
        )
    return cut


def _frames(path: Path, start: int = 0) -> Frames:
    if path.is_dir():
        return _folder_frames(path, start)
    if not path.exists():
        raise VDTError(f"There is no file or folder {path}.")
    if not path.is_file():
        raise VDTError(f"{path} is neither a file nor a folder.")
    suffix = path.suffix.lower()
    _check_content(path, suffix)
    if suffix == ".npz":
        return _npz_frames(path, start)
    if suffix in VIDEO_SUFFIXES:
        return stream_frames(path, start)
    if suffix == ".gif" or (suffix in IMAGE_SUFFIXES and picture_count(path) > 1):
        return _from(animation_frames(path), start)
    if suffix in IMAGE_SUFFIXES:
        return _from(iter([read_image(path)]), start)
    known = ", ".join((".gif", ".npz", *VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
    raise VDTError(f"{path} is not a kind of clip that is read here (a folder of images, or {known}).")


VIDEO, PICTURE, ARRAYS = "a video", "a picture", "an npz"
_CONTENT = (
    (re.compile(rb"....ftyp(?:heic|heix|heim|hevc|mif1|msf1|avif|avis)", re.DOTALL), "a HEIC or AVIF picture", None),
    (re.compile(rb"....ftyp", re.DOTALL), "an MP4 or MOV video", VIDEO),
    (re.compile(rb"\x1aE\xdf\xa3"), "a Matroska or WebM video", VIDEO),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "an AVI video", VIDEO),
    (re.compile(rb"GIF8[79]a"), "a GIF", PICTURE),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "a PNG picture", PICTURE),
    (re.compile(rb"\xff\xd8\xff"), "a JPEG picture", PICTURE),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP picture", PICTURE),
    (re.compile(rb"PK\x03\x04"), "a zip archive or an npz", ARRAYS),
)
"""How files begin, what they are, and as what they are read."""


def _check_content(path: Path, suffix: str) -> None:
    """Raises VDTError for a file whose name promises something else than its content is."""
    start = first_bytes(path)
    check_stand_in(start, str(path))
    read_as = ARRAYS if suffix == ".npz" else VIDEO if suffix in VIDEO_SUFFIXES else PICTURE
    if suffix not in (".npz", ".gif", *VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
        return
    if not start and path.stat().st_size == 0:
        raise VDTError(f"{path} is empty: a copy or a download of it did not end well.")
    for magic, name, kind in _CONTENT:
        if magic.match(start):
            if kind is None:
                raise VDTError(f"{path} is {name}, which is not read here: save it as PNG or JPEG.")
            if kind != read_as:
                raise VDTError(f"{path} is {name} by its content, not what its name says: rename it.")
            return


def _from(frames: Iterator[np.ndarray], start: int) -> Frames:
    yield from islice(frames, start, None)


def _folder_frames(path: Path, start: int) -> Frames:
    taken = frame_files(path)
    if taken.left_out:
        _log.warning("Note: %s", taken.sentence(path, "images"))
    shape = None
    for file in taken.paths[start:]:
        frame = read_image(file)
        if shape is not None and frame.shape != shape:
            raise VDTError(f"{file} is {frame.shape[1]} x {frame.shape[0]}, unlike the images before it.")
        shape = frame.shape
        yield frame


def _npz_frames(path: Path, start: int) -> Frames:
    names = npz_names(path, "clip")
    if "frames" not in names and len(names) != 1:
        raise VDTError(f"{path} has no array 'frames' (it has {', '.join(names[:5]) or 'none'}).")
    name = "frames" if "frames" in names else names[0]
    frames = read_npz(path, [name], what="clip")[name]
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise VDTError(
            f"{path} holds {frames.dtype} of shape {frames.shape}; clips are uint8 of (frames, height, width, 3)."
        )
    return _from(iter(frames), start)


def _frames_of(count: int) -> str:
    return "one frame" if count == 1 else f"{count} frames"


def _numbers(numbers: list[int]) -> str:
    """Counted from 1, as people and contact sheets do."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0] + 1) if len(run) == 1 else f"{run[0] + 1} to {run[-1] + 1}" for run in runs)


# Writing -------------------------------------------------------------------------------------------------------------


def write_pngs(folder: str | Path, frames: np.ndarray) -> None:
    """A folder 000.png, 001.png, ...; a folder of that name is replaced if it holds nothing but such pictures."""
    folder = Path(folder)
    if folder.exists() and not (
        folder.is_dir() and all(re.fullmatch(r"\d+\.png", item.name) for item in folder.iterdir())
    ):
        raise VDTError(f"{folder} exists and holds something else than numbered pictures.")
    with atomic_folder(folder, replace=True) as partial:
        for index, frame in enumerate(frames):
            write_png(partial / f"{index:03d}.png", frame)


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Named arrays, compressed."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
