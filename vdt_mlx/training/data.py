"""Where clips come from: the simulator, a folder that it wrote, or a user's own videos; and the latents they become.

A source gives clip number i, always the same one, so a training run only has to remember numbers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.training.settings import DataConfig


class Source(Protocol):
    """Clips by number, as uint8 (T, H, W, 3)."""

    count: int | None
    """How many clips there are; None: no end."""

    def clips(self, start: int) -> Iterator[np.ndarray]:
        """The clips from number `start` on, in order."""
        ...

    def identity(self) -> dict:
        """What decides which clip a number stands for, JSON-able."""
        ...


class Simulated:
    """Clips that physics_sim makes on the fly, scenarios in turn."""

    count: int | None = None

    def __init__(self, config: DataConfig, split: str | None = None, workers: int | None = None):
        import physics_sim

        self.split = split or config.split
        self.size = config.size[0]
        self.workers = config.workers if workers is None else workers
        if config.size[0] != config.size[1]:
            raise VDTError(f"The simulator draws square frames, so data.size cannot be {config.size}.")
        if config.frames != physics_sim.FRAMES:
            raise VDTError(f"The simulator makes clips of {physics_sim.FRAMES} frames, not {config.frames}.")
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

    def clips(self, start: int) -> Iterator[np.ndarray]:
        import physics_sim

        try:
            for clip in physics_sim.stream(self.names, self.split, start=start, size=self.size, workers=self.workers):
                yield clip.frames
        except physics_sim.SimulationError as error:
            raise VDTError(str(error)) from None

    def identity(self) -> dict:
        return {"source": "simulate", "scenarios": list(self.names), "split": self.split, "size": self.size}


def build_source(config: DataConfig, split: str | None = None, workers: int | None = None) -> Source:
    """The source that the configuration names; `split` replaces the simulator's split."""
    if config.source == "simulate":
        return Simulated(config, split, workers)
    raise VDTError(f"Unknown data.source {config.source!r}.")


class Pool:
    """The first clips of a source, in memory, filled as far as asked; numbers beyond are not there yet."""

    def __init__(self, source: Source, shape: tuple[int, ...], capacity: int):
        self.source = source
        self.capacity = capacity if source.count is None else min(capacity, source.count)
        self.array = np.empty((self.capacity, *shape), np.uint8)
        self.filled = 0
        self._clips: Iterator[np.ndarray] | None = None

    def fill(self, count: int) -> None:
        """Makes sure that clips 0 to `count` - 1 are there (at most the capacity)."""
        count = min(count, self.capacity)
        while self.filled < count:
            if self._clips is None:
                self._clips = self.source.clips(self.filled)
            self.array[self.filled] = next(self._clips)
            self.filled += 1

    def close(self) -> None:
        if self._clips is not None and hasattr(self._clips, "close"):
            self._clips.close()
        self._clips = None


def read_folder_names(path: Path) -> list[Path]:
    return sorted(path.iterdir())
