"""Where `vdt-mlx sample` writes, and what: animation, contact sheet, frames and arrays."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vdt_mlx.commands.sample_input import Clip
from vdt_mlx.errors import VDTError
from vdt_mlx.media import pictures, video

FPS = 8
"""Of the animations: slow enough to follow."""
NAMES = {
    "contact_sheet": "contact_sheet.png",
    "gif": "sample.gif",
    "mp4": "sample.mp4",
    "npz": "sample.npz",
    "png": "frames",
    "settings": "sample.json",
}
"""What a sample's folder holds, by what it is called in sample.json."""
MOST_COLUMNS = 9
MOST_NUMBERED = 10_000


def free_folder(out: Path, force: bool) -> Path:
    """`out`, or `out-2`, `out-3`, ... if there is a sample in it already that is not to be replaced."""
    if force or not _has_sample(out):
        return out
    whole = out if out.name else out.resolve()
    for number in range(2, MOST_NUMBERED):
        if not _has_sample(other := whole.with_name(f"{whole.name}-{number}")):
            return other
    raise VDTError(f"There are {MOST_NUMBERED} samples beside {out}; give another --out, or --force.")


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Makes sure, before any work, that `out` can be written to; takes a folder that stayed empty away again."""
    if out.exists() and not out.is_dir():
        raise VDTError(f"--out {out} is a file; give a folder.")
    created = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise VDTError(f"--out {out} cannot be written to ({error.strerror or error}).") from None
    try:
        yield
    finally:
        for path in created:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def write(
    folder: Path, formats: Sequence[str], clip: Clip, frames: np.ndarray, mask: np.ndarray, *, truth: bool
) -> list[str]:
    """Writes a sample into a folder; returns which of NAMES were made.

    Args:
        formats: any of gif, mp4, png, npz.
        frames: (samples, T, H, W, 3) uint8.
        mask: (T, h, w), 1 = generated.
        truth: whether the clip is shown beside the samples.
    """
    many = len(frames) > 1
    rows = {f"sample {i + 1}" if many else "prediction": ours for i, ours in enumerate(frames)}
    if truth:
        rows = {"truth": clip.frames[0], **rows}
    animation = pictures.side_by_side(dict(list(rows.items())[:MOST_COLUMNS]), mask)
    sheet = pictures.contact_sheet(rows, mask, paths=_paths(rows) if clip.simulated else None)
    video.write_png(folder / NAMES["contact_sheet"], sheet)
    for name in formats:
        path = folder / NAMES[name]
        if name == "gif":
            video.write_gif(path, animation, FPS)
        elif name == "mp4":
            video.write_mp4(path, animation, FPS)
        elif name == "png":
            video.write_pngs(path, animation)
        else:
            arrays = {"truth": clip.frames[0]} if clip.whole else {}
            video.write_npz(path, **arrays, samples=frames, mask=mask)
    return ["contact_sheet", *formats]


def _paths(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from vdt_mlx.pair_score import centroids

    return {title: centroids(frames) for title, frames in rows.items()}


def _has_sample(folder: Path) -> bool:
    return any((folder / name).exists() for name in NAMES.values())
