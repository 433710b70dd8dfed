"""PhyWorld's files (arXiv 2411.02385, github.com/phyworld/phyworld): read as they were released, and written alike.

    from physics_sim import phyworld
    with phyworld.File("collision_eval.hdf5") as file:
        for clip in file.clips(split="in"):
            clip.frames, clip.position, clip.init, clip.split

A file is HDF5 with the groups `video_streams`, `position_streams` and `init_streams`; each has data sets `00000`,
`00001`, ... of up to 1,000 clips: an MP4 stream a clip, upright; positions (n, T, 2), of two balls (n, T, 2, 2), in
metres, y up, in a square of 10 m, frame i at 0.01 + 0.1 i seconds; and `[r, v]` or `[r1, r2, v1, v2]`, speeds without
sign (the first ball moves to the right, the second to the left). Clips are read one at a time; nothing is unpacked to
the disk.

Needs h5py (`pip install "vdt-mlx[phyworld]"`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from physics_sim import mp4, rendering
from physics_sim.errors import SimulationError
from physics_sim.files import disk_errors, parse_json, partial_path
from physics_sim.sampling import check, make_clip
from physics_sim.streaming import in_order
from physics_sim.units import FRAME_TIME

FILES = {"uniform": "uniform_motion", "parabola": "parabola", "collision": "collision"}
"""Laws, and what files of them are called."""
SIZE = 256
BATCH = 1000
GROUPS = ("video_streams", "position_streams", "init_streams")
SPLITS = ("in", "out_radius", "out_speed", "out_both", "still", "dropped")
"""As its `evaluate.py` sorts initial states: radii and speeds inside the training ranges or not, a speed of zero, and
balls that it leaves out because they are small."""
RADII = {"collision": (0.5, 1.5), "": (0.7, 1.4)}
SPEEDS = (1.0, 4.0)
DROPPED = 0.6
"""A single ball with a smaller radius is left out; of two balls those with a radius of 0.5 or less."""
COLOURS = {"agent": (255, 0, 0), "patient": (0, 0, 255)}
LARGEST = 1 << 26
"""Bytes of an MP4 stream, and numbers in one clip's states."""


def split_of(init: Sequence[float]) -> str:
    """The one of SPLITS that an initial state is in: `[r, v, ...]` of one ball or `[r1, r2, v1, v2]` of two."""
    two = len(init) == 4
    radii, speeds = (init[:2], init[2:4]) if two else (init[:1], init[1:2])
    if any(radius <= 0.5 for radius in radii) if two else radii[0] < DROPPED:
        return "dropped"
    if 0 in speeds:
        return "still"
    low, high = RADII["collision" if two else ""]
    sized = all(low <= radius <= high for radius in radii)
    fast = all(SPEEDS[0] <= speed <= SPEEDS[1] for speed in speeds)
    return "in" if sized and fast else "out_radius" if fast else "out_speed" if sized else "out_both"


@dataclass(frozen=True)
class PhyWorldClip:
    """One clip of a file."""

    name: str
    """`00000/17`: data set and number."""
    frames: np.ndarray
    """(T, H, W, 3) uint8, upright."""
    position: np.ndarray
    """(T, balls, 2) metres, y up."""
    init: tuple[float, ...]
    """`(r, v)` or `(r1, r2, v1, v2)`: radii in metres, speeds in m/s."""

    @property
    def radii(self) -> tuple[float, ...]:
        return self.init[: self.position.shape[1]]

    @property
    def split(self) -> str:
        return split_of(self.init)

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds since the balls were let go."""
        return 0.01 + FRAME_TIME * np.arange(len(self.position))

    def frames_at(self, size: int) -> np.ndarray:
        """(T, size, size, 3) uint8, each pixel the mean of those that it covers."""
        from PIL import Image

        if self.frames.shape[1:3] == (size, size):
            return self.frames
        how = Image.Resampling.BOX
        return np.stack([np.asarray(Image.fromarray(frame).resize((size, size), how)) for frame in self.frames])


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise SimulationError('PhyWorld\'s files need h5py: pip install "vdt-mlx[phyworld]".') from None
    return h5py


class File:
    """A file of PhyWorld, open for reading. Raises SimulationError for one that is cut or has another layout."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        h5py = _h5py()
        if not self.path.is_file():
            raise SimulationError(f"There is no file {self.path}.")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise SimulationError(f"{self.path} is no HDF5 file, or it was cut ({error}).") from None
        try:
            self.counts = self._layout(h5py)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            self._file.close()
            raise SimulationError(f"{self.path} cannot be read, it may be cut ({error}).") from None
        except SimulationError:
            self._file.close()
            raise

    def __enter__(self) -> "File":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return sum(self.counts.values())

    @property
    def facts(self) -> dict[str, Any]:
        """What this program wrote beside the data (scenario, split, seed, ...); empty for a file from elsewhere."""
        try:
            return dict(parse_json(self._file.attrs.get("physics_sim", "{}")))
        except (ValueError, TypeError, RecursionError):
            return {}

    def _layout(self, h5py: Any) -> dict[str, int]:
        """How many clips each data set has."""
        if "action_streams" in self._file:
            raise SimulationError(f"{self.path} is one of PhyWorld's combinatorial sets: they have no states of balls.")
        lacks = [name for name in GROUPS if not isinstance(self._plain(h5py, self._file, name), h5py.Group)]
        if lacks:
            raise SimulationError(f"{self.path} has not PhyWorld's layout: it lacks the group {', '.join(lacks)}.")
        counts = {}
        for name in sorted(self._file[GROUPS[2]]):
            video, position, init = (self._plain(h5py, self._file[group], name) for group in GROUPS)
            if not all(isinstance(item, h5py.Dataset) and not item.is_virtual for item in (video, position, init)):
                raise SimulationError(f"{self.path}: {name} is not a data set in each of {', '.join(GROUPS)}.")
            balls = 2 if position.ndim == 4 else 1
            fits = video.ndim == 1 and position.shape[3 if balls == 2 else 2 :] == (2,) and init.ndim == 2
            fits = (
                fits
                and h5py.check_vlen_dtype(video.dtype) == np.uint8
                and len({len(video), *position.shape[:1], len(init)}) == 1
            )
            fits = fits and (init.shape[1] == 4 and position.shape[2] == 2 if balls == 2 else init.shape[1] in (2, 3))
            if not fits or position.dtype.kind != "f" or init.dtype.kind != "f" or position[:1].size > LARGEST:
                raise SimulationError(
                    f"{self.path}: {name} has not PhyWorld's layout (videos {video.shape} of {video.dtype}, positions "
                    f"{position.shape}, initial states {init.shape})."
                )
            counts[name] = len(video)
        if not counts:
            raise SimulationError(f"{self.path} has no clips.")
        return counts

    def _plain(self, h5py: Any, group: Any, name: str) -> Any:
        """A member that lies in this file itself, else None: a link may lead anywhere."""
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return None
        item = group[name]
        return None if isinstance(item, h5py.Dataset) and item.external else item

    def names(self, split: str | None = None) -> Iterator[str]:
        """Names of the clips, in order; of one of SPLITS. Only initial states are read."""
        if split is not None and split not in SPLITS:
            raise SimulationError(f"PhyWorld's clips have no split {split!r}; there are {', '.join(SPLITS)}.")
        for name, count in self.counts.items():
            init = self._values(GROUPS[2], name, slice(None)) if split is not None else None
            for number in range(count):
                if init is None or split_of(init[number].tolist()) == split:
                    yield f"{name}/{number}"

    def _values(self, group: str, name: str, place: Any) -> Any:
        try:
            return self._file[group][name][place]
        except (OSError, RuntimeError) as error:
            raise SimulationError(
                f"{self.path}#{name}: {group} cannot be read, the file may be cut ({error})."
            ) from None

    def _check_length(self, group: str, number: int) -> None:
        """Refuses a stream that says it is longer than the file: HDF5 would take the memory before it looks.

        An element of such a data set is 16 bytes: its length (4), and where it lies.
        """
        place = self._file[GROUPS[0]][group].id.get_offset()
        if place is None:
            return
        with self.path.open("rb") as file:
            file.seek(place + 16 * number)
            length = int.from_bytes(file.read(4), "little")
        if length > min(LARGEST, self.path.stat().st_size):
            raise SimulationError(f"{self.path}#{group}/{number}: its MP4 stream is too long ({length} bytes).")

    def clip(self, name: str) -> PhyWorldClip:
        """The clip of that name (`00000/17`). Raises SimulationError if there is none, or its stream is broken."""
        group, _, number = name.partition("/")
        if group not in self.counts or not number.isdecimal() or int(number) >= self.counts[group]:
            last = list(self.counts)[-1]
            raise SimulationError(
                f"{self.path} has no clip {name!r}: names go from {next(iter(self.counts))}/0 to "
                f"{last}/{self.counts[last] - 1}."
            )
        self._check_length(group, int(number))
        stream = self._values(GROUPS[0], group, int(number))
        position = np.asarray(self._values(GROUPS[1], group, int(number)), dtype=float)
        init = np.asarray(self._values(GROUPS[2], group, int(number)), dtype=float)
        if not np.isfinite(position).all() or not np.isfinite(init).all():
            raise SimulationError(f"{self.path}#{name}: its states are not all numbers.")
        try:
            frames = mp4.decode(stream.tobytes(), len(position))
        except ValueError as error:
            raise SimulationError(f"{self.path}#{name}: its MP4 stream is broken ({error}).") from None
        return PhyWorldClip(name, frames, position.reshape(len(position), -1, 2), tuple(init.tolist()))

    def clips(
        self, split: str | None = None, *, start: int = 0, on_bad: Callable[[str], None] | None = None
    ) -> Iterator[PhyWorldClip]:
        """Yields the clips (of one of SPLITS) from number `start` on, one at a time.

        A clip that cannot be read ends it with a SimulationError; with `on_bad`, that is called with the sentence, and
        the clip is left out.
        """
        for number, name in enumerate(self.names(split)):
            if number < start:
                continue
            try:
                clip = self.clip(name)
            except SimulationError as error:
                if on_bad is None:
                    raise
                on_bad(str(error))
                continue
            yield clip


def read_clip(address: str | Path) -> PhyWorldClip:
    """The clip at `FILE.hdf5#00000/17`."""
    path, mark, name = str(address).rpartition("#")
    if not mark:
        raise SimulationError(f"{address} does not say which clip: write FILE.hdf5#00000/17.")
    with File(path) as file:
        return file.clip(name)


# ---- writing


@dataclass(frozen=True)
class FileSpec:
    """What a file is made of."""

    law: str
    split: str
    clips: int
    seed: int = 0
    size: int = SIZE
    frames: int = 32

    def __post_init__(self) -> None:
        check(self.law, self.split, self.seed, frames=self.frames, world="phyworld")
        if self.law not in FILES:
            raise SimulationError(f"PhyWorld's format has the laws {', '.join(FILES)}, not {self.law}.")
        if rendering.check_size(self.size) % 2:
            raise SimulationError(f"A side of {self.size} pixels does not fit MP4: it must be even.")
        if isinstance(self.clips, bool) or not isinstance(self.clips, int) or not 1 <= self.clips <= 10**8:
            raise SimulationError(f"clips must be a whole number from 1 to {10**8}, not {self.clips!r}.")


def make_items(spec: FileSpec, start: int, end: int) -> list[tuple[bytes, np.ndarray, list[float]]]:
    """(MP4 stream, positions, initial state) of some clips: the work of one worker at a time."""
    items = []
    options: dict[str, Any] = {"seed": spec.seed, "frames": spec.frames, "world": "phyworld"}
    for index in range(start, end):
        clip = make_clip(spec.law, spec.split, index, **options)
        bodies = tuple(replace(body, colour=COLOURS[body.role]) for body in clip.bodies)
        scene = replace(clip.scene, bodies=bodies, background=(255, 255, 255))
        run = clip.trajectory
        frames = rendering.draw(scene, run.position, run.angle, spec.size, marks=False)
        roles = [body.role for body in bodies]
        order = [roles.index(role) for role in COLOURS if role in roles]
        radii = [bodies[place].shape["radius"] for place in order]
        speeds = [abs(float(clip.velocity[0, place, 0])) for place in order]
        position = clip.position[:, order]
        items.append((mp4.encode(frames), position[:, 0] if len(order) == 1 else position, radii + speeds))
    return items


def write(
    out: str | Path, spec: FileSpec, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes one file in a folder, `uniform_motion_train.hdf5` and so on; returns its path.

    It appears whole or not at all. One that is there with the same spec is kept; another one is not overwritten.
    """
    h5py = _h5py()
    folder = Path(out).expanduser()
    path = folder / f"{FILES[spec.law]}_{spec.split}.hdf5"
    facts = json.dumps({**spec.__dict__, "world": "phyworld"}, sort_keys=True)
    if path.exists():
        with File(path) as file:
            same = file.facts == parse_json(facts) and len(file) == spec.clips
        if not same:
            raise SimulationError(f"{path} is there already and holds something else: choose another folder.")
        return path
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with partial_path(path) as partial, h5py.File(partial, "w") as file:
            file.attrs["physics_sim"] = facts
            for name in GROUPS:
                file.create_group(name)
            _fill(h5py, file, spec, workers, progress)
    return path


def _fill(h5py: Any, file: Any, spec: FileSpec, workers: int, progress: Callable[[int, int], None] | None) -> None:
    jobs = ((spec, first, min(first + 8, spec.clips)) for first in range(0, spec.clips, 8))
    made: Iterator[Any] = (item for job in jobs for item in make_items(*job))
    if workers > 1:
        made = in_order(make_items, jobs, workers)
    done = 0
    for batch in range(-(-spec.clips // BATCH)):
        count = min(BATCH, spec.clips - done)
        kind = h5py.vlen_dtype(np.dtype("uint8"))
        videos = file[GROUPS[0]].create_dataset(f"{batch:05d}", (count,), dtype=kind)
        states: list[np.ndarray] = []
        inits = []
        for number in range(count):
            stream, position, init = next(made)
            videos[number] = np.frombuffer(stream, np.uint8)
            states.append(position)
            inits.append(init)
            done += 1
            if progress is not None:
                progress(done, spec.clips)
        file[GROUPS[1]].create_dataset(f"{batch:05d}", data=np.array(states))
        file[GROUPS[2]].create_dataset(f"{batch:05d}", data=np.array(inits))
