"""The examiner at work: clips in units, every predictor on each, unit files that make a run resumable, then results.

A unit is up to `UNIT` clips of one group with one number of given frames, always the same ones: whatever is resumed
or spread over processes, a network sees the same batches, so the numbers are the same.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.physics.collect import ANSWERS, KNOWING, RIVALS, gather
from evals.physics.results import Group
from evals.physics.units import Job, Unit, differing, fingerprint, save_unit, tidy
from evals.predictors import baselines
from evals.predictors import frames as predictors
from evals.predictors.frames import Bad, Checkpoint, FrameSource
from evals.scoring import cases
from evals.scoring.cases import Case
from evals.scoring.score import METRICS, Prediction, score_samples
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path

UNIT = 8


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers; saved with the results."""

    scenarios: tuple[str, ...] = ("all",)
    clips: int = 8
    given: tuple[int, ...] = (8,)
    models: tuple[str, ...] = ("physics",)
    predictions: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    samples: int = 1
    sampler: str | None = None
    steps: int | None = None
    seed: int = 0
    dtype: str = "fp32"
    autoencoder: str | None = None
    suite_seed: int = 0
    library: int = 64
    lpips: bool = False
    size: int = 64

    def __post_init__(self) -> None:
        for name in ("scenarios", "given", "models", "predictions", "code"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.clips < 1:
            raise VDTError(f"--clips {self.clips} does not fit: at least 1.")
        if not 1 <= self.samples <= 64:
            raise VDTError(f"--samples {self.samples} does not fit: 1 to 64.")
        if not 16 <= self.size <= 512:
            raise VDTError(f"--size {self.size} does not fit: 16 to 512 pixels.")
        if self.library < 1:
            raise VDTError(f"--library {self.library} does not fit: at least 1.")
        if self.seed < 0 or self.suite_seed < 0:
            raise VDTError("Seeds are 0 or more.")
        if not self.given or len(set(self.given)) != len(self.given):
            raise VDTError("--given takes different numbers of frames.")


class Examiner:
    """Runs a suite. `sources` replaces the predictors of frames that the settings name (for use from Python)."""

    def __init__(
        self, settings: Settings, sources: Sequence[FrameSource] | None = None, *, allow_trained: bool = False
    ) -> None:
        self.settings = settings
        self.groups = cases.choose_groups(settings.scenarios)
        frames = _frame_count()
        for given in settings.given:
            if not 1 <= given < frames:
                raise VDTError(f"--given {given} does not fit clips of {frames} frames: 1 to {frames - 1}.")
        if sources is None:
            self._refuse_trained(allow_trained)
            sources = self._sources()
        self.sources = list(sources)
        names = [source.name for source in self.sources] + [*RIVALS, *KNOWING, *ANSWERS]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise VDTError(f"Two predictors are called {twice!r}; give them different folder names.")
        self.jobs = [
            Job(group, start, min(start + UNIT, settings.clips), given)
            for given in settings.given
            for group in self.groups
            for start in range(0, settings.clips, UNIT)
        ]
        self._memory: dict[str, baselines.Memory] = {}
        for source in self.sources:
            if isinstance(source, predictors.Folder):
                source.check([case for job in self.jobs if job.given == settings.given[0] for case in self.cases(job)])

    def _refuse_trained(self, allowed: bool) -> None:
        splits = {split for group in self.groups for split in _splits(group)}
        for model in self.settings.models:
            fault = predictors.overlap(predictors.training_of(model), splits, self.settings.suite_seed)
            if fault and not allowed:
                raise VDTError(f"The checkpoint {model} {fault}; scores would mean nothing. --allow-trained goes on.")

    def _sources(self) -> list[FrameSource]:
        s = self.settings
        sources: list[FrameSource] = [predictors.Truthful()]
        options: dict[str, Any] = {
            "steps": s.steps,
            "sampler": s.sampler,
            "seed": s.seed,
            "samples": s.samples,
            "dtype": s.dtype,
        }
        checkpoints = [Checkpoint(model, autoencoder=s.autoencoder, **options) for model in s.models]
        for checkpoint in checkpoints:
            if checkpoint.size != s.size:
                raise VDTError(
                    f"{checkpoint.name} draws {checkpoint.size} pixels a side; the suite is {s.size} (--size)."
                )
        if checkpoints:
            sources.append(predictors.Reconstruction(checkpoints[0]))
        sources += [predictors.Folder(Path(folder)) for folder in s.predictions]
        sources += [predictors.Code.named(where) for where in s.code]
        return [*checkpoints, *sources]

    @property
    def model(self) -> str | None:
        """The predictor that the report is about: the first model."""
        return next((source.name for source in self.sources if source.kind == "model"), None)

    def cases(self, job: Job) -> list[Case]:
        s = self.settings
        return [
            cases.make_case(job.group, index, job.given, s.suite_seed, s.size) for index in range(job.start, job.stop)
        ]

    # ---- one unit

    def examine(self, job: Job, tell: Callable[[str], None] = lambda step: None) -> Unit:
        tell(f"{job.group.title}: clips")
        batch = self.cases(job)
        unit = Unit([case.id for case in batch], fingerprint(batch))
        for case in batch:
            _ = case.truth
        for source in self.sources:
            tell(f"{job.group.title}: {source.title}")
            self._frames(source, batch, job, unit)
        for name, (title, _) in (RIVALS | KNOWING).items():
            tell(f"{job.group.title}: {title}")
            self._record(name, batch, [[self._rival(name, case)] for case in batch], unit)
        for name in ANSWERS:
            self._answers(name, batch, unit)
        return unit

    def _frames(self, source: FrameSource, batch: list[Case], job: Job, unit: Unit) -> None:
        drawn = source.predict(batch)
        found: list[list[Prediction]] = []
        first: list[NDArray[np.uint8] | None] = []
        paths = []
        for i, case in enumerate(batch):
            clips = [sample[i] for sample in drawn]
            fault = next((clip for clip in clips if isinstance(clip, Bad)), None)
            if fault is not None:
                bad = {"clip": case.id, "predictor": source.name, "given": job.given, "reason": fault.reason}
                unit.bad.append(bad)
                found.append([])
                first.append(None)
                paths.append(np.full_like(case.truth.position, np.nan))
                continue
            made = [as_prediction(case, clip) for clip in clips if not isinstance(clip, Bad)]
            found.append(made)
            first.append(made[0].frames)
            paths.append(made[0].position)
        lpips = (
            [_lpips(case, predictions) for case, predictions in zip(batch, found, strict=True)]
            if self.settings.lpips
            else None
        )
        self._record(source.name, batch, found, unit)
        if lpips is not None:
            unit.values[source.name]["lpips"] = lpips
        if source.kind == "model":
            for i, (frames, path) in enumerate(zip(first, paths, strict=True)):
                if frames is not None:
                    unit.pictures[f"{source.name}/{i}/frames"] = frames[job.given :]
                    unit.pictures[f"{source.name}/{i}/path"] = path.astype(np.float32)

    def _record(self, name: str, batch: list[Case], found: list[list[Prediction]], unit: Unit) -> None:
        scored = []
        for case, predictions in zip(batch, found, strict=True):
            if predictions:
                scored.append(score_samples(case.truth, predictions))
            else:
                missing = {metric: float("nan") for metric in METRICS}
                scored.append((missing, np.full(len(case.frames) - case.given, np.nan)))
        unit.values[name] = {metric: [values[metric] for values, _ in scored] for metric in METRICS}
        unit.curves[name] = [curve.tolist() for _, curve in scored]

    def _rival(self, name: str, case: Case) -> Prediction:
        if name == "nearest":
            return baselines.nearest_training_clip(case, self._remembered(case))
        function = {
            "copy_last": baselines.copy_last,
            "constant_velocity": baselines.constant_velocity,
            "constant_acceleration": baselines.constant_acceleration,
            "simulator": baselines.simulator,
        }[name]
        return function(case)

    def _remembered(self, case: Case) -> baselines.Memory:
        scenario = case.clip.scenario
        if scenario not in self._memory:
            self._memory[scenario] = baselines.remember(scenario, self.settings.library, self.settings.size)
        return self._memory[scenario]

    def _answers(self, name: str, batch: list[Case], unit: Unit) -> None:
        answers = []
        for case in batch:
            truth = case.truth.contact
            if truth is None:
                answers.append(float("nan"))
            else:
                answers.append(0.5 if name == "chance" else float(self._remembered(case).majority == truth))
        unit.values[name] = {"contact": answers}

    # ---- all of them

    def run(self, folder: Path, *, resume: bool, progress: "Progress | None" = None) -> dict[str, Any] | None:
        """Examines everything into `folder`; returns the results, or None on a rank other than 0."""
        began = time.perf_counter()
        rank, ranks, barrier = _ranks()
        work = folder / "work"
        if rank == 0:
            self._claim(work, resume)
        barrier()
        try:
            self._work(work, self.jobs[rank::ranks], progress)
        except BaseException:
            tidy(work)
            raise
        barrier()
        if rank != 0:
            return None
        missing = [job.name for job in self.jobs if not (work / f"{job.name}.npz").is_file()]
        if missing:
            raise VDTError(f"{len(missing)} parts are missing in {work}: all processes must write to one folder.")
        return gather(self, work, time.perf_counter() - began)

    def _work(self, work: Path, jobs: Sequence[Job], progress: "Progress | None") -> None:
        for job in jobs:
            path = work / f"{job.name}.npz"
            if not path.is_file():
                save_unit(self.examine(job, progress.tell if progress else lambda step: None), path)
            if progress:
                progress.advance(job.stop - job.start)

    def _claim(self, work: Path, resume: bool) -> None:
        mark = work / "settings.json"
        mine = json.dumps(self.identity(), indent=1, sort_keys=True) + "\n"
        if mark.is_file():
            if not resume:
                raise VDTError(
                    f"{work.parent} already holds a run: --resume goes on with it, --out names another folder."
                )
            theirs = mark.read_text(encoding="utf-8")
            if theirs != mine:
                keys = differing(theirs, mine)
                raise VDTError(f"{work.parent} holds a run with other settings ({keys}); give another --out.")
            return
        work.mkdir(parents=True, exist_ok=True)
        with atomic_path(mark) as partial:
            partial.write_text(mine, encoding="utf-8")

    def identity(self) -> dict[str, Any]:
        """What must be the same for unit files to be reused: settings, weights, and this code."""
        sources = [{"name": s.name, "sha256": s.details.get("sha256"), "about": s.about} for s in self.sources]
        return {
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "predictors": sources,
            "code": _code_digest(),
        }


class Progress:
    """What a run tells while it works."""

    def tell(self, step: str) -> None: ...

    def advance(self, clips: int) -> None: ...


def as_prediction(case: Case, frames: NDArray[np.uint8]) -> Prediction:
    """Tracks a predicted clip (T, H, W, 3) with what was learned from the given frames."""
    truth = case.truth
    tracks = truth.tracked if frames is case.frames else case.tracker.track(frames)
    gap = tracks.gap(case.roles["agent"], case.roles["patient"]) if len(case.roles) == 2 else None
    return Prediction(tracks.position, frames=frames, tracks=tracks, gap=gap)


# ---- facts


def _frame_count() -> int:
    from physics_sim import units

    return int(units.FRAMES)


def _splits(group: Group) -> tuple[str, ...]:
    return cases.OUT_SPLITS if group.split == cases.OUT else (group.split,)


def _code_digest() -> str:
    """Of the modules that decide numbers: a changed examiner does not resume an old one's run."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in ("evals", "vdt_mlx", "physics_sim"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _ranks() -> tuple[int, int, Callable[[], None]]:
    """(rank, size, barrier) under `mlx.launch`, else (0, 1, nothing)."""
    import os

    if "MLX_RANK" not in os.environ:
        return 0, 1, lambda: None
    from vdt_mlx.device import blas

    blas.load()
    import mlx.core as mx

    world = mx.distributed.init()

    def barrier() -> None:
        mx.eval(mx.distributed.all_sum(mx.ones(1), stream=mx.cpu))

    return world.rank(), world.size(), barrier


def _lpips(case: Case, predictions: list[Prediction]) -> float:
    from evals.scoring.lpips import distance

    start = case.given
    values = [distance(p.frames[start:], case.frames[start:]) for p in predictions if p.frames is not None]
    return float(np.mean(values)) if values else float("nan")
