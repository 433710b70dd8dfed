"""Animated pictures: GIF, and WebP, PNG and TIFF with several pictures, frame by frame at equal time steps."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.media import images
from vdt_mlx.media.timing import repeats

MAX_PIXELS = 1 << 33
"""Of all pictures of an animation together: more is a bomb."""

_log = logging.getLogger("vdt_mlx.media")


def animation_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 of an animation, each picture for as long as it is shown (`timing.repeats`).

    Transparent pixels are white. Raises VDTError if it is damaged or cut short, or a bomb.
    """
    gif = path.suffix.lower() == ".gif"
    delays = _gif_delays(path) if gif else None
    with images.open_pictures(path) as pictures:
        width, height = images._metadata(pictures, 0, path)["shape"]
        count = len(delays) if delays is not None else _count(pictures, path)
        if count * width * height > MAX_PIXELS:
            raise VDTError(f"{path} would unpack to {count} pictures of {width} x {height}; that is too much.")
        if delays is None:
            delays = []
            for index in range(count):
                images.picture(pictures, index, path)  # WebP says a picture's delay once it is decoded
                delays.append(_delay(images._metadata(pictures, index, path)))
        held, remark = repeats(delays)
        if remark:
            _log.warning("Note: %s: %s.", path, remark)
        for index, times in enumerate(held):
            frame = images.picture(pictures, index, path)
            for _ in range(times):
                yield frame


def picture_count(path: Path) -> int:
    """How many pictures an image file holds."""
    with images.open_pictures(path) as pictures:
        return _count(pictures, path)


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """An endlessly looping GIF of (T, H, W, 3) uint8 frames with one palette for all, so that nothing flickers.

    Frames that look alike stay frames of their own. (Pillow itself, since imageio makes a palette for every frame.)
    """
    from PIL import Image

    palette = Image.fromarray(np.concatenate(list(frames), axis=0)).quantize(255, dither=Image.Dither.NONE)
    indices = np.stack([_indices(frame, palette) for frame in frames])
    colours = np.zeros((256, 3), np.uint8)
    known = np.asarray(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours[: min(len(known), 255)] = known[:255]
    colours[255] = colours[_tell_apart(indices)]
    pictures = [Image.fromarray(frame) for frame in indices]
    for picture in pictures:
        picture.putpalette(colours.tobytes())
    with atomic_path(path) as partial:
        pictures[0].save(
            partial,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / fps),
            loop=0,
            disposal=1,
            optimize=False,
        )


def _indices(frame: np.ndarray, palette: Any) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))


def _tell_apart(indices: np.ndarray) -> int:
    """Makes equal neighbours of (T, H, W) palette indices differ, in place, so that no writer merges them.

    One pixel changes between two entries of the palette that are to be the same colour: the one returned and 255.
    """
    same = [index for index in range(1, len(indices)) if np.array_equal(indices[index], indices[index - 1])]
    if not same:
        return 0
    counts = sum((np.bincount(indices[index].ravel(), minlength=256) > 0).astype(int) for index in same)
    colour = int(np.argmax(counts))
    for index in same:
        places = np.argwhere(indices[index] == colour)
        if len(places) and indices[index - 1].max() < 255:
            indices[index][tuple(places[0])] = 255
    return colour


def _gif_delays(path: Path) -> list[float]:
    """The delay of each picture of a GIF in ms, read from its blocks without decoding a picture."""
    data = path.read_bytes()
    if not data.startswith(images.FORMATS["GIF"]):
        raise VDTError(f"{path} is not a GIF.")
    delays, delay = [], 0.0
    try:
        at = 13 + _table(data[10])
        while data[at] != 0x3B:
            if data[at] == 0x21:
                if data[at + 1] == 0xF9 and data[at + 2] >= 4:
                    delay = int.from_bytes(data[at + 4 : at + 6], "little") * 10.0
                at = _skip(data, at + 2)
            elif data[at] == 0x2C:
                at = _skip(data, at + 11 + _table(data[at + 9]))
                delays.append(delay)
                delay = 0.0
            else:
                raise VDTError(f"{path} is damaged after picture {len(delays)}.")
    except IndexError:
        raise VDTError(f"{path} is cut short: its end is missing, after {len(delays)} whole pictures.") from None
    if not delays:
        raise VDTError(f"{path} holds no picture.")
    return delays


def _table(flags: int) -> int:
    """The bytes of a colour table that a packed byte announces."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip(data: bytes, at: int) -> int:
    """Where the sub-blocks that begin at `at` end."""
    while data[at]:
        at += data[at] + 1
    return at + 1


def _count(pictures: Any, path: Path) -> int:
    try:
        return int(pictures.properties(index=...).n_images or 1)
    except MemoryError:
        raise
    except Exception as error:
        raise VDTError(f"{path} is damaged ({images._line(error)}).") from None


def _delay(described: dict) -> float:
    delay = described.get("duration", 0)
    return float(delay) if isinstance(delay, int | float) and 0 < delay < 1e9 else 0.0
