"""`--suite phyworld --data FILE.hdf5`: a file of PhyWorld's as a suite, in groups by PhyWorld's own filters."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evals.phyworld.case import PhyWorldCase, as_clip, law_of
from evals.phyworld.published import published
from evals.scoring.cases import Case, Group
from evals.scoring.phyworld import FIRST, SIDE, Ruler, metrics_of, scored_frames
from evals.suites.suite import chosen
from physics_sim import SimulationError, phyworld
from physics_sim.phyworld import PhyWorldClip
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256

TITLES = {
    "in": "in distribution",
    "out_radius": "radius out of distribution",
    "out_speed": "speed out of distribution",
    "out_both": "radius and speed out of distribution",
    "still": "at rest (out of distribution)",
}
"""Splits that are scored, as PhyWorld's script sorts initial states; the first one is in distribution."""
HELD = 128
"""Clips that are held in memory."""
MOST = 1000.0
"""Metres, and metres a second, in what can be a clip's states."""
VERSION = 1
"""Of what this adds to results.json."""


class PhyWorldSuite:
    """The clips of one file. Those that cannot be used are counted and named; raises VDTError if none can.

    Of each split `clips` are taken, evenly over the file's order (files of PhyWorld's are ordered by radius and speed).
    Their frames are made `size` pixels wide, each pixel the mean of those that it covers.
    """

    def __init__(
        self,
        path: Path,
        scenarios: Iterable[str] = ("all",),
        *,
        clips: int,
        size: int = 64,
        frames: int | None = None,
    ) -> None:
        self.path, self.size = path, size
        self.bad: list[tuple[str, str]] = []
        self._held: OrderedDict[str, PhyWorldClip] = OrderedDict()
        self._init: dict[str, tuple[float, ...]] = {}
        try:
            with phyworld.File(path) as file:
                self.facts, self.total = file.facts, len(file)
                self.found = {split: list(file.names(split)) for split in phyworld.SPLITS}
                self.law, self.length, self.side = self._form(file)
        except SimulationError as error:
            raise VDTError(str(error)) from None
        self.frames = self.length if frames is None else frames
        if self.frames > self.length:
            raise VDTError(f"The clips of {path} have {self.length} frames, and `frames` asks for {frames}.")
        if self.frames < FIRST + 3:
            raise VDTError(
                f"Clips of {self.frames} frames are too short: PhyWorld scores frames {FIRST + 1} and later."
            )
        wanted = self._chosen(scenarios)
        self._clips = self._usable({split: self._spread(self.found[split], clips) for split in wanted})
        self.groups = [
            Group(split, self.law, split, TITLES[split], law=True) for split, names in self._clips.items() if names
        ]
        self.metrics = metrics_of(self.law)

    # ---- what is there

    def _form(self, file: phyworld.File) -> tuple[str, int, int]:
        """The law, the frames of a clip, and how wide its pictures are: those of the first clip that can be read."""
        reasons: list[str] = []
        clip = next(file.clips(on_bad=reasons.append), None)
        if clip is None:
            raise VDTError(f"No clip of {self.path} can be read ({reasons[0]}).")
        frames, height, width = clip.frames.shape[:3]
        if height != width:
            raise VDTError(f"PhyWorld's pictures are square; those of {self.path} are {width} x {height}.")
        return law_of(clip), frames, width

    @property
    def ruler(self) -> Ruler:
        """PhyWorld draws on one step less than it has pixels; `physics_sim` from edge to edge."""
        return Ruler(None if self.facts else self.side - 1)

    def _chosen(self, scenarios: Iterable[str]) -> list[str]:
        there = [split for split in TITLES if self.found[split]]
        if not there:
            small = len(self.found["dropped"])
            raise VDTError(
                f"{self.path} has no clip that PhyWorld scores: it leaves out small balls, and all {small} are small."
            )
        return chosen(scenarios, there, "split", self.path)

    @staticmethod
    def _spread(names: list[str], count: int) -> list[str]:
        if count >= len(names):
            return names
        places = np.linspace(0, len(names) - 1, count).round().astype(int)
        return [names[place] for place in dict.fromkeys(places.tolist())]

    def _usable(self, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
        """Those of the wanted clips that can be used, by split; the others are `bad`."""
        found: dict[str, list[str]] = {split: [] for split in wanted}
        with phyworld.File(self.path) as file:
            for split, names in wanted.items():
                for name in names:
                    try:
                        clip = self._read(file, name)
                    except (SimulationError, VDTError) as error:
                        self.bad.append((clip_id(name), f"cannot be used: {error}"))
                        continue
                    self._hold(clip)
                    self._init[name] = clip.init
                    found[split].append(name)
        if not any(found.values()):
            name, reason = self.bad[0]
            raise VDTError(f"None of the {len(self.bad)} clips chosen of {self.path} can be used ({name} {reason}).")
        return found

    def _read(self, file: phyworld.File, name: str) -> PhyWorldClip:
        """A clip at the suite's size and length; raises SimulationError or VDTError if it cannot be used."""
        clip = file.clip(name)
        if clip.frames.shape[:3] != (self.length, self.side, self.side):
            frames, height, width = clip.frames.shape[:3]
            raise VDTError(
                f"It has {frames} frames of {width} x {height} pixels, others have {self.length} of {self.side}."
            )
        if not all(0 < radius <= SIDE for radius in clip.radii) or max(map(abs, clip.init)) > MOST:
            raise VDTError(f"Its initial state cannot be ({', '.join(f'{value:g}' for value in clip.init)}).")
        if np.abs(clip.position).max() > MOST:
            raise VDTError(f"Its positions cannot be: one is {np.abs(clip.position).max():g} m from the origin.")
        if len(scored_frames(clip.init, clip.position[: self.frames - 1])) < 2:
            raise VDTError(f"The balls are not inside the picture in any two frames after the first {FIRST}.")
        return replace(clip, frames=clip.frames_at(self.size)[: self.frames], position=clip.position[: self.frames])

    def _clip(self, name: str) -> PhyWorldClip:
        if name not in self._held:
            with phyworld.File(self.path) as file:
                self._hold(self._read(file, name))
        self._held.move_to_end(name)
        return self._held[name]

    def _hold(self, clip: PhyWorldClip) -> None:
        self._held[clip.name] = clip
        while len(self._held) > HELD:
            self._held.popitem(last=False)

    # ---- what the examiner asks for

    def count(self, group: Group, wanted: int) -> int:
        return min(wanted, len(self._clips[group.name]))

    def id(self, group: Group, index: int) -> str:
        return clip_id(self._clips[group.name][index])

    def case(self, group: Group, index: int, given: int) -> Case:
        source = self._clip(self._clips[group.name][index])
        clip = as_clip(source, self.law, self.ruler, self.size)
        film, states = source.frames, source.position
        return PhyWorldCase(clip_id(source.name), group.name, clip, given, film, states, source.init, self.ruler)

    def content(self) -> str:
        return self.digest

    @cached_property
    def digest(self) -> str:
        return sha256(self.path)

    def told(self) -> dict[str, Any]:
        """Its part of results.json; `results` says what is in it."""
        return {
            "phyworld": {
                "version": VERSION,
                "file": self.path.name,
                "sha256": self.digest,
                "law": self.law,
                "clips": self.total,
                "splits": {split: len(names) for split, names in self.found.items()},
                "frames": self.frames,
                "scored": [FIRST, self.frames - 2],
                "pixels": self.side,
                "ruler": {"pixels": self.size, "steps": self.ruler.steps},
                "init": {clip_id(name): list(init) for name, init in self._init.items()},
                "published": [row.described() for row in published(self.law)],
            }
        }


def clip_id(name: str) -> str:
    """`00000-00017` of the clip `00000/17`, as PhyWorld's script calls it."""
    group, _, number = name.partition("/")
    return f"{group}-{int(number):05d}"
