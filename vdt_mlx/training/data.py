"""Where clips come from: the simulator, a folder that it wrote, or a user's own videos; and the latents they become.

A source gives clip number i, always the same one, so a training run only has to remember numbers.
"""

import hashlib
import itertools
import sys
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.files import user_path
from vdt_mlx.media import video
from vdt_mlx.media.folders import clip_entries, is_run
from vdt_mlx.reading import read_json
from vdt_mlx.training.config import DataConfig

T = TypeVar("T")


class Source(Protocol):
    """Clips by number, as uint8 (T, H, W, 3)."""

    count: int | None
    """None: there is no end of clips."""

    def clips(self, start: int) -> Iterator[np.ndarray]:
        """The clips from number `start` on, in order."""
        ...

    def identity(self) -> dict:
        """What decides which clip a number stands for, JSON-able."""
        ...

    def told(self) -> dict:
        """The `split` and `seed` of the simulator that the clips come from, as the data itself says; or `unknown`."""
        ...

    def labels(self, count: int) -> list[str]:
        """The scenarios of the first `count` clips. Raises VDTError for clips that nobody has labelled."""
        ...


RESTARTS = 3
"""How often in a row a simulator that gives no clip is started again."""


class Simulated:
    """Clips that physics_sim makes on the fly, scenarios in turn."""

    count: int | None = None

    def __init__(self, config: DataConfig, split: str | None = None, workers: int | None = None):
        import physics_sim

        self.split = split or config.split
        self.first = config.first if split is None else 0  # held-out clips stay the same
        self.size, self.frames = config.size[0], config.frames
        self.workers = config.workers if workers is None else workers
        if config.size[0] != config.size[1]:
            raise VDTError(f"The simulator draws square frames, so data.size cannot be {config.size}.")
        known = (*physics_sim.SCENARIOS, *physics_sim.LAWS)
        for name in config.scenarios:
            if name not in known:
                from difflib import get_close_matches

                close = get_close_matches(name, known, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise VDTError(f"The simulator has no scenario {name!r}{hint}: it has {', '.join(known)}.")
        self.names = tuple(name for name in config.scenarios or known if self.split in physics_sim.splits(name))
        if not self.names:
            raise VDTError(f"None of the scenarios has a split {self.split!r}.")
        try:
            physics_sim.stream(self.names, self.split, frames=self.frames)
        except physics_sim.SimulationError as error:
            raise VDTError(f"data: {error}") from None

    def clips(self, start: int) -> Iterator[np.ndarray]:
        """The clips from number `start` on; a simulator process that dies is started again, where it was."""
        import physics_sim

        number, failures = self.first + start, 0
        while True:
            try:
                numbers = {"start": number, "size": self.size, "frames": self.frames, "workers": self.workers}
                for clip in physics_sim.stream(self.names, self.split, **numbers):
                    yield clip.frames
                    number, failures = number + 1, 0
            except physics_sim.SimulationError as error:
                failures += 1
                if not self.workers or failures > RESTARTS:
                    raise VDTError(str(error)) from None
                print(f"The simulator is started again at clip {number}: {error}", file=sys.stderr, flush=True)

    def identity(self) -> dict:
        import physics_sim

        body = {"source": "simulate", "scenarios": list(self.names), "split": self.split, "size": self.size}
        body |= {"world": physics_sim.WORLD_VERSION, "frames": self.frames}
        return {**body, "first": self.first} if self.first else body

    def told(self) -> dict:
        return {"split": self.split, "seed": 0}

    def labels(self, count: int) -> list[str]:
        """By number alone: scenarios come in turn."""
        return [self.names[(self.first + number) % len(self.names)] for number in range(count)]


class Finite:
    """Clips of a folder: those whose number ends a run of HELD_OUT are kept for previews, unless there are too few."""

    HELD_OUT = 16

    def __init__(self, config: DataConfig, split: str):
        assert config.path is not None
        self.config, self.split = config, split
        self.path = user_path(config.path)
        if not self.path.is_dir():
            place = "" if self.path.is_absolute() else f" in {Path.cwd()} (--set data.path=... says where it is now)"
            raise VDTError(f"There is no data folder {self.path}{place}.")

    count: int | None = 0
    """Finite, but only known when all of it has been read."""

    @abstractmethod
    def every_clip(self) -> Iterator[np.ndarray]:
        """All clips (T, H, W, 3) once, in order."""

    def clips(self, start: int) -> Iterator[np.ndarray]:
        yield from itertools.islice(self._of_split(self.every_clip()), start, None)

    def labels(self, count: int) -> list[str]:
        raise VDTError(f"data.source {self.config.source!r} has no labels, so vdt.labels cannot be learned from it.")

    def _of_split(self, items: Iterable[T]) -> Iterator[T]:
        """Of something for every clip: that of the clips to train on, or of those held out."""
        held_out = self.split == "val"
        waiting: list[T] = []
        for position, item in enumerate(items):
            if position < self.HELD_OUT and held_out:
                waiting.append(item)
            if (position % self.HELD_OUT == self.HELD_OUT - 1) == held_out:
                waiting.clear()
                yield item
        yield from waiting  # fewer clips than a run: previews show what was trained on

    def identity(self) -> dict:
        digest = hashlib.sha256()
        runs = {path for path in self.path.rglob("*") if path.is_dir() and is_run(path)}
        for file in sorted(self.path.rglob("*")):
            if file.is_file() and runs.isdisjoint(file.parents):
                digest.update(f"{file.relative_to(self.path)} {content(file)}\n".encode())
        return {
            "source": self.config.source,
            "digest": digest.hexdigest()[:16],
            "split": self.split,
            "size": list(self.config.size),
            "frames": self.config.frames,
            "stride": self.config.stride,
            **({} if self.config.fit == "crop" else {"fit": self.config.fit}),
        }


class SimulatedFolder(Finite):
    """A folder that `python -m physics_sim` wrote."""

    def told(self) -> dict:
        """What the data set's own index says, whatever `data.split` is."""
        index = read_json(self.path / "index.json", "index of a data set")
        known = index if isinstance(index, dict) else {}
        return {key: known.get(key, UNKNOWN) for key in ("split", "seed")}

    def every_clip(self) -> Iterator[np.ndarray]:
        wanted = (self.config.frames, *self.config.size)
        for frames, _ in self._entries():
            if frames.shape[:3] != wanted:
                found = "{} frames of {} x {}".format(*frames.shape[:3])
                raise VDTError(f"The clips in {self.path} have {found}; data asks for {wanted}.")
            yield frames

    def labels(self, count: int) -> list[str]:
        """What the data set says of each clip; reads all of it once more."""
        named = (str(metadata["scenario"]) for _, metadata in self._entries())
        return list(itertools.islice(self._of_split(named), count))

    def _entries(self) -> Iterator[tuple[np.ndarray, dict]]:
        import physics_sim

        try:
            yield from physics_sim.open_dataset(self.path)
        except physics_sim.SimulationError as error:
            raise VDTError(str(error)) from None


UNKNOWN = "unknown"
WHOLE = 64 << 20
"""Bytes up to which a file's content is read whole to tell it from another."""


def content(file: Path) -> str:
    """A digest of a file's size and content; of a large file, of 64 pieces of it."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        if size <= WHOLE:
            digest.update(opened.read())
        else:
            for place in range(64):
                opened.seek((size - (1 << 16)) * place // 63)
                digest.update(opened.read(1 << 16))
    return digest.hexdigest()


class Videos(Finite):
    """A user's own videos, GIFs, npz files and folders of images, each cut into as many clips as it holds.

    Which files are taken is the rule of `vdt_mlx.media.folders`. What cannot be read, or is too short for one clip, is
    named in a warning and left out.
    """

    def told(self) -> dict:
        return {"split": UNKNOWN, "seed": UNKNOWN}

    _told = False
    """Whether it was said which files are left out."""
    _cut_told = False
    """Whether it was said that a part of a file's frames is not seen."""

    def every_clip(self) -> Iterator[np.ndarray]:
        config = self.config
        taken = clip_entries(self.path)
        entries = taken.paths
        if taken.left_out and not self._told:
            print(taken.sentence(self.path, "clips"), file=sys.stderr)
            self._told = True
        if any(path.suffix.lower() in video.VIDEO_SUFFIXES for path in entries):
            video.check_ffmpeg()
        skipped, found = 0, 0
        for path in entries:
            window: list[np.ndarray] = []
            here = 0
            try:
                for frame in itertools.islice(video.iterate_frames(path), 0, None, config.stride):
                    if config.fit == "crop" and not self._cut_told:
                        self._cut_told = video.say_cut(path, frame, config.size)
                    window.append(video.fit(frame, config.size, path, config.fit))
                    if len(window) == config.frames:
                        yield np.stack(window)
                        here += 1
                        window = []
                if not here:
                    needed = (config.frames - 1) * config.stride + 1
                    raise VDTError(f"{path} has fewer than the {needed} frames that a clip needs")
            except VDTError as error:
                skipped += 1
                print(f"Skipped: {error}", file=sys.stderr)
            found += here
        if skipped:
            print(f"{skipped} of {len(entries)} files in {self.path} were skipped.", file=sys.stderr)
        if not found:
            raise VDTError(f"{self.path} holds no video that is long enough for a clip of {config.frames} frames.")


def build_source(config: DataConfig, split: str | None = None, workers: int | None = None) -> Source:
    """The source that the configuration names; `split` replaces the one to train on (`val`: held-out clips)."""
    if config.source == "simulate":
        return Simulated(config, split, workers)
    part = "val" if split == "val" else "train"
    if config.source == "phyworld":
        return PhyWorld(config, part)
    return SimulatedFolder(config, part) if config.source == "folder" else Videos(config, part)


class PhyWorld(Finite):
    """PhyWorld's HDF5 files, one or all of a folder, read where they are. The first `frames` of each clip are taken.

    Clips that cannot be read are named in a warning and left out.
    """

    def __init__(self, config: DataConfig, split: str):
        path = user_path(config.path or "")
        self.config, self.split = config, split
        self.path = path.parent if path.is_file() else path
        self.files = [path] if path.is_file() else sorted(path.glob("*.hdf5"))
        if not self.files:
            raise VDTError(f"{path} is no file of PhyWorld, and no folder with any (*.hdf5).")
        if config.size[0] != config.size[1]:
            raise VDTError(f"PhyWorld's frames are square, so data.size cannot be {config.size}.")

    def told(self) -> dict:
        """What physics_sim wrote into the files; files from elsewhere have no split."""
        from physics_sim import SimulationError, phyworld

        facts = []
        for path in self.files:
            try:
                with phyworld.File(path) as file:
                    facts.append(file.facts)
            except SimulationError as error:
                raise VDTError(str(error)) from None
        one = facts[0] if all(other == facts[0] for other in facts) else {}
        return {key: one.get(key, UNKNOWN) for key in ("split", "seed")}

    def identity(self) -> dict:
        names = "".join(f"{file.name} {content(file)}\n" for file in self.files)
        return {**super().identity(), "digest": hashlib.sha256(names.encode()).hexdigest()[:16]}

    def every_clip(self) -> Iterator[np.ndarray]:
        from physics_sim import SimulationError, phyworld

        wanted = self.config.frames
        for path in self.files:
            try:
                with phyworld.File(path) as file:
                    for clip in file.clips(on_bad=lambda text: print(f"Skipped: {text}", file=sys.stderr)):
                        if len(clip.frames) < wanted:
                            has = f"{len(clip.frames)} frames"
                            raise VDTError(f"The clips in {path} have {has}; data asks for {wanted}.")
                        yield clip.frames_at(self.config.size[0])[:wanted]
            except SimulationError as error:
                raise VDTError(str(error)) from None


class Pool:
    """The first clips of a source, in memory, filled as far as asked (frames for an autoencoder's training)."""

    def __init__(self, source: Source, capacity: int):
        self.source, self.capacity = source, capacity
        self.array = np.empty((0,), np.uint8)
        self.filled = 0
        self._clips: Iterator[np.ndarray] | None = None

    def fill(self, count: int) -> None:
        """Makes sure that clips 0 to `count` - 1 are there, or as many as there are."""
        count = min(count, self.capacity)
        if self.filled >= count:
            return
        if self._clips is None:
            self._clips = self.source.clips(self.filled)
        while self.filled < count:
            clip = next(self._clips, None)
            if clip is None:
                self.capacity = self.filled
                break
            if not self.filled:
                # Reserved, not touched: pages are only taken as clips arrive.
                self.array = np.empty((self.capacity, *clip.shape), np.uint8)
            self.array[self.filled] = clip
            self.filled += 1
        if not self.filled:
            raise VDTError("The data source gave no clip at all.")

    def close(self) -> None:
        close_clips(self._clips)
        self._clips = None


def close_clips(clips: Iterator[np.ndarray] | None) -> None:
    """Ends a source's iterator, and with it the processes that feed it."""
    if isinstance(clips, Generator):
        clips.close()
