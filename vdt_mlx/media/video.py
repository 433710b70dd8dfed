"""Frames in and out: GIF, MP4, folders of images and npz, always as uint8 RGB arrays (frames, height, width, 3).

Pillow reads and writes images and GIFs, the ffmpeg that imageio-ffmpeg carries does MP4.
"""

import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
MIN_SIDE, MAX_SIDE = 8, 8192
"""Frames outside of these are refused: too small to show anything, or too large to be meant."""
MAX_NPZ_BYTES = 4 << 30

RESIZE_RULE = "centre crop to the target's aspect, then antialiased bicubic resize"


# Reading -----------------------------------------------------------------------------------------------------------


def read_clip(path: str | Path, frames: int, size: tuple[int, int], *, start: int = 0, stride: int = 1) -> np.ndarray:
    """Reads `frames` frames from a GIF, a video, a folder of images or an npz.

    Args:
        path: the npz holds an array `frames` (or just one array) of shape (N, height, width, 3), uint8.
        size: (height, width) of the result; frames are fitted by RESIZE_RULE.
        start, stride: the first frame taken, and how many to go forward for the next.

    Returns:
        (frames, height, width, 3) uint8.

    Raises:
        VDTError: no such file, not a readable video, cut short, too few frames, too small or too large.
    """
    path = Path(path)
    if start < 0 or stride < 1:
        raise VDTError(f"--start {start} and --stride {stride} do not fit: start at 0 or later, stride 1 or more.")
    wanted = islice(_frames(path), start, start + (frames - 1) * stride + 1, stride)
    clip = []
    for frame in wanted:
        clip.append(fit(frame, size, path))
    if len(clip) < frames:
        needed = start + (frames - 1) * stride + 1
        raise VDTError(f"{path} has too few frames: {needed} are needed for a clip of {frames} from it.")
    return np.stack(clip)


def iterate_frames(path: str | Path) -> Iterator[np.ndarray]:
    """All frames (H, W, 3) uint8 of what `read_clip` reads, one at a time, as they are. Raises VDTError as it does."""
    return _frames(Path(path))


def fit(frame: np.ndarray, size: tuple[int, int], source: str | Path = "a frame") -> np.ndarray:
    """One RGB frame (H, W, 3) uint8, cropped and resized to (height, width) by RESIZE_RULE."""
    from PIL import Image

    height, width = frame.shape[:2]
    _check_side(width, height, source)
    if (height, width) == tuple(size):
        return frame
    scale = min(height / size[0], width / size[1])
    crop_height, crop_width = size[0] * scale, size[1] * scale
    top, left = (height - crop_height) / 2, (width - crop_width) / 2
    box = (left, top, left + crop_width, top + crop_height)
    image = Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)


def _frames(path: Path) -> Iterator[np.ndarray]:
    if path.is_dir():
        return _folder_frames(path)
    if not path.exists():
        raise VDTError(f"There is no file or folder {path}.")
    if not path.is_file():
        raise VDTError(f"{path} is neither a file nor a folder.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _npz_frames(path)
    if suffix in VIDEO_SUFFIXES:
        return _ffmpeg_frames(path)
    if suffix == ".gif":
        return _gif_frames(path)
    if suffix in IMAGE_SUFFIXES:
        raise VDTError(f"{path} is one image; give a folder of images, a GIF, a video or an npz.")
    known = ", ".join((".gif", ".npz", *VIDEO_SUFFIXES))
    raise VDTError(f"{path} is not a kind of clip that is read here (a folder of images, or {known}).")


def _check_side(width: int, height: int, source: str | Path) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise VDTError(f"{source} is {width} x {height} pixels; sides of {MIN_SIDE} to {MAX_SIDE} are read.")


def _open_image(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the size is checked below, before decoding
            image = Image.open(path)
    except Image.DecompressionBombError:
        raise VDTError(f"{path} is far too large; sides of {MIN_SIDE} to {MAX_SIDE} pixels are read.") from None
    except (UnidentifiedImageError, SyntaxError, ValueError):
        raise VDTError(f"{path} is not an image that can be read.") from None
    except OSError as error:
        raise VDTError(f"{path} cannot be read ({error.strerror or error}).") from None
    _check_side(*image.size, path)
    return image


def _to_rgb(image: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise VDTError(f"{path} is damaged or cut short ({error}).") from None


def _gif_frames(path: Path) -> Iterator[np.ndarray]:
    # Pillow stops in silence at a GIF that was cut between two frames; the trailer byte tells.
    with path.open("rb") as file:
        data = file.read()
    if not data.startswith((b"GIF87a", b"GIF89a")):
        raise VDTError(f"{path} is not a GIF.")
    if not data.rstrip(b"\0").endswith(b";"):
        raise VDTError(f"{path} is cut short: its end is missing.")
    with _open_image(path) as image:
        index = 0
        while True:
            try:
                image.seek(index)
            except EOFError:
                return
            except (OSError, SyntaxError, ValueError) as error:
                raise VDTError(f"{path} is damaged at frame {index} ({error}).") from None
            yield _to_rgb(image, path)
            index += 1


def _folder_frames(path: Path) -> Iterator[np.ndarray]:
    files = sorted(
        (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")),
        key=_natural,
    )
    if not files:
        raise VDTError(f"The folder {path} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    shape = None
    for file in files:
        with _open_image(file) as image:
            frame = _to_rgb(image, file)
        if shape is not None and frame.shape != shape:
            raise VDTError(f"{file} is {frame.shape[1]} x {frame.shape[0]}, unlike the images before it.")
        shape = frame.shape
        yield frame


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def _npz_frames(path: Path) -> Iterator[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_NPZ_BYTES:
            raise VDTError(f"{path} would unpack to {size >> 30} GiB; at most {MAX_NPZ_BYTES >> 30} are read.")
        with np.load(path, allow_pickle=False) as arrays:
            if "frames" not in arrays.files and len(arrays.files) != 1:
                raise VDTError(f"{path} has no array 'frames' (it has {', '.join(arrays.files) or 'none'}).")
            frames = arrays["frames" if "frames" in arrays.files else arrays.files[0]]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, MemoryError) as error:
        raise VDTError(f"{path} is not a readable npz ({error}).") from None
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise VDTError(
            f"{path} holds {frames.dtype} of shape {frames.shape}; clips are uint8 of (frames, height, width, 3)."
        )
    return iter(frames)


def _ffmpeg_frames(path: Path) -> Iterator[np.ndarray]:
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
    try:
        width, height = next(reader)["size"]
        _check_side(width, height, path)
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    except (OSError, StopIteration, KeyError, ValueError, RuntimeError, IndexError):
        raise VDTError(
            f"{path} is not a video that can be read: it is damaged, cut short or has no pictures."
        ) from None
    finally:
        reader.close()


# Writing -----------------------------------------------------------------------------------------------------------


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """An endlessly looping GIF of (T, H, W, 3) uint8 frames with one palette for all, so that nothing flickers."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    palette = Image.fromarray(np.concatenate(list(frames), axis=0)).quantize(256, dither=Image.Dither.NONE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with atomic_path(path) as partial:
        images[0].save(
            partial,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=round(1000 / fps),
            loop=0,
            disposal=1,
            optimize=False,
        )


def write_mp4(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """An H.264 MP4 of (T, H, W, 3) uint8 frames; odd sides lose their last row or column, as the codec needs."""
    import imageio_ffmpeg

    frames = np.ascontiguousarray(frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
    height, width = frames.shape[1:3]
    with atomic_path(path) as partial:
        writer = imageio_ffmpeg.write_frames(
            str(partial), (width, height), fps=fps, quality=8, macro_block_size=1, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            for frame in frames:
                writer.send(frame.tobytes())
        finally:
            writer.close()


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """One (H, W, 3) uint8 picture."""
    from PIL import Image

    with atomic_path(path) as partial:
        Image.fromarray(frame).save(partial, format="PNG")


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


def free_bytes(folder: str | Path) -> int:
    """Free disk space where `folder` is or would be."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
