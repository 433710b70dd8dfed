"""Physion's folders: PhysionTest-Core as it was released, and folders of clips to fit the readout on.

Core has a folder a scenario, with `maps/` (PNG, the agent red and the patient yellow in the first frame),
`mp4s-redyellow/` (the films that models get) and `mp4s/` (those that people got), and one `labels.csv`, beside the
scenarios or in each of them. A folder to fit on has films and labels only: of the same layout, or SlotFormer's
(`<Scenario>_readout_MP4s/`, `readout_labels.csv`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evals.physion.labels import Label, read_labels, scenario_of, stem_of
from vdt_mlx.errors import VDTError
from vdt_mlx.marked import read_map
from vdt_mlx.media import video
from vdt_mlx.media.streams import FFmpegError

MAPS = "maps"
FILMS = {"redyellow": "mp4s-redyellow", "plain": "mp4s"}
"""Which films, and their folder."""
LABEL_FILES = ("labels.csv", "stimulus_names_and_labels.csv", "readout_labels.csv")


@dataclass(frozen=True)
class Stimulus:
    """One clip and its answer."""

    name: str
    scenario: str
    film: Path
    map: Path | None
    label: Label


@dataclass
class Clips:
    """The clips of a folder, by scenario, and what could not be used: (name, why)."""

    folder: Path
    scenarios: dict[str, list[Stimulus]]
    bad: list[tuple[str, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.scenarios.values()))


def read_core(
    folder: Path,
    labels: Path | None = None,
    scenarios: Iterable[str] = ("all",),
    *,
    films: str = "redyellow",
    maps: bool = True,
) -> Clips:
    """The labelled clips of a folder in the layout of Core; with `maps` false, of one to fit on.

    Clips without a film, a map or a label are left out, and named in `bad`.

    Raises VDTError: there is no such folder, no scenario, no label file, no folder of films or maps, or no clip.
    """
    if not folder.is_dir():
        raise VDTError(f"There is no folder {folder}.")
    found = _scenario_folders(folder)
    if not found:
        raise VDTError(
            f"{folder} is not laid out as Physion's Core: a folder a scenario (Collide, ...) with {MAPS}/ and "
            f"{FILMS[films]}/ in it."
        )
    there = list(dict.fromkeys(name for name, _ in found))
    wanted = _wanted(tuple(scenarios), there, folder)
    answers = _labels(folder, labels, [path for _, path in found])
    clips = Clips(folder, {})
    seen: set[str] = set()
    for name, path in found:
        own = _films_of(path, films)
        seen |= set(own)
        if name in wanted:
            _collect(clips, name, own, _maps_of(path) if maps else None, answers)
    whole = len(wanted) == len(there)
    for stem, label in answers.items():
        if stem not in seen and (whole if label.scenario is None else label.scenario in wanted):
            clips.bad.append((stem, "has a label, and there is no film of that name"))
    if not clips.count:
        more = f"; {clips.bad[0][0]} {clips.bad[0][1]}" if clips.bad else ""
        raise VDTError(f"{folder} has no clip with a film, a map and a label{more}.")
    return clips


def _collect(
    clips: Clips, scenario: str, films: dict[str, Path], maps: dict[str, Path] | None, answers: dict[str, Label]
) -> None:
    for stem, film in films.items():
        if stem not in answers:
            clips.bad.append((stem, "has no label"))
        elif maps is not None and stem not in maps:
            clips.bad.append((stem, f"has no map in {MAPS}/"))
        else:
            one = Stimulus(stem, scenario, film, None if maps is None else maps[stem], answers[stem])
            clips.scenarios.setdefault(scenario, []).append(one)


def _scenario_folders(folder: Path) -> list[tuple[str, Path]]:
    """(scenario, folder), in the order of names; the folder itself if it is a scenario's."""
    names = {*FILMS.values(), MAPS}
    if any((folder / name).is_dir() for name in names):
        return [(scenario_of(folder.resolve().name), folder)]
    subs = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [
        (scenario_of(path.name), path)
        for path in subs
        if any((path / name).is_dir() for name in names) or any(path.glob("*.mp4"))
    ]


def _wanted(names: tuple[str, ...], there: list[str], folder: Path) -> list[str]:
    plain = [scenario_of(name) for name in names]
    for name in plain:
        if name not in (*there, "all"):
            raise VDTError(f"Unknown scenario {name!r} of {folder}: there are {', '.join(there)}, and all.")
    return [name for name in there if "all" in plain or name in plain]


def _labels(folder: Path, path: Path | None, scenarios: list[Path]) -> dict[str, Label]:
    if path is not None:
        return read_labels(path)
    places = [folder, *(scenarios if folder not in scenarios else [folder.resolve().parent])]
    files = [place / name for place in places for name in LABEL_FILES if (place / name).is_file()]
    if not files:
        raise VDTError(f"{folder} has no label file {LABEL_FILES[0]}; say where it is with `labels`.")
    if files[0].parent == folder:
        return read_labels(files[0])
    found: dict[str, Label] = {}
    for file in files:
        found |= read_labels(file)
    return found


def _films_of(path: Path, films: str) -> dict[str, Path]:
    """Films of a scenario by the clip's name; those that lie in the folder itself, where it has none for them."""
    place = path / FILMS[films]
    if not place.is_dir():
        if any((path / name).is_dir() for name in (*FILMS.values(), MAPS)):
            raise VDTError(f"{path} has no folder {FILMS[films]} with the films.")
        place = path
    found = sorted(p for p in place.iterdir() if p.suffix.lower() == ".mp4" and not p.name.startswith("."))
    return {stem_of(file.name): file for file in found}


def _maps_of(path: Path) -> dict[str, Path]:
    place = path / MAPS
    if not place.is_dir():
        raise VDTError(f"{path} has no folder {MAPS} with the maps of agent and patient.")
    return {stem_of(file.name): file for file in sorted(place.glob("*.png")) if not file.name.startswith(".")}


# One clip ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Film:
    """Frames of a clip, fitted to the model."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3). Where the film ends earlier, its last frame is repeated."""
    held: int
    """How many frames at the end are such repetitions."""
    side: tuple[int, int]
    """Height and width of the film itself."""


def read_film(path: Path, frames: int, given: int, stride: int, size: tuple[int, int], fit: str = "crop") -> Film:
    """Every `stride`-th frame of a film, `frames` of them.

    Raises VDTError for a film that cannot be read, or that ends before the given frames do.
    """
    taken: list[NDArray[np.uint8]] = []
    side = (0, 0)
    for frame in islice(video.iterate_frames(path), 0, (frames - 1) * stride + 1, stride):
        side = (frame.shape[0], frame.shape[1])
        taken.append(video.fit(frame, size, path, fit))
    if len(taken) < given + 1:
        raise VDTError(f"ends too early: {given + 1} frames at stride {stride} are needed, and it has {len(taken)}")
    held = frames - len(taken)
    return Film(np.stack(taken + [taken[-1]] * held), held, side)


def gap(path: Path, side: tuple[int, int]) -> float:
    """The 2-D gap between agent and patient in a map, as a share of its height; 0 if their pixels touch.

    Raises VDTError for a map that cannot be read, has another size than the film (`side`), or lacks one of the two.
    """
    from scipy import ndimage

    shown = read_map(path)
    for name, colour in (("agent", "red"), ("patient", "yellow")):
        if name not in shown:
            raise VDTError(f"its map shows no {name}, {colour}")
    agent, patient = shown["agent"], shown["patient"]
    height, width = agent.shape
    if (height, width) != side:
        raise VDTError(f"its map is {width} x {height} and its film {side[1]} x {side[0]}")
    apart = ndimage.distance_transform_edt(~patient)[agent].min() - 1
    return max(0.0, float(apart)) / height


def each_film(
    stimuli: Iterable[Stimulus], read: Callable[[Stimulus], Film], bad: list[tuple[str, str]]
) -> Iterable[tuple[Stimulus, Film]]:
    """The clips whose films and maps can be read; the others go to `bad`."""
    for one in stimuli:
        try:
            yield one, read(one)
        except FFmpegError:  # no film is at fault
            raise
        except VDTError as error:
            bad.append((one.name, str(error)))
