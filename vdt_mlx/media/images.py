"""Picture files as 8-bit RGB, whatever their depth, orientation and transparency.

imageio (its Pillow plugin) reads and writes them. Only files that begin like one of FORMATS reach it, whatever their
names say: a PostScript file that is called `.png` is refused before any decoder sees it.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MIN_SIDE, MAX_SIDE = 8, 8192
"""Frames outside of these are refused: too small to show anything, or too large to be meant."""
MAX_AREA = 36_000_000
"""Pixels of a frame: 8K video has 33 million."""
WHITE, BLACK = 255, 0

FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "GIF": (b"GIF87a", b"GIF89a"),
}
"""What is read, by the first bytes of the file."""

_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")


def check_side(width: int, height: int, source: str | Path) -> None:
    """Raises VDTError for pictures that are too small or too large."""
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise VDTError(f"{source} is {width} x {height} pixels; sides of {MIN_SIDE} to {MAX_SIDE} are read.")
    if width * height > MAX_AREA:
        raise VDTError(f"{source} is {width} x {height} pixels; at most {MAX_AREA / 1e6:.0f} million are read.")


def read_image(path: Path, background: int = WHITE) -> np.ndarray:
    """The first picture of a file as (H, W, 3) uint8, upright, composited on a grey of `background` where transparent.

    16 bits are scaled by 255 / 65535 and floats of 0 to 1 by 255.

    Raises:
        VDTError: not a picture of FORMATS, damaged, too large or small, or of values that have no known range.
    """
    with open_pictures(path) as pictures:
        return picture(pictures, 0, path, background)


@contextmanager
def open_pictures(path: Path) -> Iterator[Any]:
    """An opened imageio resource of a file of FORMATS; its size has been looked at, nothing is decoded yet."""
    import imageio.v3 as iio
    from PIL import Image

    try:
        file = path.open("rb")
    except OSError as error:
        raise VDTError(f"{path} cannot be read ({error.strerror or error}).") from None
    with file:
        kind = _format(file.read(16))
        file.seek(0)
        if kind is None:
            raise VDTError(f"{path} is not an image that can be read ({', '.join(FORMATS)}).")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; sizes are checked here
            try:
                resource = iio.imopen(file, "r", plugin="pillow")
            except Image.DecompressionBombError:
                raise VDTError(f"{path} is far too large; sides of {MIN_SIDE} to {MAX_SIDE} pixels are read.") from None
            except Exception:  # Pillow has many ways to say that a file is damaged
                raise VDTError(f"{path} is not an image that can be read.") from None
            with resource:
                width, height = _metadata(resource, 0, path)["shape"]
                check_side(width, height, path)
                yield resource


def picture(resource: Any, index: int, path: Path, background: int = WHITE) -> np.ndarray:
    """One picture of an opened file as (H, W, 3) uint8; see `read_image`."""
    described = _metadata(resource, index, path)
    mode, clear = described["mode"], described["mode"] in _TRANSPARENT or "transparency" in described
    try:
        if mode in _DEEP or mode in ("I", "F"):
            values = _eight_bits(np.asarray(resource.read(index=index)), clear, path)
            values = np.repeat(values[..., None], 3, axis=2)
        elif clear:
            values = composite(np.asarray(resource.read(index=index, mode="RGBA")), background)
        else:
            values = np.asarray(resource.read(index=index, mode="RGB"))
    except (VDTError, MemoryError):
        raise
    except Exception as error:
        raise VDTError(f"{path} is damaged or cut short ({_line(error)}).") from None
    # Asked anew: a TIFF is turned as it is decoded, and then says so.
    return np.ascontiguousarray(_upright(values, _metadata(resource, index, path).get("Orientation", 1)))


def composite(rgba: np.ndarray, background: int = WHITE) -> np.ndarray:
    """(..., 4) uint8 on a grey background, as (..., 3) uint8."""
    out = np.ascontiguousarray(rgba[..., :3])
    if rgba[..., 3].min(initial=255) < 255:
        for row in range(len(out)):  # by rows, since 16 bits of a large picture take much memory
            alpha = rgba[row, ..., 3:].astype(np.uint16)
            out[row] = (rgba[row, ..., :3] * alpha + background * (255 - alpha) + 127) // 255
    return out


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """One (H, W, 3) uint8 picture."""
    import imageio.v3 as iio

    with atomic_path(path) as partial, partial.open("wb") as file:
        iio.imwrite(file, frame, plugin="pillow", extension=".png")


def _format(start: bytes) -> str | None:
    for name, beginnings in FORMATS.items():
        if start.startswith(beginnings) and (name != "WEBP" or start[8:12] == b"WEBP"):
            return name
    return None


def _metadata(resource: Any, index: int, path: Path) -> dict[str, Any]:
    try:
        return resource.metadata(index=index, exclude_applied=False)
    except MemoryError:
        raise
    except Exception as error:
        where = f" at frame {index}" if index else ""
        raise VDTError(f"{path} is damaged{where} ({_line(error)}).") from None


def _eight_bits(values: np.ndarray, clear: bool, path: Path) -> np.ndarray:
    """Grey values of 16 bits or floats as uint8."""
    if clear:
        raise VDTError(f"{path} has one transparent grey level of 16 bits, which is not read; save it with 8 bits.")
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if values.dtype.kind == "f":
        if np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
            return np.rint(values * 255).astype(np.uint8)
        raise VDTError(f"{path} has numbers with a fraction outside of 0 to 1, so what is white in it is not known.")
    raise VDTError(f"{path} has whole numbers of {8 * values.dtype.itemsize} bits, so what is white is not known.")


def _upright(values: np.ndarray, orientation: Any) -> np.ndarray:
    """The picture as its EXIF orientation (1 to 8) wants it seen; anything else is no orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _line(error: BaseException) -> str:
    """A library's message as part of a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter for letter in text if letter.isprintable())[:200]
