"""What is taken of a folder of one's own, and what is left out: frames of a clip, and clips of a data set.

Frames are the pictures of the largest numbered series, in the order of their numbers; numbers may have a sign and a
fraction. Pictures whose names say that they are labels, and series that are smaller, are left out. Clips are videos,
GIFs and npz files, and folders of frames; beside videos, pictures are thumbnails and covers. Folders are searched to
any depth. Hidden files are passed over.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vdt_mlx.errors import VDTError
from vdt_mlx.media.images import IMAGE_SUFFIXES
from vdt_mlx.media.streams import VIDEO_SUFFIXES

CLIP_SUFFIXES = (*VIDEO_SUFFIXES, ".gif", ".npz")
"""In the order in which one is chosen of files that differ in nothing else."""
LABELS = frozenset(
    [
        *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "gt", "groundtruth", "trimap"),
        *("seg", "segm", "segmentation", "segmentations", "matte", "mattes", "alpha", "heatmap", "edges"),
        *("depth", "depths", "disparity", "flow", "flows", "optflow", "normal", "normals"),
        *("thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews", "cover", "poster"),
    ]
)
"""Words in the name of a picture or a folder that say that it is not a frame."""
MAX_DEPTH = 16


@dataclass(frozen=True)
class Taken:
    """What is read of a folder, in order, and what is not."""

    paths: list[Path]
    left_out: list[Path] = field(default_factory=list)

    def sentence(self, folder: Path, what: str) -> str:
        """Says what was taken and what was left out."""
        text = f"{folder}: took {len(self.paths)} {what} ({_some(folder, self.paths)})"
        return (
            f"{text}; left out {len(self.left_out)} ({_some(folder, self.left_out)})." if self.left_out else f"{text}."
        )


def frame_files(folder: Path) -> Taken:
    """The pictures of a folder that are the frames of one clip.

    Raises VDTError if there is none, or if there are two series of one length that nothing tells apart.
    """
    pictures = [path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not pictures:
        clips = [path.name for path in _visible(folder) if path.suffix.lower() in CLIP_SUFFIXES]
        hint = f"; its videos are clips of their own ({', '.join(clips[:3])})" if clips else ""
        raise VDTError(f"The folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}){hint}.")
    frames = [path for path in pictures if not _is_label(path.stem)] or pictures
    series = _series(frames)
    longest = max(len(paths) for paths in series.values())
    if longest > 1 and len(series) > 1:
        best = [name for name, paths in series.items() if len(paths) == longest]
        if len(best) > 1:
            examples = " and ".join(series[name][0].name for name in sorted(best)[:2])
            raise VDTError(
                f"The folder {folder} holds {len(best)} series of {longest} images each ({examples}, ...), and "
                "nothing says which are the frames; give each a folder of its own."
            )
        frames = series[best[0]]
    taken = natural_order(frames)
    kept = set(taken)
    return Taken(taken, [path for path in natural_order(pictures) if path not in kept])


def clip_entries(folder: Path) -> Taken:
    """The clips below a folder: videos, GIFs, npz files and folders of frames."""
    taken: list[Path] = []
    left_out: list[Path] = []
    _collect(folder, taken, left_out, MAX_DEPTH, set())
    return Taken(taken, left_out)


def is_run(folder: Path) -> bool:
    """Whether a folder is a training run's, whose pictures and states are no clips."""
    return any((folder / name).is_file() for name in ("run.lock", "run.json", "recipe.json"))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths of one folder in the order in which a person counts: numbers by their value, letters of either case alike.

    A point between digits is a decimal point unless that would make some names (1.9, 1.10) a list of versions. A
    hyphen is a minus sign at the start of a name and after a space, a point, `=`, `_` or another hyphen.
    """
    paths = list(paths)
    decimal = _decimal(paths)
    return sorted(paths, key=lambda path: (_key(path, decimal), path.name))


# Clips ---------------------------------------------------------------------------------------------------------------


def _collect(folder: Path, taken: list[Path], left_out: list[Path], depth: int, above: set[Path]) -> None:
    where = folder.resolve()
    inside = depth < MAX_DEPTH and is_run(folder)
    if depth < 0 or where in above or inside:  # too deep, a link to a folder above itself, what training wrote
        left_out.append(folder)
        return
    entries = _visible(folder)
    clips = natural_order(path for path in entries if path.suffix.lower() in CLIP_SUFFIXES and path.is_file())
    pictures = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    folders = natural_order(path for path in entries if path.is_dir())
    if not clips and pictures and _are_frames(pictures, folders):
        taken.append(folder)
        left_out += folders
        return
    left_out += natural_order(path for path in entries if path.is_file() and path not in set(clips))
    by_stem = defaultdict(list)
    for path in clips:
        by_stem[path.stem].append(path)
    for copies in by_stem.values():
        best, *others = sorted(copies, key=lambda path: CLIP_SUFFIXES.index(path.suffix.lower()))
        taken.append(best)
        left_out += others
    for path in folders:
        if _is_label(path.name) and (clips or len(folders) > 1):
            left_out.append(path)
        else:
            _collect(path, taken, left_out, depth - 1, above | {where})


def _are_frames(pictures: list[Path], folders: list[Path]) -> bool:
    """Whether the pictures beside some folders are frames, and no covers of what is in the folders."""
    return not folders or max(len(paths) for paths in _series(pictures).values()) > 1


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise VDTError(f"{folder} cannot be read ({error.strerror or error}).") from None


def _some(folder: Path, paths: list[Path]) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    names = ["the folder itself" if name == "." else name for name in names]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]} ... {names[-1]}"


# Names ---------------------------------------------------------------------------------------------------------------

_SIGN = r"(?:(?<![^\s.=_-])-)?"
_WHOLE = re.compile(rf"{_SIGN}[0-9]+")
_DECIMAL = re.compile(rf"{_SIGN}[0-9]+(?:\.[0-9]+)?")


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem).casefold()


def _decimal(paths: list[Path]) -> bool:
    """Whether points between digits are decimal points in these names: not if 1.9 and 1.10 are both there."""
    fractions = [part for path in paths for part in re.findall(r"(?<![0-9.])[0-9]+\.([0-9]+)(?![0-9.])", _stem(path))]
    many = any(re.search(r"[0-9]\.[0-9]+\.[0-9]", _stem(path)) for path in paths)
    padded = len({len(part) for part in fractions}) == 1
    return not many and (padded or not any(len(part) > 1 and part.endswith("0") for part in fractions))


def _key(path: Path, decimal: bool) -> list[tuple[int, float | int | str]]:
    stem, at = _stem(path), 0
    key: list[tuple[int, float | int | str]] = []
    for number in (_DECIMAL if decimal else _WHOLE).finditer(stem):
        if number.start() > at:
            key.append((1, stem[at : number.start()]))
        text = number[0]
        key.append((0, float(text) if "." in text else int(text[:4000])))
        at = number.end()
    return [*key, (1, stem[at:])] if at < len(stem) else key


def _series(paths: list[Path]) -> dict[str, list[Path]]:
    """Pictures whose names differ in numbers only; those without a number are a series of their own."""
    decimal = _decimal(paths)
    series: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        name = (_DECIMAL if decimal else _WHOLE).sub("#", _stem(path))
        series[name if "#" in name else ""].append(path)
    return series


def _is_label(name: str) -> bool:
    words = Counter(re.findall(r"[a-z]+", unicodedata.normalize("NFC", name).casefold()))
    return bool(LABELS & set(words))
