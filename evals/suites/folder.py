"""`--suite FOLDER`: anyone's clips as a suite, one label file (JSON) a clip; subfolders are its groups."""

import hashlib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import Case, Group
from evals.scoring.score import Metric
from evals.suites.labels import Label, read_label
from evals.suites.own import SCENERY, OwnCase
from evals.suites.suite import chosen
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256
from vdt_mlx.pair_score import Colour

SUITE = "suite"
"""The split of such clips, which are in and out of no known distribution."""
FILMS = (".npz", ".gif", ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
MAX_FRAMES = 500
MAX_SIDE = 512


class FolderSuite:
    """Labelled clips in a folder. Those that cannot be used are counted and named; raises VDTError if none can."""

    def __init__(
        self,
        folder: Path,
        scenarios: Iterable[str] = ("all",),
        *,
        frames: int | None = None,
        given: int = 1,
        colours: dict[str, Colour] | None = None,
    ) -> None:
        if not folder.is_dir():
            raise VDTError(f"There is no suite folder {folder}.")
        self.folder, self.colours = folder, colours or {}
        self.bad: list[tuple[str, str]] = []
        self.metrics: dict[str, Metric] = {}
        self.facts: dict[str, Any] = {}
        self._paths: dict[str, list[Path]] = {}
        lengths: dict[Path, int] = {}
        sizes: dict[Path, tuple[int, int]] = {}
        for group, path in grouped_files(folder):
            try:
                label = read_label(path, self.colours)
                film = self._film(label, MAX_FRAMES)
                self._check(label, film, given)
            except (VDTError, OSError, ValueError) as error:
                self.bad.append((self._name(path), str(error)))
                continue
            lengths[path], sizes[path] = min(len(film), label.length), film.shape[1:3]
            self._paths.setdefault(group, []).append(path)
        if not lengths:
            more = f" ({self.bad[0][0]}: {self.bad[0][1]})" if self.bad else ""
            raise VDTError(f"The suite folder {folder} has no labelled clip that can be used{more}.")
        self.frames = self._common_length(lengths, frames)
        self.size = self._common_size(sizes)
        self.groups = self._chosen(scenarios)

    # ---- what is there

    def _name(self, path: Path) -> str:
        return "-".join(path.relative_to(self.folder).with_suffix("").parts)

    def _beside(self, label: Label, name: str) -> Path:
        """A file that a label names: beside it, and nowhere else."""
        path = label.path.parent / str(name)
        root = self.folder.resolve()
        if root not in path.resolve().parents:
            raise VDTError(f"The label file {label.path} names {name}, which is not in its folder.")
        if not path.exists():
            raise VDTError(f"The label file {label.path} names {name}, which is not there.")
        return path

    def _film_path(self, label: Label) -> Path:
        if label.frames is not None:
            return self._beside(label, label.frames)
        own = [label.path.with_suffix(suffix) for suffix in FILMS]
        own = [path for path in [*own, label.path.with_suffix("")] if path.exists()]
        if len(own) != 1:
            named = ", ".join(path.name for path in own) or "none"
            raise VDTError(f"The label file {label.path} needs one clip of its name beside it; there is {named}.")
        return self._beside(label, own[0].name)

    def _film(self, label: Label, most: int) -> NDArray[np.uint8]:
        from vdt_mlx.media import video

        frames: list[NDArray[np.uint8]] = []
        for frame in islice(video.iterate_frames(self._film_path(label)), most):
            height, width = frame.shape[:2]
            if height != width or not 16 <= height <= MAX_SIDE:
                raise VDTError(f"its frames are {width} x {height}; squares of 16 to {MAX_SIDE} pixels are examined")
            if frames and frame.shape != frames[0].shape:
                raise VDTError("its frames have different sizes")
            frames.append(frame)
        if not frames:
            raise VDTError("its clip has no frames")
        return np.stack(frames)

    def _check(self, label: Label, film: NDArray[np.uint8], given: int) -> None:
        """Raises VDTError for states that cannot be."""
        side = film.shape[1]
        if len(film) < 2 or label.length < 2:
            raise VDTError("two frames are the least")
        for thing in label.things:
            place = thing.position[np.isfinite(thing.position).all(1)]
            reach = thing.radius or 0.0
            if thing.polygons is not None:
                reach = max((float(np.abs(c - c.mean(0)).max()) for c in thing.polygons if c is not None), default=0)
            if len(place) and (np.any(place < -reach) or np.any(place > side + reach)):
                raise VDTError(f"{thing.name} is said to be in sight and lies outside the picture; say null there")
        self._maps(label, side)
        case = OwnCase("", "", None, min(given, len(film)), film, label, self._maps(label, side))
        if case.tracker.targets[case.roles["agent"]] is None:
            raise VDTError("its agent cannot be seen in the context frames")

    def _maps(self, label: Label, side: int) -> NDArray[np.uint8]:
        """The label images (K, H, W)."""
        from PIL import Image

        found = []
        for name in label.maps:
            path = self._beside(label, name)
            try:
                with Image.open(path, formats=("PNG",)) as image:
                    if image.size != (side, side):
                        raise VDTError(f"its map {name} is {image.width} x {image.height}, its frames {side} x {side}")
                    if image.mode not in ("L", "P", "1"):
                        raise VDTError(f"its map {name} is no picture of whole numbers (mode {image.mode})")
                    found.append(np.array(image, np.uint8))
            except (OSError, ValueError, SyntaxError) as error:
                raise VDTError(f"its map {name} cannot be read ({error})") from None
            strange = set(np.unique(found[-1]).tolist()) - {0, SCENERY, *range(1, len(label.things) + 1)}
            if strange:
                raise VDTError(f"its map {name} has the number {min(strange)}, and there is no such object")
        return np.stack(found) if found else np.zeros((0, side, side), np.uint8)

    # ---- what is chosen

    def _common_length(self, lengths: dict[Path, int], frames: int | None) -> int:
        chosen = frames if frames is not None else min(lengths.values())
        for path, length in lengths.items():
            if length < chosen:
                self._drop(path, f"has {length} frames, and {chosen} are needed (--frames)")
        if not any(self._paths.values()):
            raise VDTError(f"No clip of {self.folder} has {chosen} frames; the longest has {max(lengths.values())}.")
        return chosen

    def _common_size(self, sizes: dict[Path, tuple[int, int]]) -> int:
        kept = [path for paths in self._paths.values() for path in paths]
        counts = [sizes[path][0] for path in kept]
        side = max(set(counts), key=lambda value: (counts.count(value), value))
        for path in kept:
            if sizes[path][0] != side:
                self._drop(path, f"has {sizes[path][0]} pixels a side, and most clips have {side}")
        return side

    def _drop(self, path: Path, reason: str) -> None:
        self.bad.append((self._name(path), reason))
        for paths in self._paths.values():
            if path in paths:
                paths.remove(path)

    def _chosen(self, scenarios: Iterable[str]) -> list[Group]:
        there = [name for name, paths in self._paths.items() if paths]
        names = chosen(scenarios, there, "group", self.folder)
        return [Group(name, name, SUITE, name, law=False) for name in names]

    # ---- what the examiner asks for

    def count(self, group: Group, wanted: int) -> int:
        return min(wanted, len(self._paths[group.name]))

    def id(self, group: Group, index: int) -> str:
        return self._name(self._paths[group.name][index])

    def case(self, group: Group, index: int, given: int) -> Case:
        label = read_label(self._paths[group.name][index], self.colours)
        film = self._film(label, self.frames)
        maps = self._maps(label, film.shape[1])
        return OwnCase(self.id(group, index), group.name, None, given, film, label, maps)

    def content(self) -> str:
        digest = hashlib.sha256(repr(sorted(self.colours.items())).encode())
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and os.access(p, os.R_OK)):
            digest.update(f"{path.relative_to(self.folder).as_posix()} {sha256(path)}\n".encode())
        return digest.hexdigest()

    def told(self) -> dict[str, Any]:
        return {}


def grouped_files(folder: Path) -> list[tuple[str, Path]]:
    """(group, JSON file): those in the folder itself, then those in its subfolders."""
    name = folder.resolve().name
    found = [(name, path) for path in sorted(folder.glob("*.json"))]
    for sub in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found += [(sub.name, path) for path in sorted(sub.glob("*.json"))]
    return [(group, path) for group, path in found if not path.name.startswith(".")]
