"""`--suite` of scenes that were drawn on the page of `vdt-mlx play`: the simulator says what happens in them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evals.scoring.cases import Case, Group
from evals.scoring.score import Metric
from evals.suites.folder import SUITE, grouped_files
from evals.suites.suite import chosen
from physics_sim.clip import Clip
from physics_sim.scene import Scene
from physics_sim.units import FRAMES
from physics_sim.world import simulate
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256
from vdt_mlx.play.scene import is_scene, open_scene
from vdt_mlx.reading import read_json


class SceneSuite:
    """Scene files (JSON) in a folder, its subfolders being groups, or one such file.

    Unlike labelled clips these have a simulated truth, so the simulator stands beside the models; what learns from the
    scenario's training clips does not, because a drawn scene has none. A file that is no scene, or one that cannot be
    simulated, is counted and named; raises VDTError if no scene is left.
    """

    def __init__(
        self,
        path: Path,
        scenarios: Iterable[str] = ("all",),
        *,
        size: int = 64,
        frames: int | None = None,
        given: int = 1,
    ) -> None:
        self.root, self.size = path, size
        self.frames = FRAMES if frames is None else frames
        self.bad: list[tuple[str, str]] = []
        self.metrics: dict[str, Metric] = {}
        self.facts: dict[str, Any] = {}
        self._scenes: dict[str, list[tuple[Path, Scene]]] = {}
        for group, file in _files(path):
            try:
                scene = open_scene(file)
                _check(Case("", "", self._clip(scene), min(given, self.frames)))
            except VDTError as error:
                self.bad.append((self._name(file), str(error)))
                continue
            self._scenes.setdefault(group, []).append((file, scene))
        if not self._scenes:
            raise VDTError(f"`suite` {path} has no scene that can be examined ({self.bad[0][0]}: {self.bad[0][1]}).")
        names = chosen(scenarios, list(self._scenes), "group", path)
        self.groups = [Group(name, name, SUITE, name, law=False) for name in names]

    def _name(self, file: Path) -> str:
        inside = file.relative_to(self.root) if self.root.is_dir() else Path(file.name)
        return "-".join(inside.with_suffix("").parts)

    def _clip(self, scene: Scene) -> Clip:
        return Clip(scene, simulate(scene, frames=self.frames), "drawn", SUITE, 0, 0, self.size)

    # ---- what the examiner asks for

    def count(self, group: Group, wanted: int) -> int:
        return min(wanted, len(self._scenes[group.name]))

    def id(self, group: Group, index: int) -> str:
        return self._name(self._scenes[group.name][index][0])

    def case(self, group: Group, index: int, given: int) -> Case:
        return Case(self.id(group, index), group.name, self._clip(self._scenes[group.name][index][1]), given)

    def content(self) -> str:
        digest = hashlib.sha256()
        for name, scenes in sorted(self._scenes.items()):
            for file, _ in scenes:
                digest.update(f"{name} {file.name} {sha256(file)}\n".encode())
        return digest.hexdigest()

    def told(self) -> dict[str, Any]:
        return {}


def holds_scenes(path: Path) -> bool:
    """Whether a file is a scene, or one of the JSON files in a folder and its subfolders is."""
    return any(_is_scene(file) for _, file in _files(path))


def _files(path: Path) -> list[tuple[str, Path]]:
    """(group, JSON file) of a folder, or of one file; none where there is nothing."""
    if path.is_file():
        return [(path.stem, path)]
    return grouped_files(path) if path.is_dir() else []


def _is_scene(file: Path) -> bool:
    try:
        value: Any = read_json(file, "scene")
    except VDTError:
        return False
    return is_scene(value)


def _check(case: Case) -> None:
    """Raises VDTError for a scene that cannot be examined."""
    if case.tracker.targets[case.roles["agent"]] is None:
        raise VDTError("its agent cannot be seen in the context frames")
