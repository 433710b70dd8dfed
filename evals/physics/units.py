"""Units of work on disk, so that a run that was interrupted can go on, and what guards that it is the same run.

A unit is up to `UNIT` clips of one group with one number of given frames, always the same ones: whatever is resumed
or spread over processes, a network sees the same batches, so the numbers are the same.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from evals.physics.settings import Settings
from evals.predictors.frames import FrameSource
from evals.scoring.cases import Case, Group
from evals.suites.suite import Suite
from vdt_mlx.device.about import describe
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.reading import parse_json, read_npz

UNIT = 8


@dataclass
class Unit:
    """What one unit file holds. `values`: predictor -> metric -> a value a clip; `curves`: predictor -> (clips, F)."""

    clips: list[str]
    fingerprint: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    bad: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, NDArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Clips `start` to `stop` of a group."""

    group: Group
    start: int
    stop: int
    given: int

    @property
    def name(self) -> str:
        """Of its file."""
        group = quote(self.group.name.replace(":", "+"), safe="+ ")
        return f"{group}-g{self.given}-{self.start:05d}-{self.stop:05d}"

    def cases(self, suite: Suite) -> list[Case]:
        return [self.case(suite, i) for i in range(self.stop - self.start)]

    def case(self, suite: Suite, i: int) -> Case:
        """Its i-th clip."""
        return suite.case(self.group, self.start + i, self.given)

    def ids(self, suite: Suite) -> list[str]:
        """Names of its clips, without making them."""
        return [suite.id(self.group, index) for index in range(self.start, self.stop)]


def jobs_of(settings: Settings, suite: Suite) -> list[Job]:
    counts = {group: suite.count(group, settings.clips) for group in suite.groups}
    return [
        Job(group, start, min(start + UNIT, count), given)
        for given in settings.given
        for group, count in counts.items()
        for start in range(0, count, UNIT)
    ]


def save_unit(unit: Unit, path: Path) -> None:
    body = asdict(unit)
    pictures = body.pop("pictures")
    text = np.frombuffer(json.dumps(body).encode(), np.uint8)
    with atomic_path(path) as partial:
        np.savez_compressed(partial, record=text, **pictures)


def load_unit(path: Path) -> Unit:
    """A unit from its file; raises VDTError if that is damaged."""
    try:
        arrays = read_npz(path, what="part of an examination")
        body = parse_json(arrays.pop("record").tobytes(), "Its record", nan=True)
        unit = Unit(**body, pictures=arrays)
        lengths = {len(column) for table in unit.values.values() for column in table.values()}
        if lengths - {len(unit.clips)}:
            raise ValueError("columns of different lengths")
    except Exception as error:  # whatever is wrong with it, the answer is to make it again
        raise VDTError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
    return unit


def is_done(path: Path, job: Job) -> bool:
    """Whether a job's file is there and whole: a damaged one is made again."""
    if not path.is_file():
        return False
    try:
        return len(load_unit(path).clips) == job.stop - job.start
    except VDTError:
        return False


# ---- whose units these are


def identity(settings: Settings, sources: Sequence[FrameSource], suite: Suite) -> dict[str, Any]:
    """What must be the same for unit files to be reused: settings, what predictors are made of, and this code."""
    return {
        "settings": json.loads(json.dumps(asdict(settings))),
        "predictors": [
            {"name": s.name, "about": s.about, "content": s.content(), "options": _plain(s.details)} for s in sources
        ],
        "suite": suite.content(),
        "code": code_digest(),
        "device": {key: value for key, value in describe().items() if key in ("device", "tf32")},
    }


def _plain(details: dict[str, Any]) -> Any:
    return json.loads(json.dumps({key: value for key, value in details.items() if key != "training"}))


def code_digest() -> str:
    """Of the modules that decide numbers: a changed examiner, network or simulator does not resume an old run."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in ("evals", "vdt_mlx", "physics_sim"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def claim(work: Path, mine: dict[str, Any], resume: bool) -> None:
    """Marks a folder of units as this run's; raises VDTError if it is another's, or may not be gone on with."""
    mark = work / "settings.json"
    text = json.dumps(mine, indent=1, sort_keys=True) + "\n"
    if mark.is_file():
        if not resume:
            raise VDTError(f"{work.parent} already holds a run: `resume` goes on with it, `out` names another folder.")
        theirs = mark.read_text(encoding="utf-8", errors="replace")
        if theirs != text:
            keys = differing(theirs, text)
            raise VDTError(f"{work.parent} holds a run with other settings ({keys}); give another `out`.")
        return
    work.mkdir(parents=True, exist_ok=True)
    with atomic_path(mark) as partial:
        partial.write_text(text, encoding="utf-8")


def differing(theirs: str, mine: str) -> str:
    """What differs between two identities, in words."""
    try:
        first, second = parse_json(theirs), parse_json(mine)
        keys = [k for k in second["settings"] if first["settings"].get(k) != second["settings"][k]]
        if first.get("predictors") != second["predictors"]:
            before = {entry["name"]: entry for entry in first["predictors"]}
            names = [entry["name"] for entry in second["predictors"] if before.get(entry["name"]) != entry]
            keys.append("predictors: " + ", ".join(names or ["their order"]))
        if first.get("suite") != second["suite"]:
            keys.append("the files of the suite")
        if first.get("device") != second["device"]:
            keys.append("the device that it is computed on")
        if first.get("code") != second["code"]:
            keys.append("this program's code")
        return ", ".join(keys)
    except (VDTError, KeyError, AttributeError, TypeError):
        return "its settings file is damaged"


def tidy(work: Path, made: Sequence[Path]) -> None:
    """After a run that did not even finish one unit, leaves nothing behind that it `made`; else units are kept."""
    if any(path.name != "settings.json" for path in work.glob("[!.]*")):
        return
    if work in made:
        (work / "settings.json").unlink(missing_ok=True)
    for folder in sorted(made, key=lambda folder: -len(folder.parts)):
        if folder.is_dir() and not any(folder.iterdir()) and folder != Path.cwd():
            folder.rmdir()


def missing_folders(folder: Path) -> list[Path]:
    """`folder` and those above it that do not exist yet."""
    return [path for path in (folder, *folder.parents) if not path.exists()]
